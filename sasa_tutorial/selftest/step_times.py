"""A training step of each network of the comparison at the size of a profile."""

from collections.abc import Callable

import torch

from sasa_tutorial.bench.network import NetworkSetting, step_of
from sasa_tutorial.devices import on_gpu
from sasa_tutorial.models import cifar_models
from sasa_tutorial.selftest.report import one_line
from sasa_tutorial.selftest.timed import timed
from sasa_tutorial.training.profiles import PROFILES

Step = Callable[[], None]


def kinds(device: torch.device) -> list[tuple[str, bool]]:
    """How a step is started, one kernel after another or replayed as one CUDA graph: its name, and whether that."""
    return [("eager", False), ("captured", True)] if on_gpu(device) else [("eager", False)]


def measure(
    profile: str, device: torch.device, half: torch.dtype | None, seconds: float, *, capture: bool
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Milliseconds and images a second by network, and why some have none.

    Args:
        profile: whose width, depth and batch.
        device: where.
        half: 16-bit numbers to compute in; None for float32.
        seconds: about how long it may take.
        capture: in a CUDA graph.
    """
    setting = setting_of(profile, device)
    actions: dict[str, Step] = {}
    problems: dict[str, str] = {}
    for name in cifar_models():
        try:
            actions[name] = step_of(name, setting, half=half, capture=capture)
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
