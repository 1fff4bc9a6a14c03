"""Child processes that are gone when they should be, with everything they have started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows ends a process for any signal


def module_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]


def end_group(process: subprocess.Popen, *, patience: float) -> None:
    """End a process that leads a group (`start_new_session`), and the group: politely, then not.

    Args:
        process: the leader.
        patience: seconds between the two.
    """
    _signal(process, signal.SIGTERM)
    wait_until(lambda: process.poll() is not None, patience)
    _signal(process, KILL)
    process.wait()


def wait_until(done, seconds: float) -> bool:
    """Whether it became true in that time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _signal(process: subprocess.Popen, number: int) -> None:
    if not hasattr(os, "killpg"):  # Windows has no groups of processes
        process.kill()
        return
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def last_line(lines: Sequence[str]) -> str:
    """The last that is not empty."""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
