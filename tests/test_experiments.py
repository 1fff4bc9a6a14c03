"""The grid is what it says, and what the records say about it is computed right."""

import inspect
import math
import statistics
from dataclasses import replace

import pytest
import torch

from sasa_tutorial.experiments import STUDIES, lesson_rows, missing_runs, planned_runs, row_of, runner, studies
from sasa_tutorial.experiments.comparison import (
    best_profile,
    compare,
    comparison_table,
    conclusion,
    distinct_comparisons,
    paired_difference,
)
from sasa_tutorial.experiments.grid import EXTENT, LARGE, LESSONS, POSITIONS, RECIPE, WIDTH
from sasa_tutorial.experiments.runner import SLACK, expected_seconds
from sasa_tutorial.experiments.study import Entry, Study
from sasa_tutorial.models import cifar_models
from sasa_tutorial.training.checkpoints import CheckpointError
from sasa_tutorial.training.plan import plan_run
from sasa_tutorial.training.profiles import PROFILES
from tests.test_records import record


def recorded(entry: Entry, values: dict[int, float], profile: str = "full", **changes):
    """Records of one network, test accuracy by seed."""
    for seed, value in values.items():
        plan = entry.plan(PROFILES[profile], seed)
        yield record(model=plan.model, profile=profile, seed=seed, config=plan.config, test_top1=value, **changes)


# The grid


@pytest.mark.parametrize("profile", PROFILES)
def test_every_run_is_planned_once(profile):
    plans = planned_runs(profile)
    identities = [plan.identity for plan in plans]
    assert len(set(identities)) == len(identities)
    assert len({plan.folder for plan in plans}) == len(plans)
    assert len({str(plan) for plan in plans}) == len(plans), "messages must tell runs apart"


def test_the_most_valuable_runs_come_first():
    plans = planned_runs()
    assert [plan.model for plan in plans[:7]] == list(cifar_models())
    recipe = [plan for plan in plans if plan.config["peak_lr"] != 0.4 and plan.config["epochs"] == 40]
    assert plans[7:11] == recipe and {plan.model for plan in recipe} == {"convolution", "relative_offsets"}
    lessons = [plan.seed for plan in plans[11:39]]
    assert lessons == [seed for seed in (1, 2, 3, 4) for _ in range(7)]
    assert all(plan.options or plan.profile.width != 1 for plan in plans[39:-3])
    assert [plan.model for plan in plans[-3:]] == ["wide_resnet", "wide_resnet", "relative_offsets"]


def test_the_ablations_of_the_papers_are_all_there():
    def varied(study: str, name: str) -> list:
        return [entry.options.get(name) for entry in studies((study,))[0].entries]

    assert varied("extent", "kernel_size") == [3, 5, None, 9, 11]
    assert {tuple(groups or ()) for groups in varied("groups", "attention_groups")} == {
        (), (2, 3, 4), (3, 4), (4,), (1,), (1, 2), (1, 2, 3),
    }  # fmt: skip
    assert len(studies(("groups",))[0].entries) == 8
    assert varied("share", "kappa") == varied("share", "upsilon") == [None, None, 0.5, 0.75, 1.0]
    assert varied("codes", "positions") == ["none", "sine", "coordinates", None]
    assert varied("slots", "slots") == [8, 16, 32, None, 128, 256]
    assert len(POSITIONS.entries) == 3 and len(studies(("stem",))[0].entries) == 4


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_study_is_whole(study: Study):
    labels = [entry.label for entry in study.entries]
    assert len(set(labels)) == len(labels) and study.reference in labels
    assert study.question.endswith("?") and study.trend.endswith(".")
    assert bool(study.source) == any(entry.published for entry in study.entries)
    for entry in study.entries:
        if entry.model in cifar_models():
            defaults = inspect.signature(cifar_models()[entry.model]).parameters
            for name, value in entry.options.items():
                assert value != defaults[name].default, f"{entry.label}: {name} is the default: another run of the same"


@pytest.mark.parametrize("study", [s for s in STUDIES if s is not LARGE], ids=lambda study: study.name)
def test_every_network_of_the_grid_can_be_built_and_is_another(study: Study):
    found = set()
    for entry in study.entries:
        plan = entry.plan(PROFILES["laptop"], 0)
        torch.manual_seed(0)
        network = plan.network().eval()
        with torch.no_grad():
            logits = network(torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32).sin())
        found.add((plan.config["peak_lr"], *logits.flatten().tolist()))
    assert len(found) == len(study.entries), "two networks compute the same"


