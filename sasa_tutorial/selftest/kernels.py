"""Every way to compute local attention, value and gradients, against the equation in float64.

The trials are shared out among a few processes, because each distinct Triton program takes seconds of one core to
compile, and so that one that breaks its process (a segmentation fault, an illegal access on the GPU) stops no other.
"""

import json
import subprocess
import threading
import time
from collections import Counter
from typing import Any

from sasa_tutorial.devices import gpu_available
from sasa_tutorial.selftest.job import Job
from sasa_tutorial.selftest.processes import KILL, cores, how_it_ended, last_line, module_command
from sasa_tutorial.selftest.report import Report

MOST_WORKERS = 14  # each has a CUDA context of half a gigabyte
TRIAL_SECONDS = 45.0  # one that takes longer hangs
LATE_SECONDS = 10.0  # how long a trial may go on when the time is up: its programs are perhaps being compiled
START_SECONDS = 90.0  # of a process until its first trial
MOST_RESTARTS = 6  # of one process


def run(job: Job, report: Report) -> str:
    """Try as much as the time allows; a failure for each trial that is not right."""
    count = max(1, min(MOST_WORKERS, cores() - 2)) if gpu_available() else 1
    report.line(f"seed {job.seed}, {count} process{'' if count == 1 else 'es'}, each trial with its seed")
    tally = Tally(report)
    threads = [threading.Thread(target=_follow, args=(job, first, count, tally)) for first in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally.headline()


class Tally:
    """What the processes have said so far, in one report."""

    def __init__(self, report: Report) -> None:
        self.report, self.counts, self.total = report, Counter(), 0
        self._one_at_a_time = threading.Lock()

    def add(self, name: str, verdict: str, text: str, seconds: float = 0.0) -> None:
        """A trial has ended."""
        with self._one_at_a_time:
            self.counts[verdict] += 1
            self.report.result(kind="trial", name=name, verdict=verdict, text=text, seconds=seconds)
            if verdict == "failed":
                self.report.failure(f"{name}: {text}")
            else:
                self.report.line(f"{verdict} {name}: {text} [{seconds:.1f} s]")
            if verdict == "skipped":
                self.report.found["notes"].append(f"skipped {name}: {text}")

    def fail(self, text: str) -> None:
        """Something other than a trial was not well."""
        with self._one_at_a_time:
            self.report.failure(text)

    def headline(self) -> str:
        """How many of how many, and how they ended; none at all is a failure."""
        ran = sum(self.counts.values())
        if not self.counts["well"] and not self.counts["failed"]:
            self.report.failure("no trial ended in the time there was")
        counted = ", ".join(f"{self.counts[kind]} {kind}" for kind in ("well", "failed", "skipped", "unfinished"))
        return f"{ran} of {self.total or 'unknown'} trials ran: {counted}"


def _follow(job: Job, first: int, step: int, tally: Tally) -> None:
    """One share of the trials, in as many processes as it takes."""
    for _ in range(MOST_RESTARTS + 1):
        if job.left <= 0:
            return
        told = {"first": first, "step": step, "seed": job.seed, "deadline": job.deadline}
        at, code, said = _listen(told, tally)
        if code == 0 or job.left <= 0:
            return
        if at is None:
            tally.fail(f"a process that tries kernels did not begin: {how_it_ended(code)}, {said[:200]}")
            return
        first = at + step
    tally.fail(f"gave up a share of the trials after {MOST_RESTARTS + 1} processes that broke")


def _listen(told: dict[str, Any], tally: Tally) -> tuple[int | None, int, str]:
    """Run one process. Returns the last trial it began, its exit code, and the last line it wrote to stderr."""
    process = subprocess.Popen(
        module_command("sasa_tutorial.selftest.worker"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    process.stdin.write(json.dumps(told))
    process.stdin.close()
    begun: dict[str, Any] | None = None
    at = None

    def kill_after(seconds: float) -> threading.Timer:
        alarm = threading.Timer(min(seconds, told["deadline"] - time.time() + LATE_SECONDS), process.kill)
        alarm.start()
        return alarm

    alarm = kill_after(START_SECONDS)
    for line in process.stdout:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # something else that a library printed
        alarm.cancel()
        if "begin" in event:
            begun, at, tally.total = event, event["begin"], event["of"]
        else:
            tally.add(event["name"], event["verdict"], event["text"], event["seconds"])
            begun = None
        alarm = kill_after(TRIAL_SECONDS)
    code = process.wait()
    alarm.cancel()
    reader.join(timeout=2)
    late = time.time() > told["deadline"]
    if begun is not None and late and code == -KILL:
        tally.add(begun["name"], "unfinished", "the time was up")
    elif begun is not None:
        tally.add(begun["name"], "failed", f"its process ended with {how_it_ended(code)}: {last_line(errors)[:200]}")
    return at, code, last_line(errors)
