"""The benchmark measures what it says; how fast anything is, no test asks."""

import json

import torch

from sasa_tutorial import kernels
from sasa_tutorial.bench import Setting, measure_layers, subjects, table
from sasa_tutorial.bench.memory import peak_growth

SMALL = Setting(batch=2, channels=16, size=8, kernel_size=3, heads=4)


def test_all_subjects_do_the_same_job_and_the_attentions_agree():
    x, found = SMALL.input(), {}
    for name, subject in subjects().items():
        with subject.ready(SMALL) as layer:
            found[name] = layer(x)
    assert {y.shape for y in found.values()} == {x.shape}
    attentions = [y for name, y in found.items() if name.startswith("attention")]
    assert len(attentions) == len(kernels.available_backends("cpu"))
    assert all(torch.allclose(y, attentions[0], atol=1e-5) for y in attentions)


def test_the_table_has_a_row_for_each_subject():
    rounds = []
    results = measure_layers(SMALL, rounds=2, done=lambda: rounds.append(1))
    assert [result.name for result in results] == list(subjects())
    assert len(rounds) == 3 + len(results)
    assert len(table(results).splitlines()) == 1 + len(results)
    assert all(r.both.low <= r.both.median <= r.both.high for r in results)


def test_the_windows_of_the_unfold_form_are_seen_by_the_measure_of_memory():
    setting = Setting(batch=8, channels=32, size=32, kernel_size=7, heads=4)
    unfold = peak_growth("attention, unfold", setting)
    windows = 4 * 8 * 32 * 32**2 * 49  # bytes of the gathered keys; there are the values, too
    assert unfold is None or unfold > 1.5 * windows
    streaming = peak_growth("attention, streaming", setting)
    assert streaming is None or streaming < unfold / 4


def test_the_command_prints_json_for_machines(command):
    options = ("--rounds", "1", "--batch", "1", "--channels", "8", "--size", "4", "--kernel-size", "3", "--heads", "2")
    result = command("bench", *options, "--device", "cpu", "--json")
    assert result.returncode == 0, result.stderr
    assert {entry["name"] for entry in json.loads(result.stdout)["results"]} == set(subjects())
