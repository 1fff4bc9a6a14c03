"""A training step of each network of the comparison at the size of a profile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from sasa_tutorial.bench.network import NetworkSetting, step_of
from sasa_tutorial.devices import computing, on_gpu
from sasa_tutorial.models import cifar_models
from sasa_tutorial.selftest.report import one_line
from sasa_tutorial.selftest.timed import timed
from sasa_tutorial.training import step as training
from sasa_tutorial.training.profiles import PROFILES

Step = Callable[[], None]
Factory = Callable[[str, NetworkSetting], Step]


def eager(name: str, setting: NetworkSetting) -> Step:
    """A step as the loop does it, one kernel after another."""
    return step_of(name, setting)


def captured(name: str, setting: NetworkSetting) -> Step:
    """A step whose forward and backward are replayed as one CUDA graph."""
    return step_of(name, setting, capture=True)


def kinds(device: torch.device) -> list[tuple[str, Factory]]:
    """How a step is started: the name, and what makes the step of a network at a setting."""
    return [("eager", eager), ("captured", captured)] if on_gpu(device) else [("eager", eager)]


def measure(
    profile: str, device: torch.device, dtype: torch.dtype | None, factory: Factory, seconds: float
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Milliseconds and images a second by network, and why some have none.

    Args:
        profile: whose width, depth and batch.
        device: where.
        dtype: of convolutions; None: as the recipe has it there.
        factory: of the step.
        seconds: about how long it may take.
    """
    setting = setting_of(profile, device)
    actions: dict[str, Step] = {}
    problems: dict[str, str] = {}
    with computing_in(dtype):
        for name in cifar_models():
            try:
                actions[name] = factory(name, setting)
            except Exception as error:
                problems[name] = one_line(error)
        times, failed = timed(actions, setting.device, seconds)
    found = {name: {"ms": ms, "images_per_second": 1e3 * setting.batch / ms} for name, ms in times.items()}
    return found, problems | failed


def setting_of(profile: str, device: torch.device) -> NetworkSetting:
    """The size of a profile's networks and of its batches."""
    chosen = PROFILES[profile]
    batch = chosen.recipe.batch_size
    return NetworkSetting(depth=chosen.depth, width=chosen.width, batch=batch, device=str(device))


def described(profile: str) -> str:
    """That size in words."""
    setting = setting_of(profile, torch.device("cpu"))
    return f"profile {profile}, width {setting.width:g}, batch {setting.batch}"


def numbers(device: torch.device, dtype: torch.dtype | None) -> str:
    """In which numbers a step computes."""
    with computing(device):
        usual = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32
    return str(dtype or usual).removeprefix("torch.")


@contextmanager
def computing_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Within the block training steps compute in this type; None changes nothing."""
    if dtype is None:
        yield
        return
    before = training.computing

    def computing_so(device: torch.device, *, bfloat16: bool = False) -> torch.autocast:
        narrow = torch.bfloat16 if dtype == torch.float32 else dtype
        return torch.autocast(device.type, dtype=narrow, enabled=dtype != torch.float32)

    training.computing = computing_so
    try:
        yield
    finally:
        training.computing = before
