"""Times as medians of interleaved rounds: whatever else the machine does meets all subjects alike."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median, quantiles

import torch

from sasa_tutorial.bench.subjects import Setting, Subject


@dataclass(frozen=True)
class Times:
    """Milliseconds: the median, and the quartiles around it."""

    median: float
    low: float
    high: float


def measure_times(
    chosen: Mapping[str, Subject], setting: Setting, *, rounds: int, done: Callable[[], None] = lambda: None
) -> dict[str, tuple[Times, Times]]:
    """For each subject the times of the forward pass alone, and of forward and backward pass.

    Args:
        chosen: the subjects by name.
        setting: their input.
        rounds: each round runs every subject once, after one that is not counted.
        done: called after every round.
    """
    forward: dict[str, list[float]] = {name: [] for name in chosen}
    both: dict[str, list[float]] = {name: [] for name in chosen}
    x = setting.input()
    for number in range(rounds + 1):
        for name, subject in chosen.items():
            with subject.ready(setting) as layer:
                y = layer(x)
                upstream = torch.randn_like(y)
                once = _milliseconds(lambda layer=layer: _without_gradient(layer, x), setting)
                twice = _milliseconds(lambda layer=layer, up=upstream: layer(x).backward(up), setting)
            if number:
                forward[name].append(once)
                both[name].append(twice)
        done()
    return {name: (_summary(forward[name]), _summary(both[name])) for name in chosen}


def _without_gradient(layer: torch.nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        layer(x)


def _milliseconds(run: Callable[[], None], setting: Setting) -> float:
    with ExitStack() as after:
        if setting.device != "cpu":
            torch.cuda.synchronize()
            after.callback(torch.cuda.synchronize)
        started = time.perf_counter()
        run()
    return 1e3 * (time.perf_counter() - started)


def _summary(values: list[float]) -> Times:
    low, _, high = quantiles(values, n=4) if len(values) > 1 else values * 3
    return Times(median(values), low, high)
