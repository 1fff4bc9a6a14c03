"""Planned runs, by several processes that share the grid, until the time is up; what is finished is a record."""

import os
import signal
import subprocess
import time
from pathlib import Path

from sasa_tutorial.devices import gpu_available
from sasa_tutorial.selftest.job import Job
from sasa_tutorial.selftest.processes import cores, last_line, module_command, wait_until
from sasa_tutorial.selftest.report import Report
from sasa_tutorial.training.records import committed_records, local_records

PROFILES_ON_GPU, PROFILES_ON_CPU = ("evening", "gpu", "full"), ("laptop",)
ON_GPU = 8  # processes: the networks of the comparison leave a large GPU mostly idle
LEAST_SECONDS = 15.0  # below that no run is begun
LEAVING_SECONDS = 12.0  # before the end: saving takes some
STOPPED = (0, 130, 143, -signal.SIGTERM)  # exit codes of a process that ended well, or as it was told


def run(job: Job, report: Report) -> str:
    """Start the processes, copy new records as they come, stop everybody in time."""
    count = job.processes or (ON_GPU if gpu_available() else 1)
    files = {committed_records(): "committed", local_records(): "local"}
    before = {file: set(_lines(file)) for file in files}
    copied: set[str] = set()
    out = job.folder / "records.jsonl"
    out.write_text("", encoding="utf-8")
    workers = [Worker(job, number, count) for number in range(count)]
    report.line(f"{count} process{'' if count == 1 else 'es'}, {job.left:.0f} s")

    def look() -> None:
        for file, kind in files.items():
            new = [line for line in _lines(file) if line not in before[file] and line not in copied]
            for line in new:
                copied.add(line)
                with out.open("a", encoding="utf-8") as target:
                    target.write(line + "\n")
                report.line(f"{kind} record: {line[:200]}")
                report.result(kind="record", committed=int(kind == "committed"), line=line)

    try:
        while job.left > LEAVING_SECONDS:
            working = [worker.goes_on() for worker in workers]  # all are asked: asking is what begins
            if not any(working):
                break
            look()
            time.sleep(min(1.0, max(0.0, job.left - LEAVING_SECONDS)))
    finally:
        for worker in workers:
            worker.stop()
        ended = wait_until(lambda: all(worker.ended() for worker in workers), LEAVING_SECONDS)
        look()
    for worker in workers:
        if not worker.ended():
            worker.kill()
        for problem in worker.problems:
            report.failure(problem)
    if not ended:
        report.failure("some runs did not stop when told to, and were killed")
    committed = sum(result["committed"] for result in report.found["results"])
    return f"{len(copied)} runs finished ({committed} of them as planned, in data/results), by {count} processes"


class Worker:
    """One process after another, a profile each, with its log."""

    def __init__(self, job: Job, number: int, count: int) -> None:
        profiles = PROFILES_ON_GPU if gpu_available() else PROFILES_ON_CPU
        self.job, self.profiles, self.problems = job, list(profiles), []
        self.log = job.folder / f"grid-{number + 1}.log"
        self.log.write_bytes(b"")
        self.process: subprocess.Popen | None = None
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // count))
        self.environment = {**os.environ, "SASA_DATA": job.data, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}

    def goes_on(self) -> bool:
        """Whether it is at work; begins the next profile where one is done."""
        if not self.ended():
            return True
        self._judge()
        left = self.job.left - LEAVING_SECONDS
        if not self.profiles or left < LEAST_SECONDS:
            return False
        profile = self.profiles.pop(0)
        arguments = ("train", "--missing", "--profile", profile, "--minutes", f"{left / 60:.3f}")
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                module_command("sasa_tutorial", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        return True

    def ended(self) -> bool:
        """Whether nothing of it runs now."""
        return self.process is None or self.process.poll() is not None

    def stop(self) -> None:
        """Ask it to save and leave."""
        if not self.ended():
            self.process.terminate()
        self._judge()

    def kill(self) -> None:
        """For one that did not leave."""
        self.process.kill()
        self.process.wait()

    def _judge(self) -> None:
        if self.process is not None and self.ended() and self.process.returncode not in STOPPED:
            said = last_line(self.log.read_text(encoding="utf-8", errors="replace").splitlines())
            self.problems.append(f"{self.log.name}: exit code {self.process.returncode}: {said[:200]}")
            self.process = None


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
