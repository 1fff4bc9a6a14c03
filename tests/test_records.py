"""Records: whole, once, and rendered as what they are."""

import json
import multiprocessing
from dataclasses import asdict

import pytest

from sasa_tutorial.experiments.result_tables import aligned, lesson_tables, with_current_tables
from sasa_tutorial.experiments.results import lesson_rows
from sasa_tutorial.training.plan import plan_run
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import Record, RecordError, append_record, committed_records, read_records
from tests.conftest import ROOT


def record(**changes) -> Record:
    plan = plan_run("convolution", "full", 0)
    return Record(
        **{
            "model": "convolution",
            "mechanism": "convolution",
            "dataset": "cifar100",
            "profile": "full",
            "config": plan.config,
            "seed": 0,
            "params": 11_000_000,
            "flops_per_image": 1_200_000_000,
            "epochs": 40,
            "val_top1": 75.0,
            "test_top1": 74.5,
            "test_top5": 93.0,
            "train_seconds": 55.0,
            "images_per_second": 30_000.0,
            "peak_memory_bytes": 10**9,
            "device": "a GPU",
            "torch": "2.11.0",
            "version": "0.1.0",
            "commit": "abc",
            "date": "2026-01-01T00:00:00+00:00",
            "status": "finished",
            **changes,
        }
    )


def append_many(path, process, together):
    together.wait()
    for seed in range(20):
        append_record(path, record(seed=seed))  # all processes bring this one
        append_record(path, record(seed=100 * process + seed))


def test_processes_that_append_at_once_lose_nothing_and_repeat_nothing(tmp_path):
    path = tmp_path / "records.jsonl"
    # Forked where that exists: a spawned process would import torch, for seconds, to append lines.
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    together = context.Barrier(3)
    writers = [context.Process(target=append_many, args=(path, number, together)) for number in (1, 2, 3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    seeds = sorted(record.seed for record in read_records(path))
    assert seeds == [100 * process + seed for process in range(4) for seed in range(20)]


def test_a_run_is_recorded_once(tmp_path):
    path = tmp_path / "records.jsonl"
    assert append_record(path, record())
    assert not append_record(path, record(test_top1=1.0))
    assert append_record(path, record(date="2026-01-02T00:00:00+00:00"))
    other = {**record().config, "kernel_size": 5}
    assert append_record(path, record(config=other, test_top1=70.0)), "begun in the same second by another process"
    assert [r.test_top1 for r in read_records(path)] == [74.5, 74.5, 70.0]


def test_a_line_cut_short_hides_no_other(tmp_path):
    path = tmp_path / "records.jsonl"
    append_record(path, record())
    path.write_bytes(path.read_bytes() + b'{"model": "conv')
    append_record(path, record(seed=1))
    lines = path.read_text().splitlines()
    assert len(lines) == 3 and json.loads(lines[2])["seed"] == 1
    with pytest.raises(RecordError, match=r"line 2 is not JSON .* Remove or mend the line"):
        read_records(path)


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    path = tmp_path / "records.jsonl"
    append_record(path, record())
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sasa_tutorial.training.records.os.fsync", full)
    with pytest.raises(RecordError, match=r"could not be written \(.*No space left.*\)\. Make room, then --resume"):
        append_record(path, record(seed=1))
    assert path.read_bytes() == before


def test_a_line_that_is_no_record_is_named(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({**asdict(record()), "accuracy": 1}) + "\n")
    with pytest.raises(RecordError, match=r"line 1 is not a record: fields missing or unknown: \['accuracy'\]"):
        read_records(path)
    assert read_records(tmp_path / "none.jsonl") == []


def test_the_table_shows_means_of_what_has_run_and_nothing_else():
    values = [74.0, 75.5, 73.2]
    text = lesson_tables(lesson_rows(record(seed=seed, test_top1=v) for seed, v in enumerate(values)))
    setting, _, header, rule, *rows = text.splitlines()
    assert setting == "**full**: 45,000 training images, 40 epochs; 5,000 validation and 10,000 test images."
    assert header.endswith("| n | Minutes, a GPU |")
    assert rows == ["| convolution | 11.00 M | 1,200 | 75.0 ± 0.0 | 74.2 ± 1.2 | 3 | 0.9 |"]
    assert header.count("|") == rule.count("|") == 8
    assert "not run" not in text and lesson_tables([]).startswith("Nothing has run yet")


def test_each_profile_says_how_many_images_stand_behind_its_numbers():
    laptop = plan_run("convolution", "laptop", 0)
    records = [record(), record(profile="laptop", config=laptop.config, device="two threads", train_seconds=1300.0)]
    text = lesson_tables(lesson_rows(records), aligned)
    sizes = laptop.profile
    assert f"{sizes.validation_images or 5000:,} validation and {sizes.test_images or 10000:,} test images" in text
    assert text.index("full: 45,000") < text.index("laptop: ") and "Minutes, two threads" in text
    assert text.splitlines()[-1].split()[-2:] == ["1", "22"], "one seed, 22 minutes"


def test_a_diverged_run_is_shown_and_not_averaged():
    lost = record(seed=1, status="diverged", val_top1=None, test_top1=None, test_top5=None)
    assert "| 75.0 | 74.5 | 1 (1 diverged) |" in lesson_tables(lesson_rows([record(), lost]))
    assert "| – | – | 0 (1 diverged) |" in lesson_tables(lesson_rows([lost]))
    assert "1 (1 diverged)" in lesson_tables(lesson_rows([record(), lost]), aligned)


def test_only_planned_runs_on_real_images_become_evidence():
    assert plan_run("convolution", "full").records == committed_records()
    assert plan_run("convolution", "laptop").records == committed_records()
    for plan in (
        plan_run("convolution", "smoke"),
        plan_run("convolution", "full", epochs=40),
        plan_run("convolution", "laptop", steps=3),
    ):
        assert plan.records != committed_records()


def test_tables_are_written_between_their_marks():
    document = "before\n<!-- results: begin -->\nold\n<!-- results: end -->\nafter\n"
    current = with_current_tables(document, [record()])
    assert current.startswith("before\n<!-- results: begin -->\n**full**: ") and "old" not in current
    assert current.endswith("|\n<!-- results: end -->\nafter\n")
    tried = with_current_tables("<!-- tried: begin -->old<!-- tried: end -->", [])
    assert tried.startswith("<!-- tried: begin -->\n| Variant |") and "old" not in tried
    with pytest.raises(ValueError, match="no place for a table"):
        with_current_tables("nothing here", [])
    with pytest.raises(ValueError, match="no <!-- results: end --> after it"):
        with_current_tables("<!-- results: begin -->", [])


def test_committed_records_are_readable_and_real():
    for entry in read_records(committed_records()):
        assert entry.dataset == "cifar100" and PROFILES[entry.profile].dataset == "cifar100"
        assert entry.status in ("finished", "diverged") and "steps" not in entry.config


@pytest.mark.parametrize("name", ["README.md", "data/README.md"])
def test_the_tables_of_the_documents_are_current(name):
    document = (ROOT / name).read_text(encoding="utf-8")
    assert document == with_current_tables(document, read_records(committed_records())), (
        f"run: sasa-tutorial results --update {name}"
    )
