"""The recorded step: on a GPU it is the ordinary one bit for bit; where it cannot be recorded, the run goes on."""

import pytest
import torch
from torch import nn

from sasa_tutorial.datasets import TrainingImages, synthetic_cifar100
from sasa_tutorial.models import cifar_models
from sasa_tutorial.training import capture
from sasa_tutorial.training.distributed import Processes
from sasa_tutorial.training.loop import Training
from sasa_tutorial.training.recipe import Recipe, optimizer_for
from sasa_tutorial.training.step import TrainingStep
from sasa_tutorial.training.stopping import StopRequest

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="a CUDA graph needs a GPU")


def trained(name: str, *, captured: bool) -> Training:
    device = torch.device("cuda")
    images = synthetic_cifar100(600)
    torch.manual_seed(1)
    model = cifar_models()[name](depth=14, width=0.25).to(device, memory_format=torch.channels_last)
    recipe = Recipe(epochs=2, batch_size=64, peak_lr=0.05, ema_decay=0.9, capture=captured)
    training = Training(model, TrainingImages(images, device), images.to(device), recipe, Processes(0, 1, device))
    training.report = lambda line: None
    training.run(StopRequest())
    return training


@needs_gpu
@pytest.mark.parametrize("name", ["convolution", "global_attention", "relative_offsets", "external_attention"])
def test_a_captured_run_is_the_ordinary_one(name):
    one, other = trained(name, captured=False), trained(name, captured=True)
    # cuDNN adds up the gradients of a convolution in an order that it does not promise.
    for key, value in one.trained.state_dict().items():
        found = other.trained.state_dict()[key]
        assert (value - found).float().norm() <= 2e-2 * value.float().norm() + 1e-6, key
    for expected, found in zip(one.logbook.lines, other.logbook.lines, strict=True):
        assert found.train_loss == pytest.approx(expected.train_loss, rel=2e-3)
        assert found.gradient_norm == pytest.approx(expected.gradient_norm, rel=2e-2)


@pytest.fixture
def no_graphs(monkeypatch):
    """A GPU on which nothing can be recorded, played by the CPU."""

    def refuse(function, inputs):
        raise RuntimeError("operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(capture, "recorded", refuse)
    monkeypatch.setattr(capture, "beside", lambda function, inputs: function(*inputs))


def test_a_step_that_cannot_be_recorded_goes_on_and_says_so_once(no_graphs):
    def losses(captured: bool) -> list[float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10))
        step = TrainingStep(model, optimizer_for(model, Recipe(epochs=1, batch_size=8, peak_lr=0.1)), capture=captured)
        pixels, labels = torch.randn(8, 3, 8, 8), torch.arange(8)
        return [step(pixels, labels)[0].item() for _ in range(6)]

    expected = losses(False)
    with pytest.warns(RuntimeWarning, match="kernel by kernel, slower.*stream is capturing") as said:
        assert losses(True) == expected
    assert len(said) == 1


def test_the_recording_is_replayed_with_the_numbers_of_each_call(monkeypatch):
    """A graph played by a function that computes again from the tensors the recording was made with."""
    played = []

    def recorded(function, inputs):
        output = function(*inputs)

        def replay():
            played.append(True)
            output.copy_(function(*inputs))

        return replay, output

    monkeypatch.setattr(capture, "recorded", recorded)
    monkeypatch.setattr(capture, "beside", lambda function, inputs: function(*inputs))
    step = capture.Captured(lambda x, y: (x * y).sum()[None])
    for count in range(1, 7):
        x, y = torch.randn(2, 5)
        assert torch.equal(step(x, y), (x * y).sum()[None])
        assert len(played) == max(0, count - capture.CALLS_BEFORE)
    with pytest.raises(ValueError, match=r"recorded for shape \(5,\), got \(4,\)"):
        step(torch.randn(4), torch.randn(4))
