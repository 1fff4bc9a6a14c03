"""The self-test finds what is wrong, says it, and goes on."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sasa_tutorial.kernels import streaming
from sasa_tutorial.selftest import faults
from sasa_tutorial.selftest.cases import FACTORS, Case, covering_cases
from sasa_tutorial.selftest.checking import check_case, compared
from sasa_tutorial.selftest.driver import STAGES, Stage, run_selftest
from sasa_tutorial.selftest.kernels import Tally
from sasa_tutorial.selftest.report import Report, read_report
from sasa_tutorial.selftest.summary import MOST_LINES, summary
from sasa_tutorial.selftest.timed import NO_TIME, timed
from sasa_tutorial.selftest.trials import Trial
from sasa_tutorial.selftest.ways import Way
from sasa_tutorial.selftest.worker import judged

CPU = torch.device("cpu")
USUAL = Case(**{name: values[0] for name, values in FACTORS.items()} | {"size": (5, 7), "k": 3, "d": 4})


@pytest.fixture
def short(monkeypatch):
    """Children with one thread, and found wherever the tests are started."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))


def test_a_short_run_on_a_cpu_is_well(tmp_path, short):
    said = []
    stages = {"machine": STAGES["machine"], "kernels": replace(STAGES["kernels"], least=7, most=7)}
    code = run_selftest(minutes=0.1, out=tmp_path, seed=3, stages=stages, say=said.append)
    text = (tmp_path / "summary.txt").read_text()
    assert code == 0, text
    assert said[-1].strip() == text.strip()
    lines = text.splitlines()
    assert lines[0].startswith("well   machine") and lines[1].startswith("well   kernels") and " 0 failed" in lines[1]
    assert lines[-1].startswith("seed 3. Nothing to commit")
    trials = [r for r in read_report("kernels", tmp_path)["results"] if r["kind"] == "trial"]
    assert trials[0]["verdict"] == "well" and "seed 3" in trials[0]["name"]
    assert "backend streaming: runs" in (tmp_path / "machine.txt").read_text()


def test_stages_that_fail_crash_or_hang_stop_no_other(tmp_path, short, monkeypatch):
    monkeypatch.setenv("SASA_SELFTEST_FAULT", "one:raise,two:hang,three:crash")
    stage = Stage(module="tests.fake_stage", share=0.0, least=2)
    stages = dict.fromkeys(("one", "two", "three", "four"), stage)
    code = run_selftest(minutes=0.1, out=tmp_path, stages=stages, grace=0.5, say=lambda line: None)
    lines = (tmp_path / "summary.txt").read_text().splitlines()
    assert code == 1
    found = {line.split()[1].rstrip(","): line for line in lines if line.startswith(("FAILED", "well"))}
    assert "left at an error" in found["one"] and any("a fault that was asked for" in line for line in lines)
    assert "overran its time" in found["two"]
    assert "signal SIGKILL" in found["three"]
    assert found["four"].startswith("well") and list(found)[-1] == "four"  # failures first


def test_a_kernel_that_is_wrong_at_the_border_is_found(monkeypatch):
    right = check_case(Way("streaming"), USUAL, CPU, 0)
    assert not right.problem
    outside = streaming._outside

    def lets_the_last_column_out(side, reach, like):
        plane = outside(side, reach, like)
        return plane if side != 7 else plane.index_fill(1, torch.tensor([6]), 0.0)

    monkeypatch.setattr(streaming, "_outside", lets_the_last_column_out)
    assert "out is off by" in check_case(Way("streaming"), USUAL, CPU, 0).problem
    assert not check_case(Way("streaming"), replace(USUAL, size=(5, 6)), CPU, 0).problem


def test_nan_other_shapes_and_other_bits_never_pass():
    one = {"out": torch.ones(3)}
    right = {"out": torch.ones(3, dtype=torch.float64)}
    assert not compared(one, one, right, 1e-5).problem
    assert "off by nan" in compared({"out": torch.tensor([1, torch.nan, 1])}, one, right, 1e-5).problem
    assert "another shape" in compared({"out": torch.ones(1)}, one, right, 1e-5).problem
    assert "other bits" in compared(one, {"out": torch.ones(3) + 1e-7}, right, 1e-5).problem
    assert "expected out, q" in compared(one, one, {**right, "q": right["out"]}, 1e-5).problem


def test_a_trial_that_raises_is_one_line():
    def of(error):
        def check():
            raise error

        return judged(Trial("t", check))

    assert of(RuntimeError("first\nsecond")) == ("failed", "RuntimeError: first", False)
    assert of(RuntimeError("CUDA error: an illegal memory access"))[2]
    assert of(NotImplementedError("too little memory")) == ("skipped", "too little memory", False)


def test_no_trial_at_all_is_a_failure(tmp_path):
    report = Report("kernels", tmp_path)
    Tally(report).headline()
    report.end("nothing")
    assert read_report("kernels", tmp_path)["verdict"] == "failed"


@pytest.mark.parametrize("seed", [0, 1])
def test_every_two_values_of_two_factors_meet(seed):
    cases = covering_cases(seed)
    assert len(cases) < 90 and cases == covering_cases(seed) and cases != covering_cases(seed + 2)
    for one, values in FACTORS.items():
        for other in set(FACTORS) - {one}:
            met = {(getattr(case, one), getattr(case, other)) for case in cases}
            wanted = {(a, b) for a in values for b in FACTORS[other]} - {("none", False), (False, "none")}
            assert wanted <= met
    assert all(case.content or case.tables != "none" for case in cases)


def test_what_fails_to_be_timed_leaves_the_others_alone():
    def wrong():
        raise RuntimeError("no")

    times, problems = timed({"a": lambda: None, "wrong": wrong}, "cpu", 1.0)
    assert times["a"] < 1 and problems == {"wrong": "RuntimeError: no"}
    assert timed({"a": lambda: None}, "cpu", -1.0)[1] == {"a": NO_TIME}


def test_a_summary_has_forty_lines_and_names_the_records_to_commit(tmp_path):
    failed = {"verdict": "failed", "seconds": 1, "headline": "x", "failures": ["y"] * 90, "notes": ["n"] * 90}
    records = [{"kind": "record", "committed": 1}, {"kind": "record", "committed": 0}]
    text = summary({f"s{i}": {**failed, "results": records} for i in range(9)}, tmp_path, 5)
    assert len(text.splitlines()) == MOST_LINES
    assert "cifar100.jsonl (9 new records)" in text.splitlines()[-1]


def test_a_compiler_can_be_broken_on_demand(monkeypatch):
    for name in ("CC", "XDG_CACHE_HOME", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "as it was")
    monkeypatch.setenv("SASA_SELFTEST_FAULT", "kernels:compiler")
    faults.provoke("speed")
    assert os.environ["CC"] == "as it was"
    faults.provoke("kernels")
    assert os.environ["CC"] == "false"


def test_wrong_arguments_are_one_error(tmp_path):
    for arguments, message in (
        ({"only": ("gird",)}, "stage must be machine"),
        ({"only": ("grid",)}, "--data"),
        ({"data": tmp_path / "nowhere"}, "is no folder"),
        ({"out": Path(__file__)}, "--out must be a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            run_selftest(**{"out": tmp_path / "out", **arguments})


def test_a_report_is_on_the_disk_after_every_line(tmp_path):
    report = Report("machine", tmp_path)
    report.line("first")
    report.result(kind="fact", value=1)
    assert (tmp_path / "machine.txt").read_text() == "first\n"
    found = json.loads((tmp_path / "machine.json").read_text())
    assert found["results"] == [{"kind": "fact", "value": 1}] and found["verdict"] is None
