"""Times as medians of interleaved rounds: whatever else the machine does meets all subjects alike."""

import math
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeVar

from sasa_tutorial.devices import wait_for

LEAST_MS = 20.0  # of one measurement: shorter actions are called several times in it
MOST_CALLS = 1000

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call: the median of the rounds, and the quartiles around it."""

    median: float
    low: float
    high: float


def interleaved(
    actions: Mapping[Key, Callable[[], object]],
    device: str,
    *,
    rounds: int,
    done: Callable[[], None] = lambda: None,
) -> dict[Key, Times]:
    """The time of each action, measured in turn: a, b, c, a, b, c, …

    Args:
        actions: what is timed.
        device: where it computes; a GPU is waited for before and after each measurement.
        rounds: each round measures every action once. A first one, not counted, compiles, and finds how many calls
            make a measurement of LEAST_MS.
        done: called after every round, the first included.
    """
    calls = {name: _enough_calls(action, device) for name, action in actions.items()}
    done()
    found: dict[Key, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            found[name].append(_milliseconds(action, calls[name], device) / calls[name])
        done()
    return {name: _summary(values) for name, values in found.items()}


def _enough_calls(action: Callable[[], object], device: str) -> int:
    action()
    calls = 1
    while calls < MOST_CALLS and (spent := _milliseconds(action, calls, device)) < LEAST_MS:
        # On a GPU many calls in a row overlap their launches: a call among them is shorter than one alone.
        calls = min(MOST_CALLS, max(2 * calls, math.ceil(calls * LEAST_MS / max(spent, 1e-3))))
    return calls


def _milliseconds(action: Callable[[], object], calls: int, device: str) -> float:
    wait_for(device)
    started = time.perf_counter()
    for _ in range(calls):
        action()
    wait_for(device)
    return 1e3 * (time.perf_counter() - started)


def _summary(values: list[float]) -> Times:
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return Times(median(values), low, high)
