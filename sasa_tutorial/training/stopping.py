"""Stopping a run from outside without losing it: Ctrl-C, a polite kill, or the end of the time it was given."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sasa_tutorial.errors import TutorialError


class Stopped(TutorialError):
    """A run that was stopped and saved.

    Attributes:
        exit_code: what the command returns: 130 after Ctrl-C, 143 after a kill, 0 when its time was up.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StopRequest:
    """Whether somebody, or the clock, has asked the run to stop.

    Args:
        deadline: on the clock of `time.monotonic`, in seconds; None for no limit.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.signal: int | None = None

    @property
    def made(self) -> bool:
        return self.signal is not None or (self.deadline is not None and time.monotonic() >= self.deadline)

    @property
    def exit_code(self) -> int:
        return 0 if self.signal is None else 128 + self.signal

    @property
    def reason(self) -> str:
        names = {None: "its time was up", signal.SIGINT: "Ctrl-C", signal.SIGTERM: "a kill"}
        return names.get(self.signal, f"signal {self.signal}")


@contextmanager
def stop_requests(deadline: float | None = None) -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request that the run answers after its current step.

    A second one acts as always, for a run that does not answer. Outside the main thread only the clock is watched.
    """
    request = StopRequest(deadline)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: object) -> None:
        request.signal = number
        signal.signal(number, previous[number])

    for number in previous:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
