"""The loop: it learns, says when it cannot, and comes back from every interruption as if there had been none."""

import resource
import signal
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sasa_tutorial.datasets import TrainingImages, normalise, synthetic_cifar100
from sasa_tutorial.models import cifar_models
from sasa_tutorial.training import loop
from sasa_tutorial.training.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from sasa_tutorial.training.distributed import Processes
from sasa_tutorial.training.evaluation import evaluate
from sasa_tutorial.training.loop import Diverged, Training
from sasa_tutorial.training.recipe import Recipe, learning_rate, optimizer_for
from sasa_tutorial.training.step import TrainingStep
from sasa_tutorial.training.stopping import Stopped, StopRequest

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
RECIPE = Recipe(epochs=2, batch_size=40, peak_lr=0.05, ema_decay=0.9)  # 5 steps an epoch


class StopAfter(StopRequest):
    """Asks to stop after so many questions, one a step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    @property
    def made(self) -> bool:
        self.left -= 1
        return self.left <= 0


class WithDropout(nn.Module):
    """A network that also draws random numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.network = cifar_models()["convolution"](depth=14, width=0.125)

    def forward(self, images):
        return self.network(F.dropout(images, 0.1, self.training))


@pytest.fixture(scope="module")
def images():
    return synthetic_cifar100(200)


def prepare(images, recipe=RECIPE, **settings) -> Training:
    torch.manual_seed(3)
    model = WithDropout().to(memory_format=torch.channels_last)
    training = Training(model, TrainingImages(images, CPU, seed=3), images, recipe, ALONE, **settings)
    training.report = lambda line: None
    return training


def numbers(training: Training) -> dict[str, torch.Tensor]:
    averaged = {} if training.averaged is None else training.averaged.state_dict(prefix="averaged.")
    lines = [
        (line.train_loss, line.train_top1, line.val_loss, line.val_top1, line.gradient_norm)
        for line in training.logbook.lines
    ]
    return {**training.model.state_dict(), **averaged, "lines": torch.tensor(lines, dtype=torch.float64)}


