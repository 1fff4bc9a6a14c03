"""Interleaved medians, as the benchmark takes them, within a given time; what fails leaves the others alone."""

import contextlib
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from sasa_tutorial.bench.timing import LEAST_MS, interleaved
from sasa_tutorial.devices import wait_for
from sasa_tutorial.selftest.report import one_line

NO_TIME = "no time"
MOST_ROUNDS = 7
FEW_ROUNDS, FEW_SECONDS = 3, 5.0  # taken where compiling has used up the time, if that is all they cost
ONLY_ONCE: tuple[int, int] | None = None  # in a process that compiles beforehand: its share, of how many

Key = TypeVar("Key", bound=Hashable)


def timed(
    actions: Mapping[Key, Callable[[], object]], device: str, seconds: float
) -> tuple[dict[Key, float], dict[Key, str]]:
    """Milliseconds of each action, and why some have none.

    Args:
        actions: what is timed. Each is called once to compile it; where that has used up the time, the rest is left
            out. Where there is no time for rounds, a second call has to do.
        device: where it computes.
        seconds: about how long all of it may take.
    """
    end = time.monotonic() + seconds
    once: dict[Key, float] = {}
    problems: dict[Key, str] = {}
    if ONLY_ONCE is not None:
        share, shares = ONLY_ONCE
        for name in list(actions)[share::shares]:
            with contextlib.suppress(Exception):
                actions[name]()
        return {}, {}
    for name, action in actions.items():
        if time.monotonic() > end:
            problems[name] = NO_TIME
            continue
        try:
            action()
            wait_for(device)
            begun = time.perf_counter()
            action()
            wait_for(device)
            once[name] = time.perf_counter() - begun
        except Exception as error:
            problems[name] = one_line(error)
    # A measurement is some calls of LEAST_MS together, at least one; finding their number takes about three.
    cost = sum(max(2 * LEAST_MS / 1e3, spent) for spent in once.values())
    rounds = min(MOST_ROUNDS, int((end - time.monotonic()) / max(cost, 1e-6)) - 3)
    if rounds < FEW_ROUNDS and (FEW_ROUNDS + 3) * cost < FEW_SECONDS:
        rounds = FEW_ROUNDS
    if rounds < 1 or not once:
        return {name: 1e3 * spent for name, spent in once.items()}, problems
    times = interleaved({name: actions[name] for name in once}, device, rounds=rounds)
    return {name: of.median for name, of in times.items()}, problems
