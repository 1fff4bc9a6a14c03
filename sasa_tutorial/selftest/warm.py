"""Compiling beforehand, many programs at a time: `python -m sasa_tutorial.selftest.warm INDEX SHARE SHARES`.

Each distinct program takes Triton or FlexAttention seconds of one core. These processes call once what is measured
later, so that its programs are in the caches on the disk; what fails in them fails again, and is said, later.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sasa_tutorial.selftest.processes import cores, module_command

SHARES = 3  # processes for each comparison
MOST_PROCESSES = 12  # a few gigabytes of the GPU's memory each


def warm(comparisons: int, seconds: float) -> int:
    """Run the processes, those of the first comparisons first, for at most so many seconds; how many ended in time."""
    waiting = [(index, share) for index in range(comparisons) for share in range(SHARES)]
    running: list[subprocess.Popen] = []
    ended, end = 0, time.monotonic() + seconds
    most = max(1, min(MOST_PROCESSES, cores() - 2))
    while (waiting or running) and time.monotonic() < end:
        while waiting and len(running) < most:
            arguments = map(str, (*waiting.pop(0), SHARES))
            command = module_command("sasa_tutorial.selftest.warm", *arguments)
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        ended += sum(process.poll() is not None for process in running)
        running = [process for process in running if process.poll() is None]
        time.sleep(0.1)
    for process in running:
        process.kill()
        process.wait()
    return ended


def main(index: int, share: int, shares: int) -> None:
    """Call the share's part of the actions of one comparison once."""
    from sasa_tutorial.devices import resolve_device
    from sasa_tutorial.selftest import timed
    from sasa_tutorial.selftest.report import Report
    from sasa_tutorial.selftest.speed import plan

    timed.ONLY_ONCE = (share, shares)
    _, measure = plan(resolve_device("auto"))[index]
    with tempfile.TemporaryDirectory() as folder:
        measure(60.0, Report("warm", Path(folder)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
