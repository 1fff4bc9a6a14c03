"""The stages one after another, each in a process of its own with its share of the time, then the summary."""

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sasa_tutorial.selftest.job import Job
from sasa_tutorial.selftest.processes import end_group, how_it_ended, last_line, module_command, wait_until
from sasa_tutorial.selftest.report import read_report
from sasa_tutorial.selftest.summary import summary


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One part of the self-test."""

    module: str  # has run(job, report) -> headline
    share: float  # of the whole time
    most: float = float("inf")  # seconds
    least: float = 0.0  # seconds, however short the whole is: imports take some
    needs_data: bool = False


STAGES: Mapping[str, Stage] = {
    "machine": Stage(module="sasa_tutorial.selftest.machine", share=0.05, most=30, least=20),
    "kernels": Stage(module="sasa_tutorial.selftest.kernels", share=0.3, most=60, least=10),
    "speed": Stage(module="sasa_tutorial.selftest.speed", share=0.4, most=90, least=10),
    "grid": Stage(module="sasa_tutorial.selftest.grid", share=1.0, needs_data=True),
}
# Seconds beyond its time after which a stage is ended: a Triton program that is being compiled cannot be interrupted.
GRACE = 20.0


def run_selftest(
    *,
    minutes: float = 8.0,
    out: Path,
    data: Path | None = None,
    processes: int | None = None,
    only: Sequence[str] = (),
    seed: int | None = None,
    stages: Mapping[str, Stage] | None = None,
    grace: float | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Run the stages and write their reports and the summary.

    Args:
        minutes: for all of them together.
        out: folder of the reports; those of an earlier self-test are replaced.
        data: folder that holds CIFAR-100, for the grid; without it there is no grid.
        processes: of the grid; None: 8 on a GPU, else 1.
        only: names of stages; all for none.
        seed: of everything random; None: from the clock. The report says which.
        stages: instead of STAGES, for tests.
        grace: instead of GRACE.
        say: where lines go.

    Returns:
        The exit code: 0 if every stage was well, else 1.

    Raises:
        ValueError: an unknown stage, a folder that is none, a file where the reports should go, the grid without data.
    """
    known = STAGES if stages is None else stages
    for name in only:
        if name not in known:
            raise ValueError(f"stage must be {', '.join(known)}, got {name!r}")
        if known[name].needs_data and data is None:
            raise ValueError(f"stage {name} trains on CIFAR-100: say with --data in which folder it is")
    if data is not None and not data.is_dir():
        raise ValueError(f"--data must be the folder that holds CIFAR-100, and {data} is no folder")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder, and {out} is a file")
    chosen = [name for name in known if (not only or name in only) and not (known[name].needs_data and data is None)]
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    begun = time.time()
    seed = int(begun) % 1_000_000 if seed is None else seed
    say(f"self-test of {minutes:g} minutes, seed {seed}, reports in {out}")
    found = {}
    for name in chosen:
        stage = known[name]
        left = begun + 60 * minutes - time.time()
        seconds = max(stage.least, min(stage.share * 60 * minutes, stage.most, left))
        settings = {"seed": seed, "processes": processes or 0, "data": "" if data is None else str(data.resolve())}
        job = Job(stage=name, out=str(out), deadline=time.time() + seconds, **settings)
        found[name] = _run(stage, job, GRACE if grace is None else grace)
        say(f"{name}: {found[name]['verdict']}, {found[name]['seconds']:.0f} s: {found[name]['headline']}")
    text = summary(found, out, seed)
    (out / "summary.txt").write_text(text + "\n", encoding="utf-8")
    say("\n" + text)
    return 0 if all(report["verdict"] == "well" for report in found.values()) else 1


def _run(stage: Stage, job: Job, grace: float) -> dict[str, Any]:
    """The report of one stage, with the seconds it took; however the stage ended there is one."""
    for suffix in ("txt", "json"):
        (job.folder / f"{job.stage}.{suffix}").unlink(missing_ok=True)
    begun, log = time.monotonic(), job.folder / f"{job.stage}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            module_command("sasa_tutorial.selftest.child", stage.module),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, to end with all that it starts
        )
        try:
            process.stdin.write(json.dumps(asdict(job)).encode())
            process.stdin.close()
            in_time = wait_until(lambda: process.poll() is not None, job.left + grace)
        except BrokenPipeError:
            in_time = wait_until(lambda: process.poll() is not None, grace)
        finally:
            end_group(process, patience=min(5.0, grace))
    report = {"failures": [], "notes": [], "results": [], "verdict": None, "headline": ""}
    report |= read_report(job.stage, job.folder) | {"seconds": time.monotonic() - begun}
    if report["verdict"] is None:
        said = last_line(log.read_text(encoding="utf-8", errors="replace").splitlines())
        ended = f"it ended with {how_it_ended(process.returncode)}" + (f" ({said[:200]})" if said else "")
        why = ended if in_time else f"it overran its time and was ended after {report['seconds']:.0f} s"
        report["failures"].append(why)
        report |= {"verdict": "failed", "headline": f"{why}; results until then: {len(report['results'])}"}
    return report