def test_unknown_studies_are_named():
    with pytest.raises(ValueError, match="no study is called 'extend'; there are: lessons, recipe, extent"):
        planned_runs("full", ("extend",))
    assert all(plan.model != "wide_resnet" for plan in planned_runs("laptop"))


# What the records say


def test_what_has_a_record_is_not_missing():
    done = list(recorded(EXTENT["3 x 3"], {0: 70.0, 2: 71.0}))
    lacking = missing_runs(done, "full", ("extent",))
    assert [plan.seed for plan in lacking if plan.options.get("kernel_size") == 3] == [1]
    assert len(missing_runs(done, "laptop", ("extent",))) == len(planned_runs("laptop", ("extent",)))
    other = [replace(r, config={**r.config, "epochs": 41}) for r in done]
    assert len(missing_runs(other, "full", ("extent",))) == 15


def test_a_row_is_the_mean_of_its_own_finished_runs():
    values = {0: 74.0, 1: 75.5, 2: 73.2}
    records = [
        *recorded(LESSONS["convolution"], values),
        *recorded(LESSONS["convolution"], {3: None}, status="diverged", val_top1=None, test_top5=None),
        *recorded(LESSONS["local attention"], {0: 10.0}),
        *recorded(LESSONS["convolution"], {0: 20.0}, "laptop"),
    ]
    row = row_of(LESSONS["convolution"], "full", records)
    assert (row.n, row.diverged) == (3, 1)
    assert row.mean("test_top1") == pytest.approx(74.2333, abs=1e-4)
    assert row.deviation("test_top1") == pytest.approx(statistics.stdev(values.values()))


def test_lessons_that_have_not_run_are_rows_too():
    rows = lesson_rows(recorded(LESSONS["convolution"], {0: 20.0}, "laptop"))
    assert [row.profile for row in rows] == ["full"] * 7 + ["laptop"] * 7
    assert [row.n for row in rows] == [0] * 7 + [1] + [0] * 6
    assert [row.entry.model for row in lesson_rows([], ("convolution",))] == ["convolution"]


# Differences, seed by seed


def rows_with(first: dict[int, float], second: dict[int, float]):
    one, other = EXTENT["3 x 3"], EXTENT["7 x 7"]
    return row_of(one, "full", recorded(one, first)), row_of(other, "full", recorded(other, second))


def test_the_paired_test_is_the_one_computed_by_hand():
    """Differences 1, 2, 4: mean 7/3, sample deviation √(7/3), t = mean / (deviation / √3) = √7.

    With 2 degrees of freedom P(|T| > t) = 1 - t / √(t² + 2), and the quantile of 97.5 % is 4.30265.
    """
    found = paired_difference(*rows_with({0: 71.0, 1: 74.0, 2: 74.0}, {2: 70.0, 1: 72.0, 0: 70.0}))
    t, half = math.sqrt(7), 4.30265 * math.sqrt(7) / 3
    assert found.n == 3 and found.mean == pytest.approx(7 / 3)
    assert found.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    assert (found.low, found.high) == pytest.approx((7 / 3 - half, 7 / 3 + half), abs=1e-4)
    assert not found.decided


def test_only_common_seeds_are_pairs():
    found = paired_difference(*rows_with({0: 71.0, 1: 74.0, 5: 0.0}, {1: 70.0, 0: 70.0, 6: 99.0}))
    assert found.n == 2 and found.mean == pytest.approx(2.5)


@pytest.mark.parametrize("seeds", [0, 1])
def test_less_than_two_seeds_decide_nothing(seeds):
    found = paired_difference(*rows_with({0: 90.0}, {0: 10.0} if seeds else {1: 10.0}))
    assert found.n == seeds and found.p is None and found.low is None and not found.decided


@pytest.mark.parametrize("values", [((71.0, 72.0), (70.0, 71.0)), ((16.90, 17.35), (16.10, 16.55))], ids=str)
def test_differences_without_spread_decide_nothing(values):
    found = paired_difference(*rows_with(*(dict(enumerate(accuracies)) for accuracies in values)))
    assert found.mean == pytest.approx(values[0][0] - values[1][0]) and found.p is None and not found.decided