@pytest.mark.parametrize("stops", [(1,), (4,), (5,), (6,), (2, 1, 4)])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(images, tmp_path, stops):
    whole = prepare(images)
    whole.run(StopRequest())
    path = tmp_path / "checkpoint.pt"
    for count in stops:
        part = prepare(images, checkpoint=path)
        if path.exists():
            part.resume(path)
        with pytest.raises(Stopped, match="saved in"):
            part.run(StopAfter(count))
    torch.rand(100)  # a new process would not have the old one's random state
    last = prepare(images, checkpoint=path)
    last.resume(path)
    last.run(StopRequest())
    expected, found = numbers(whole), numbers(last)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_kill_between_the_last_step_of_an_epoch_and_its_score_loses_neither(images, tmp_path, monkeypatch, epoch):
    whole = prepare(images)
    whole.run(StopRequest())
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    path, killed = tmp_path / "checkpoint.pt", prepare(images, checkpoint=tmp_path / "checkpoint.pt")
    score = loop.evaluate

    def kill(*arguments):
        if len(killed.logbook.lines) == epoch:
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(loop, "evaluate", kill)
    with pytest.raises(KeyboardInterrupt):
        killed.run(StopRequest())
    monkeypatch.setattr(loop, "evaluate", score)
    last = prepare(images, checkpoint=path)
    last.resume(path)
    last.run(StopRequest())
    expected, found = numbers(whole), numbers(last)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_the_loop_is_the_one_of_the_textbook(images):
    """Three steps written out with PyTorch's own parts, from the same weights and batches."""
    recipe = replace(RECIPE, ema_decay=0.0, weight_decay=0.1)
    training = prepare(images, recipe, steps=3)
    model = prepare(images, recipe).model.network
    model.load_state_dict(training.model.network.state_dict())
    training.model = training.replica = training.model.network
    training.optimizer = optimizer_for(training.model, recipe)
    training.step = TrainingStep(training.model, training.optimizer, label_smoothing=recipe.label_smoothing)
    optimizer = torch.optim.SGD(
        [
            {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0},
            {"params": [p for p in model.parameters() if p.ndim > 1]},
        ],
        lr=1,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.1,
    )
    source = TrainingImages(images, CPU, seed=3)
    plan = source.plan(0)
    losses, norms = [], []
    for step in range(3):
        x, y = source.batch(plan, 40 * step, 40 * step + 40)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, 3)
        optimizer.zero_grad()
        logits = model(x)
        spread = 0.9 * F.one_hot(y, 100) + 0.1 / 100
        loss = -(spread * logits.log_softmax(1)).sum(1).mean()
        loss.backward()
        norms.append(torch.sqrt(sum(p.grad.square().sum() for p in model.parameters())).item())
        optimizer.step()
        losses.append(loss.item())
    training.run(StopRequest())
    assert training.logbook.lines[0].train_loss == pytest.approx(sum(losses) / 3, rel=1e-4)
    assert training.logbook.lines[0].gradient_norm == pytest.approx(sum(norms) / 3, rel=1e-3)
    for ours, theirs in zip(training.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("clip", [0.0, 1e-3, 1e3])
def test_gradients_longer_than_the_clip_are_shortened_to_it(clip):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    before = [p.detach().clone() for p in model.parameters()]
    recipe = Recipe(epochs=1, batch_size=4, peak_lr=0.5, momentum=0.0, weight_decay=0.0, clip=clip)
    step = TrainingStep(model, optimizer_for(model, recipe), clip=recipe.clip)
    norm = step(torch.randn(4, 3, 2, 2), torch.arange(4))[2].item()
    moved = torch.cat([(p - old).flatten() for p, old in zip(model.parameters(), before, strict=True)]).norm().item()
    assert 0.1 < norm < 10, "the norm is reported as it was"
    assert moved == pytest.approx(0.5 * (min(norm, clip) if clip else norm), rel=1e-3)


def test_averaged_weights_are_the_ones_evaluated(images):
    training = prepare(images, replace(RECIPE, ema_decay=0.5), steps=3)
    seen = []
    update = training.averaged.update
    training.averaged.update = lambda: (seen.append(training.model.network.classifier.bias.clone()), update())
    training.run(StopRequest())
    expected = seen[0]
    for bias in seen[1:]:
        expected = 0.5 * expected + 0.5 * bias
    assert torch.allclose(training.trained.network.classifier.bias, expected, atol=1e-7)
    assert training.logbook.lines[0].val_loss == pytest.approx(evaluate(training.trained, images, ALONE).loss)


@pytest.mark.parametrize("bad_step", [1, 3, 7])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(images, tmp_path, bad_step):
    training = prepare(images, checkpoint=tmp_path / "checkpoint.pt")
    calls = 0

    def poison(module, arguments, output):
        nonlocal calls
        calls += module.training
        return output * float("nan") if module.training and calls == bad_step else output

    training.model.register_forward_hook(poison)
    with pytest.raises(Diverged, match=rf"became nan at step {bad_step} of 10 \(epoch {1 + (bad_step - 1) // 5}, "):
        training.run(StopRequest())


def test_the_score_is_the_one_counted_by_hand(images):
    model = cifar_models()["convolution"](depth=14, width=0.125).eval()
    score = evaluate(model, images, ALONE, batch_size=70)
    with torch.no_grad():
        logits = model(normalise(images.images))
    ranks = (logits > logits.gather(1, images.labels[:, None])).sum(dim=1)
    assert score.top1 == pytest.approx(100 * (ranks < 1).float().mean().item())
    assert score.top5 == pytest.approx(100 * (ranks < 5).float().mean().item())
    assert score.loss == pytest.approx(F.cross_entropy(logits, images.labels).item(), rel=1e-4)


def test_a_checkpoint_of_other_settings_is_refused(images, tmp_path):
    path = tmp_path / "checkpoint.pt"
    first = prepare(images, checkpoint=path, identity="epochs 2")
    with pytest.raises(Stopped):
        first.run(StopAfter(1))
    with pytest.raises(CheckpointError, match="other settings:\n  there  epochs 2\n  here   epochs 3\n"):
        prepare(images, checkpoint=path, identity="epochs 3").resume(path)


def test_a_checkpoint_of_another_version_of_the_network_is_refused(images, tmp_path):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Stopped):
        prepare(images, checkpoint=path).run(StopAfter(1))
    now = prepare(images, checkpoint=path)
    now.model.added = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r'another version of this network: .*"added.weight".*Begin again with'):
        now.resume(path)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 3, "weights": torch.ones(1000)})
    assert load_checkpoint(path)["step"] == 3
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:10], b"", b"no checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            load_checkpoint(path)


class RunsWhenUnpickled:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_checkpoint_cannot_run_code(tmp_path, capsys):
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": 1, "trap": RunsWhenUnpickled()}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert "this must not run" not in capsys.readouterr().out


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then write() fails with an error, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"could not be written .*the one before is kept"):
            save_checkpoint(path, {"step": 2, "weights": torch.ones(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert load_checkpoint(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["checkpoint.pt"]


class OneOfTwo(Processes):
    """The first of two processes; the other one has noticed something."""

    def any(self, flag):
        return True


def test_what_one_of_several_processes_notices_is_done_by_all_at_the_same_step(images):
    """A stop, or a checkpoint, before which the losses of all are summed: alone at it, a process waits for ever."""
    training = prepare(images)
    assert training._any_at(3, True) and not training._any_at(3, False)
    training.processes = OneOfTwo(0, 2, CPU)
    assert [index for index in range(25) if training._any_at(index, False)] == [0, 10, 20]
    assert not training._any_at(3, True)


def test_too_few_images_or_processes_that_do_not_divide_are_named(images):
    with pytest.raises(ValueError, match="200 training images do not fill a batch of 512"):
        prepare(images, replace(RECIPE, batch_size=512))
    with pytest.raises(ValueError, match="batch_size 40 does not divide over 3 processes"):
        Training(nn.Identity(), TrainingImages(images, CPU), images, RECIPE, Processes(0, 3, CPU))
