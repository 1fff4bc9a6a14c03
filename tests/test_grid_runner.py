"""Working through the grid: killed at any moment, or shared by two processes, it loses no run and repeats none."""

import json
import multiprocessing
import os
import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sasa_tutorial.experiments import planned_runs, runner, train_missing
from sasa_tutorial.training import loop
from sasa_tutorial.training.profiles import PROFILES

STUDIES = ("positions", "logits")  # 5 networks, 3 seeds
ONE_STUDY = ("logits",)  # two of them
# Children of a process that has imported everything and computed nothing: they start at once, and with whole threads.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["sasa_tutorial.experiments", "safetensors.torch", "torch._dynamo"])


def tiny() -> None:
    """The smoke profile, small enough for a run a second, that saves all the time."""
    smoke = PROFILES["smoke"]
    recipe = replace(smoke.recipe, epochs=2, batch_size=10)
    PROFILES["smoke"] = replace(smoke, train_images=100, validation_images=100, test_images=100, recipe=recipe)
    loop.SECONDS_BETWEEN_CHECKPOINTS = 0.05


def work(build: Path, studies: tuple[str, ...]) -> None:
    tiny()
    os.environ["SASA_BUILD"] = str(build)
    with (build / f"log-{os.getpid()}").open("w") as log:
        os._exit(train_missing("smoke", studies=studies, say=lambda line: print(line, file=log, flush=True)))


def start(build: Path, studies: tuple[str, ...] = STUDIES):
    process = CONTEXT.Process(target=work, args=(build, studies))
    process.start()
    return process


def lines(build: Path) -> list[str]:
    file = build / "runs" / "records.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def finished(build: Path) -> Counter:
    """How often each run has a record."""
    return Counter(
        json.dumps([r["model"], r["seed"], r["config"]], sort_keys=True) for r in map(json.loads, lines(build))
    )


def everything_once(build: Path, studies: tuple[str, ...] = STUDIES) -> None:
    found = finished(build)
    assert len(found) == len(planned_runs("smoke", studies)) == {STUDIES: 15, ONE_STUDY: 6}[studies]
    assert set(found.values()) == {1}


def said(build: Path) -> str:
    return "".join(log.read_text() for log in build.glob("log-*"))


def has_begun(build: Path, process) -> None:
    """Waits until a process is at a run, or at its end."""
    log, patience = build / f"log-{process.pid}", time.monotonic() + 60
    while process.is_alive() and time.monotonic() < patience and not (log.exists() and "parameters" in log.read_text()):
        time.sleep(0.02)


@pytest.mark.parametrize("seed", [0])
def test_killed_at_twenty_moments_the_grid_loses_no_record_and_repeats_none(tmp_path, seed):
    chance = random.Random(seed)
    kept: list[str] = []
    for _ in range(20):
        process = start(tmp_path)
        has_begun(tmp_path, process)
        process.join(chance.uniform(0, 1.2))
        process.kill()
        process.join()
        now = lines(tmp_path)
        assert now[: len(kept)] == kept, "a finished record is gone"
        kept = now
    last = start(tmp_path)
    last.join(300)
    assert last.exitcode == 0
    assert lines(tmp_path)[: len(kept)] == kept
    everything_once(tmp_path)
    assert "going on after step" in said(tmp_path), "some kills must have hit a run, and the next process continued it"


def test_two_processes_share_the_grid(tmp_path):
    pair = [start(tmp_path, ONE_STUDY) for _ in range(2)]
    for process in pair:
        process.join(300)
    assert [process.exitcode for process in pair] == [0, 0]
    everything_once(tmp_path, ONE_STUDY)
    assert said(tmp_path).count("finished: validation") == 6, "no run may be trained twice"


def test_what_has_been_recorded_since_the_list_was_made_is_not_trained_again(tmp_path, monkeypatch):
    """Another process may have finished a run between the look at the records and the turn of the run."""
    monkeypatch.setitem(PROFILES, "smoke", PROFILES["smoke"])
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 60.0)
    monkeypatch.setenv("SASA_BUILD", str(tmp_path))
    tiny()
    first = planned_runs("smoke", STUDIES)[0]
    monkeypatch.setattr(runner, "missing_runs", lambda *_: [first, first])
    said: list[str] = []
    assert train_missing("smoke", say=said.append) == 0
    assert sum(finished(tmp_path).values()) == 1
    assert said[-1].endswith("has a record in " + str(tmp_path / "runs" / "records.jsonl"))


def test_a_run_that_would_not_end_in_time_waits_for_shorter_ones(monkeypatch):
    plans = planned_runs("smoke", STUDIES)[:3]
    taken: list[str] = []
    monkeypatch.setattr(runner, "missing_runs", lambda *_: plans)
    monkeypatch.setattr(runner, "train", lambda plan, **_: taken.append(str(plan)))
    seconds = {str(plan): value for plan, value in zip(plans, (100.0, 30.0, None), strict=True)}
    monkeypatch.setattr(runner, "expected_seconds", lambda plan, *_: seconds[str(plan)])
    said: list[str] = []
    assert train_missing("smoke", minutes=1, say=said.append) == 0
    # What takes an unknown time is tried, and what is too long begun at last: a run saves itself in time.
    assert taken == [str(plans[1]), str(plans[2]), str(plans[0])]
    assert train_missing("smoke", minutes=1e-9, say=said.append) == 0
    assert len(taken) == 3 and said[-1] == "time is up; planned runs without a record: 3"


def test_an_unfinished_run_is_continued_however_long_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("SASA_BUILD", str(tmp_path))
    plans = planned_runs("smoke", STUDIES)[:2]
    plans[1].folder.mkdir(parents=True)
    plans[1].checkpoint.touch()
    taken: list[str] = []
    monkeypatch.setattr(runner, "missing_runs", lambda *_: plans)
    monkeypatch.setattr(runner, "expected_seconds", lambda *_: 1e6)
    monkeypatch.setattr(runner, "train", lambda plan, **_: taken.append(str(plan)))
    assert train_missing("smoke", minutes=1, say=lambda line: None) == 0
    assert taken == [str(plans[1]), str(plans[0])]


def test_several_gpus_are_several_commands(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"start it once for each GPU, with --device cuda:N"):
        train_missing("smoke")