VERDICTS = {
    "confirmed": {0: 60.0, 1: 60.1, 2: 60.2},  # published: 3 x 3 is one point below 7 x 7
    "opposite": {0: 80.0, 1: 80.1, 2: 80.2},
    "not decided by 3 seeds": {0: 60.0, 1: 80.0, 2: 71.0},
    "not decided by 1 seed": {0: 10.0},
    "not run yet": {},
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_says_what_the_seeds_decide(verdict):
    reference = recorded(EXTENT["7 x 7"], {0: 70.0, 1: 70.3, 2: 70.1})
    records = [*recorded(EXTENT["3 x 3"], VERDICTS[verdict]), *reference]
    found = compare(EXTENT, records, "full")
    assert found[0].verdict == verdict and found[2].verdict == "reference" and found[1].verdict == "not run yet"
    text = conclusion(EXTENT, found, "full")
    assert text.startswith("Published (SASA, Table 4, test): Accuracy grows with the window")
    assert ("profile full, on a GPU, with" in text) == (verdict != "not run yet")
    assert (f", {verdict}." in text) == (verdict in ("confirmed", "opposite"))
    table = comparison_table(EXTENT, found).splitlines()
    assert len(table) == 7 and f"| {verdict} |" in table[2] and "| 76.4 |" in table[2]


def test_without_a_published_number_a_difference_is_higher_or_lower():
    values = {0: 70.0, 1: 70.3, 2: 70.1}
    records = [
        *recorded(LESSONS["convolution"], values),
        *recorded(LESSONS["local attention"], {seed: value - 2 - seed / 10 for seed, value in values.items()}),
    ]
    found = {c.row.entry.label: c.verdict for c in compare(LESSONS, records, "full")}
    assert found["local attention"] == "lower" and found["convolution"] == "reference"


def test_a_run_that_cannot_be_compared_says_why():
    lost = {"status": "diverged", "val_top1": None, "test_top5": None}
    records = [
        *recorded(EXTENT["7 x 7"], {0: 70.0, 1: 71.0}),
        *recorded(EXTENT["3 x 3"], {0: None}, **lost),
        *recorded(EXTENT["5 x 5"], {2: 69.0}),
        *recorded(EXTENT["9 x 9"], {1: 71.5}),
    ]
    found = compare(EXTENT, records, "full")
    assert [c.verdict for c in found] == [
        "diverged",
        "no seed in common",
        "reference",
        "not decided by 1 seed",
        "not run yet",
    ]
    text = conclusion(EXTENT, found, "full")
    assert text.endswith("Diverged: 3 x 3. Not run yet: 11 x 11. No seed in common: 5 x 5.")
    text = conclusion(EXTENT, compare(EXTENT, records[2:4], "full"), "full")
    assert "there is no pair of runs to compare yet. Diverged: 3 x 3. Not run yet: 9 x 9, 11 x 11." in text


def test_what_is_decided_is_told_in_one_sentence():
    records = [
        *recorded(EXTENT["7 x 7"], {0: 70.0, 1: 70.3, 2: 70.1}),
        *recorded(EXTENT["3 x 3"], {0: 60.0, 1: 60.301, 2: 60.1}),
        *recorded(EXTENT["9 x 9"], {0: 71.0, 1: 71.4, 2: 71.2}),
        *recorded(EXTENT["11 x 11"], {0: 71.0, 1: 70.0, 2: 70.2}),
    ]
    found = compare(EXTENT, records, "full")
    assert conclusion(EXTENT, found, "full").endswith(
        "with 3 seeds: 3 x 3 is 10.00 points below 7 x 7 (p < 0.001), confirmed; "
        "9 x 9 is 1.07 points above 7 x 7 (p < 0.001), confirmed. Not decided: 11 x 11. Not run yet: 5 x 5."
    )
    assert "| < 0.001 |" in comparison_table(EXTENT, found).splitlines()[2]


def test_choices_are_compared_on_validation():
    records = [
        r
        for entry, value in zip(RECIPE.entries, range(60, 66), strict=True)
        for r in recorded(entry, {0: 1.0}, val_top1=float(value))
    ]
    found = compare(RECIPE, records, "full")
    assert found[2].difference.mean == 1.0, "of validation, not of test"
    table = comparison_table(RECIPE, found)
    assert "Validation top-1, %" in table and "Test" not in table and "| 62.0 |" in table
    assert "Published" not in table, "nothing was"


def test_the_largest_profile_that_is_complete_is_shown():
    laptop = [r for entry in POSITIONS.entries for r in recorded(entry, {0: 10.0}, "laptop")]
    one = list(recorded(POSITIONS["none"], {0: 10.0}, "full"))
    assert best_profile(POSITIONS, [*laptop, *one]) == "laptop"
    assert best_profile(POSITIONS, one) == best_profile(POSITIONS, []) == "full"


# Time


def test_a_run_is_expected_to_take_what_its_like_took_here():
    plan = plan_run("local_attention", "full", 4)
    same = list(recorded(LESSONS["local attention"], {0: 1.0, 1: 1.0, 2: 1.0}, device="here"))
    times = [replace(r, train_seconds=seconds) for r, seconds in zip(same, (100.0, 140.0, 120.0), strict=True)]
    other = [*recorded(LESSONS["convolution"], {0: 1.0}, device="here", train_seconds=50.0)]
    assert expected_seconds(plan, [*times, *other], "here") == pytest.approx(SLACK * 120)
    assert expected_seconds(plan, other, "here") == pytest.approx(SLACK * 50)
    assert expected_seconds(plan, [*times, *other], "elsewhere") is None


def test_each_width_is_compared_with_its_own_convolution_and_each_rate_with_its_own_network():
    for study in (WIDTH, RECIPE):
        found = compare(study, [], "full")
        ours = [(c.row.entry, c.reference.entry) for c in found if c.difference is not None]
        references = [c.row.entry.label for c in found if c.difference is None]
        assert references == [entry.label for entry in study.entries if study.reference_of(entry) is entry]
        assert ours and all(entry.width == other.width for entry, other in ours)
        assert study is WIDTH or all(entry.model == other.model for entry, other in ours)
        assert "| Minus reference, points (95 %) |" in comparison_table(study, found)


def test_two_studies_that_ask_about_the_same_networks_are_one_comparison():
    found = distinct_comparisons([])
    asked = sum(c.difference is not None for study in STUDIES if study.seeds > 1 for c in compare(study, [], "full"))
    pairs = [(c.row.entry.label, c.reference.entry.label) for c in found.values()]
    assert len(found) < asked and pairs.count(("relative offsets", "convolution")) == 1
    assert ("attention in 1, 2, 3, 4", "attention nowhere") not in pairs, "the lessons ask it already"


def test_a_small_published_difference_is_none():
    groups, values = studies(("groups",))[0], {0: 70.0, 1: 70.3, 2: 70.1}
    early = {seed: value + 2 + seed / 10 for seed, value in values.items()}
    records = [*recorded(groups["attention nowhere"], values), *recorded(groups["attention in 1"], early)]
    found = {c.row.entry.label: c for c in compare(groups, records, "full")}
    assert found["attention in 1"].verdict == "higher", "0.2 points of 50,000 images were published: nothing to confirm"


def test_a_conclusion_says_what_the_reference_and_lost_runs_are():
    records = list(recorded(EXTENT["3 x 3"], {0: 70.0, 1: 71.0}))
    lost = recorded(EXTENT["3 x 3"], {2: None}, status="diverged", val_top1=None, test_top5=None)
    text = conclusion(EXTENT, compare(EXTENT, [*records, *lost], "full"), "full")
    assert "The reference 7 x 7 has not run yet." in text and "1 of 3 runs of 3 x 3 diverged." in text


def test_an_unknown_profile_is_named():
    with pytest.raises(ValueError, match=f"profile must be {', '.join(PROFILES)}, got 'laptp'"):
        planned_runs("laptp")


def test_a_damaged_checkpoint_stops_only_its_own_run(monkeypatch, tmp_path):
    monkeypatch.setenv("SASA_BUILD", str(tmp_path))
    plans, said = planned_runs("smoke", ("logits",))[:2], []

    def train(plan, **_):
        said.append(str(plan))
        if plan == plans[0]:
            raise CheckpointError("FILE is not a readable checkpoint. Delete it.")

    monkeypatch.setattr(runner, "missing_runs", lambda *_: plans)
    monkeypatch.setattr(runner, "train", train)
    assert runner.train_missing("smoke", say=said.append) == 1
    assert f"{plans[0]} was left out: FILE is not a readable checkpoint. Delete it." in said and said[-1] == str(
        plans[1]
    )
