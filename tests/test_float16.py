"""Training on GPUs without bfloat16, such as a T4: float16 with a scaled loss, played by a CPU."""

import pytest
import torch

from sasa_tutorial import precision
from sasa_tutorial.datasets import TrainingImages, synthetic_cifar100
from sasa_tutorial.models import cifar_models
from sasa_tutorial.training import loop
from sasa_tutorial.training.distributed import Processes
from sasa_tutorial.training.loop import Training
from sasa_tutorial.training.recipe import Recipe
from sasa_tutorial.training.stopping import Stopped, StopRequest
from tests.test_training import StopAfter

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16)]
)
def test_a_gpu_computes_in_the_16_bit_numbers_it_has(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    half = precision.half_precision(torch.device("cuda"))
    assert half is expected
    monkeypatch.setattr(torch.amp.grad_scaler.torch.cuda, "is_available", lambda: True)
    assert precision.loss_scaler(half, CPU).is_enabled() == (expected is torch.float16)


@pytest.fixture
def in_float16(monkeypatch):
    monkeypatch.setattr(loop, "half_precision", lambda device, bfloat16: torch.float16)


@pytest.fixture(scope="module")
def images():
    return synthetic_cifar100(100)


def prepare(images, name="external_attention", **settings) -> Training:
    torch.manual_seed(3)
    model = cifar_models()[name](depth=14, width=0.125).to(memory_format=torch.channels_last)
    recipe = Recipe(epochs=2, batch_size=50, peak_lr=0.05)
    validation = synthetic_cifar100(100)  # nothing is said about its score
    training = Training(
        model, TrainingImages(images, CPU, seed=3), validation, recipe, Processes(0, 1, CPU), **settings
    )
    training.report = lambda line: None
    return training


@pytest.mark.parametrize("name", ["global_attention", "relative_offsets", "external_attention"])
def test_a_run_in_float16_follows_the_one_in_float32(images, monkeypatch, name):
    plain = prepare(images, name)
    plain.run(StopRequest())
    monkeypatch.setattr(loop, "half_precision", lambda device, bfloat16: torch.float16)
    half = prepare(images, name)
    half.run(StopRequest())
    assert half.step.scaler.is_enabled()
    for one, other, apart in zip(plain.logbook.lines, half.logbook.lines, (5e-3, 3e-2), strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=apart)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=0.1), "of the gradients without the scale"


def test_a_step_that_overflows_is_left_out_and_the_scale_lowered(images, in_float16):
    training = prepare(images, steps=1)
    training.step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = [p.detach().clone() for p in training.model.parameters()]
    training.run(StopRequest())
    assert training.step.scaler.get_scale() == 2.0**39
    assert all(torch.equal(p, old) for p, old in zip(training.model.parameters(), before, strict=True))


def test_a_resumed_run_has_its_scale(images, in_float16, tmp_path):
    path = tmp_path / "checkpoint.pt"
    part = prepare(images, checkpoint=path)
    part.step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    with pytest.raises(Stopped):
        part.run(StopAfter(3))
    scale = part.step.scaler.get_scale()
    assert scale < 2.0**40
    last = prepare(images, checkpoint=path)
    last.resume(path)
    assert last.step.scaler.get_scale() == scale
