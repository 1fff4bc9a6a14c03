"""The grid is what it says, and what the records say about it is computed right."""

import inspect
import math
import statistics
from dataclasses import replace

import pytest
import torch

from sasa_tutorial.experiments import STUDIES, lesson_rows, missing_runs, planned_runs, row_of, runner, studies_named
from sasa_tutorial.experiments.comparison import (
    LEVEL,
    SeedSpread,
    best_profile,
    compare,
    difference,
    findings,
    holm,
    planned_comparisons,
    seed_spread,
)
from sasa_tutorial.experiments.grid import study_plans
from sasa_tutorial.experiments.result_tables import comparison_table, conclusion, markdown, tried_table
from sasa_tutorial.experiments.runner import SLACK, expected_seconds
from sasa_tutorial.experiments.studies import EXTENT, LARGE, LESSONS, POSITIONS, RECIPE, WIDTH
from sasa_tutorial.experiments.study import Entry, Study
from sasa_tutorial.experiments.tried import TRIED
from sasa_tutorial.models import cifar_models, cifar_resnet
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
    assert [plan.seed for plan in plans[11:25]] == [seed for seed in (1, 2) for _ in range(7)]
    core = plans[25:45]
    asked = {study.name for study in STUDIES for plan in core for p in study_plans(study, "full") if p == plan}
    assert asked >= {"positions", "logits", "stem", "groups", "extent", "normalization", "share", "recalibration"}
    assert [plan.options["positions"] for plan in core[:6]] == ["absolute", "absolute_qk"] * 3
    assert all(plan.seed == 0 for plan in core[6:])
    assert [plan.model for plan in plans[-3:]] == ["wide_resnet", "wide_resnet", "relative_offsets"]


def test_an_evening_asks_the_recipe_in_its_own_study():
    names = {study.name for study in STUDIES if "evening" in study.profiles}
    assert "tried" in names and "recipe" not in names
    assert TRIED.profiles == ("evening",) and len(TRIED.entries) > 8 + len({e.model for e in TRIED.entries})
    for entry in TRIED.entries:  # one change at a time, or a pair that is named
        reference = TRIED.reference_of(entry)
        assert reference.model == entry.model and set(entry.recipe) == set(reference.recipe)
        changed = {name for name, value in entry.recipe.items() if reference.recipe[name] != value} | set(entry.options)
        assert bool(changed) == (entry is not reference)
        assert entry.recipe["epochs"] >= 4, "shorter runs turn the order around"


def test_the_ablations_of_the_papers_are_all_there():
    def varied(study: str, name: str) -> list:
        return [entry.options.get(name) for entry in studies_named((study,))[0].entries]

    assert varied("extent", "kernel_size") == [3, 5, None, 9, 11]
    assert {tuple(groups or ()) for groups in varied("groups", "attention_groups")} == {
        (), (2, 3, 4), (3, 4), (4,), (1,), (1, 2), (1, 2, 3),
    }  # fmt: skip
    assert len(studies_named(("groups",))[0].entries) == 8
    assert varied("share", "kappa") == varied("share", "upsilon") == [None, 0, None, 0.5, 0.75, 1.0]
    assert varied("codes", "positions") == ["none", "sine", "coordinates", None]
    assert varied("slots", "slots") == [8, 16, 32, None, 128, 256]
    assert (
        varied("positions", "positions") == [None, "absolute", "absolute_qk", None]
        and len(studies_named(("stem",))[0].entries) == 4
    )


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_study_is_whole(study: Study):
    labels = [entry.label for entry in study.entries]
    assert len(set(labels)) == len(labels) and study.reference in labels
    assert study.question.endswith("?") and study.trend.endswith(".")
    assert bool(study.source) == any(entry.published for entry in study.entries)
    for entry in study.entries:
        if entry.model in cifar_models():
            builders = (cifar_models()[entry.model], cifar_resnet)
            defaults = {k: v for build in builders for k, v in inspect.signature(build).parameters.items()}
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
        found.add((plan.profile.recipe, *logits.flatten().tolist()))
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


def test_a_row_is_of_one_device_where_it_can_be_and_tells_every_run_that_diverged():
    entry, lost = LESSONS["convolution"], {"status": "diverged", "val_top1": None, "test_top5": None}
    records = [
        *recorded(entry, {0: 71.0, 2: 72.0}, device="GPU"),
        *recorded(entry, {1: None}, device="GPU", **lost),
        *recorded(entry, {0: 60.0, 1: 70.0}, device="CPU"),
    ]
    row = row_of(entry, "full", records)
    assert row.values("test_top1") == [71.0, 70.0, 72.0] and row.diverged == 1
    assert [r.device for r in row.records] == ["GPU", "CPU", "GPU"]
    again = row_of(entry, "full", [*records, *recorded(entry, {1: 73.0}, device="GPU")])
    assert again.values("test_top1") == [71.0, 73.0, 72.0] and again.diverged == 0
    one_each = row_of(entry, "full", [*recorded(entry, {0: 1.0}, device="A"), *recorded(entry, {0: 2.0}, device="B")])
    assert one_each.values("test_top1") == [2.0], "the last one"


def test_only_lessons_that_ran_are_rows_beside_what_they_are_compared_with():
    records = [
        *recorded(LESSONS["convolution"], {0: 20.0}, "laptop"),
        *recorded(LESSONS["global attention"], {0: 20.0}, "laptop"),
        *recorded(LESSONS["attention stem"], {0: 20.0}, "laptop"),
        *recorded(LESSONS["convolution"], {0: 60.0}, "evening"),
    ]
    rows = [(row.profile, row.entry.model) for row in lesson_rows(records)]
    laptop = [("laptop", name) for name in ("convolution", "global_attention", "attention_stem")]
    assert rows == [("evening", "convolution"), *laptop]
    rows = [row.entry.model for row in lesson_rows(records, ("global_attention",)) if row.profile == "laptop"]
    assert rows == ["convolution", "global_attention"]
    assert lesson_rows([]) == []


def test_times_of_two_devices_are_not_averaged():
    records = [
        *recorded(LESSONS["convolution"], {0: 1.0, 1: 1.0}, device="one thread", train_seconds=100.0),
        *recorded(LESSONS["convolution"], {2: 1.0}, device="two threads", train_seconds=10.0),
    ]
    row = row_of(LESSONS["convolution"], "full", records)
    assert (row.device, row.seconds, row.n) == ("one thread", {"one thread": 100.0, "two threads": 10.0}, 3)


# Differences and what may be said of them

SPREAD = SeedSpread(sigma=0.5, freedom=14, networks=7, correlation=None)


def test_a_difference_is_measured_in_the_pooled_spread_of_a_seed():
    """Means 71 and 70 of 3 and 2 seeds, σ = 0.5: t = 1 / (0.5 √(1/3 + 1/2)) = 2.1909; the quantile of 97.5 % for 14
    degrees of freedom is 2.14479."""
    found = difference([70.0, 71.0, 72.0], [69.0, 71.0], SPREAD)
    deviation = 0.5 * math.sqrt(1 / 3 + 1 / 2)
    assert found.mean == pytest.approx(1.0)
    assert (found.low, found.high) == pytest.approx((1 - 2.14479 * deviation, 1 + 2.14479 * deviation), abs=1e-5)
    # P(|T| > t) for 14 degrees of freedom by numerical integration of the density.
    density = torch.linspace(1 / deviation, 200, 2_000_001, dtype=torch.float64)
    values = math.gamma(7.5) / (math.sqrt(14 * math.pi) * math.gamma(7)) * (1 + density**2 / 14) ** -7.5
    assert found.p == pytest.approx(2 * torch.trapezoid(values, density).item(), rel=1e-4)


@pytest.mark.parametrize(("ours", "theirs"), [([90.0], [10.0, 11.0]), ([90.0, 91.0], [10.0]), ([], [1.0, 2.0])])
def test_single_seeds_are_not_compared(ours, theirs):
    assert difference(ours, theirs, SPREAD) is None


def test_without_a_spread_nothing_is_compared():
    nothing = SeedSpread(sigma=None, freedom=0, networks=0, correlation=None)
    assert difference([70.0, 70.0], [71.0, 71.0], nothing) is None
    equal = seed_spread(recorded(LESSONS["convolution"], {0: 70.0, 1: 70.0}), "full")
    assert difference([70.0, 70.0], [71.0, 71.0], equal) is None, "equal runs leave no spread to measure with"


def test_the_spread_is_pooled_over_networks_and_a_rerun_is_no_seed():
    records = [
        *recorded(LESSONS["convolution"], {0: 70.0, 1: 72.0}),  # variance 2, one degree
        *recorded(LESSONS["local attention"], {0: 60.0, 1: 61.0, 2: 62.0}),  # variance 1, two degrees
        *recorded(LESSONS["attention stem"], {0: 50.0}),
        *recorded(LESSONS["attention stem"], {0: 51.0}, date="another"),
        *recorded(LESSONS["convolution"], {0: 20.0, 1: 90.0}, "laptop"),
    ]
    found = seed_spread(records, "full")
    assert found.sigma == pytest.approx(math.sqrt((2 + 2 * 1) / 3)) and (found.freedom, found.networks) == (3, 2)
    assert found.correlation == pytest.approx(1.0), "seed 1 is the luckier one in both"


def test_the_spread_is_over_the_runs_that_a_row_shows():
    """The GPU has more seeds; the CPU's run of seed 1 stands last in the file, and counts nowhere."""
    entry = LESSONS["convolution"]
    records = [
        *recorded(entry, {0: 70.0, 1: 72.0, 2: 74.0}, device="GPU"),
        *recorded(entry, {1: 99.0}, device="CPU"),
    ]
    assert seed_spread(records, "full").sigma == pytest.approx(2.0)
    assert row_of(entry, "full", records).values("test_top1") == [70.0, 72.0, 74.0]


def test_lucky_seeds_are_a_correlation():
    records = [
        *recorded(LESSONS["convolution"], {0: 70.0, 1: 71.0, 2: 72.0}),
        *recorded(LESSONS["local attention"], {0: 62.0, 1: 61.0, 2: 60.0}),
    ]
    assert seed_spread(records, "full").correlation == pytest.approx(-1.0)


def test_holm_goes_down_the_fixed_family_and_stops_at_the_first_that_fails():
    ps = {"a": 0.001, "b": 0.012, "c": 0.0165, "d": 0.2}
    assert holm(ps, 4) == {"a", "b", "c"}, "0.05/4, 0.05/3, 0.05/2: all hold; d fails"
    assert holm(ps, 40) == {"a"}, "0.05/40 = 0.00125 holds for a, 0.05/39 fails for b"
    assert holm({"a": 0.02, "b": 0.001}, 3) == {"b", "a"} and holm({"a": 0.026, "b": 0.001}, 3) == {"b"}
    assert holm({}, 3) == set()


def test_more_records_do_not_move_the_family():
    few = list(recorded(EXTENT["7 x 7"], {0: 70.0, 1: 70.3}))
    assert findings(few, "full").family == findings([], "full").family == len(planned_comparisons("full")) > 30


VERDICTS = {
    "confirmed": {0: 60.0, 1: 60.1, 2: 60.2},  # published: 3 x 3 is one point below 7 x 7
    "opposite": {0: 80.0, 1: 80.1, 2: 80.2},
    "not decided": {0: 70.0, 1: 70.2, 2: 70.0},
    "one seed": {0: 10.0},
}


@pytest.mark.parametrize("profile", ["full", "gpu", "evening"])
@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_says_what_the_seeds_decide(verdict, profile):
    reference = recorded(EXTENT["7 x 7"], {0: 70.0, 1: 70.3, 2: 70.1}, profile)
    records = [*recorded(EXTENT["3 x 3"], VERDICTS[verdict], profile), *reference]
    found = compare(EXTENT, records, profile)
    assert [c.verdict for c in found] == [verdict, "reference"], "what has not run is no row"
    text = conclusion(EXTENT, found, findings(records, profile))
    assert text.startswith("Published (SASA, Table 4, test): Accuracy grows with the window")
    assert text.endswith("Not run under this profile: 5 x 5, 9 x 9, 11 x 11.")
    assert (f", {verdict}." in text) == (verdict in ("confirmed", "opposite"))
    assert ("One seed, so not compared: 3 x 3." in text) == (verdict == "one seed")
    table = markdown(comparison_table(EXTENT, found)).splitlines()
    assert len(table) == 4 and f"| {verdict} |" in table[2] and "| 76.4 |" in table[2]


def test_what_has_not_run_is_named():
    done = [entry for entry in EXTENT.entries if entry is not EXTENT["5 x 5"]]
    records = [run for entry in done for run in recorded(entry, {0: 70.0, 1: 70.3})]
    known = findings(records, "full")
    text = conclusion(EXTENT, compare(EXTENT, records, "full"), known)
    assert text.endswith("Not run under this profile: 5 x 5.")
    records += recorded(EXTENT["5 x 5"], {0: 70.0})
    assert "Not run" not in conclusion(EXTENT, compare(EXTENT, records, "full"), known)


def test_after_three_epochs_nothing_is_confirmed():
    reference = recorded(EXTENT["7 x 7"], {0: 70.0, 1: 70.3, 2: 70.1}, "laptop")
    epochs = PROFILES["laptop"].recipe.epochs
    for verdict, word in (("confirmed", "lower"), ("opposite", "higher")):
        records = [*recorded(EXTENT["3 x 3"], VERDICTS[verdict], "laptop"), *reference]
        assert compare(EXTENT, records, "laptop")[0].verdict == f"{word} after {epochs} epochs"
        reference = records[3:]


def test_a_difference_that_is_small_among_so_many_questions_is_not_decided():
    records = [*recorded(EXTENT["7 x 7"], {0: 70.0, 1: 70.5}), *recorded(EXTENT["3 x 3"], {0: 66.0, 1: 66.5})]
    found = compare(EXTENT, records, "full")[0]
    family = len(planned_comparisons("full"))
    assert LEVEL / family < found.difference.p < LEVEL and not found.decided and found.verdict == "not decided"


def test_without_a_published_number_a_difference_is_higher_or_lower():
    values = {0: 70.0, 1: 70.3, 2: 70.1}
    records = [
        *recorded(LESSONS["convolution"], values),
        *recorded(LESSONS["local attention"], {seed: value - 9 - seed / 10 for seed, value in values.items()}),
    ]
    found = {c.row.entry.label: c.verdict for c in compare(LESSONS, records, "full")}
    assert found == {"convolution": "reference", "local attention": "lower"}


def test_runs_that_diverged_are_said():
    lost = {"status": "diverged", "val_top1": None, "test_top5": None}
    records = [
        *recorded(EXTENT["7 x 7"], {0: 70.0, 1: 71.0}),
        *recorded(EXTENT["3 x 3"], {0: None}, **lost),
        *recorded(EXTENT["9 x 9"], {1: 71.5}),
    ]
    found = compare(EXTENT, records, "full")
    assert [c.verdict for c in found] == ["diverged", "reference", "one seed"]
    text = conclusion(EXTENT, found, findings(records, "full"))
    assert text.endswith("not compared: 9 x 9. Diverged: 3 x 3. Not run under this profile: 5 x 5, 11 x 11.")
    alone = compare(EXTENT, records[3:], "full")
    assert [c.verdict for c in alone] == ["one seed"], "there is no reference to compare with"


def test_what_is_decided_is_told_in_one_sentence():
    records = [
        *recorded(EXTENT["7 x 7"], {0: 70.0, 1: 70.3, 2: 70.1}),
        *recorded(EXTENT["3 x 3"], {0: 60.0, 1: 60.3, 2: 60.1}),
        *recorded(EXTENT["11 x 11"], {0: 70.0, 1: 70.4, 2: 70.2}),
    ]
    found = compare(EXTENT, records, "full")
    assert (
        "Here (full, 40 epochs): 3 x 3 ended 10.00 points below 7 x 7 (p < 0.001), confirmed. Not decided: 11 x 11."
        in conclusion(EXTENT, found, findings(records, "full"))
    )
    assert "| < 0.001 |" in markdown(comparison_table(EXTENT, found)).splitlines()[2]


def test_tried_recipes_are_differences_of_validation():
    reference, variant = TRIED.entries[:2]
    records = [
        *recorded(reference, {0: 1.0}, "evening", val_top1=40.0),
        *recorded(variant, {0: 1.0}, "evening", val_top1=41.5),
    ]
    table = tried_table(TRIED, compare(TRIED, records, "evening"))
    assert table[1] == [reference.label, "40.0", "", "a GPU"]
    assert table[2] == [variant.label, "41.5", "+1.50", "a GPU"]


def test_the_largest_profile_that_compares_most_is_shown():
    laptop = [r for entry in POSITIONS.entries for r in recorded(entry, {0: 10.0}, "laptop")]
    one = list(recorded(POSITIONS["none"], {0: 10.0}, "full"))
    assert best_profile(POSITIONS, [*laptop, *one]) == "laptop"
    assert best_profile(POSITIONS, one) == best_profile(POSITIONS, []) == "full"
    several = list(recorded(POSITIONS["none"], {0: 10.0, 1: 11.0}, "evening"))
    assert best_profile(POSITIONS, [*one, *several]) == "evening", "one seed compares with nothing"


# Time


def test_a_run_is_expected_to_take_what_its_like_took_here():
    plan = plan_run("local_attention", "full", 4)
    same = list(recorded(LESSONS["local attention"], {0: 1.0, 1: 1.0, 2: 1.0}, device="here"))
    times = [replace(r, train_seconds=seconds) for r, seconds in zip(same, (100.0, 140.0, 120.0), strict=True)]
    other = [*recorded(LESSONS["convolution"], {0: 1.0}, device="here", train_seconds=50.0)]
    assert expected_seconds(plan, [*times, *other], "here") == pytest.approx(SLACK * 120)
    assert expected_seconds(plan, other, "here") == pytest.approx(SLACK * 50)
    assert expected_seconds(plan, [*times, *other], "elsewhere") is None
    waited = replace(same[0], train_seconds=None)
    assert expected_seconds(plan, [waited, *other], "here") == pytest.approx(SLACK * 50)
    row = row_of(LESSONS["local attention"], "full", [waited, *times[1:]])
    assert row.n == 3 and row.seconds == {"here": 130.0}, "a run that waited for other work counts, its time does not"


def test_each_width_is_compared_with_its_own_convolution_and_each_rate_with_its_own_network():
    for study in (WIDTH, RECIPE):
        records = [r for entry in study.entries for r in recorded(entry, {0: 1.0, 1: 2.0})]
        found = compare(study, records, "full")
        ours = [(c.row.entry, c.reference.entry) for c in found if c.verdict != "reference"]
        references = [c.row.entry.label for c in found if c.verdict == "reference"]
        assert references == [entry.label for entry in study.entries if study.reference_of(entry) is entry]
        assert ours and all(entry.width == other.width for entry, other in ours)
        assert study is WIDTH or all(entry.model == other.model for entry, other in ours)
        assert "Minus reference (95 %)" in comparison_table(study, found)[0]


def test_two_studies_that_ask_about_the_same_networks_are_one_comparison():
    asked = [
        (entry, study.reference_of(entry))
        for study in STUDIES
        if study.seeds > 1
        for entry in study.entries
        if study.reference_of(entry) is not entry
    ]
    pairs = [(entry.label, reference.label) for entry, reference in planned_comparisons("full").values()]
    assert len(pairs) < len(asked) and pairs.count(("relative offsets", "convolution")) == 1
    assert ("attention in 1, 2, 3, 4", "attention nowhere") not in pairs, "the lessons ask it already"


def test_a_small_published_difference_is_none():
    groups, values = studies_named(("groups",))[0], {0: 70.0, 1: 70.3, 2: 70.1}
    early = {seed: value + 9 + seed / 10 for seed, value in values.items()}
    records = [*recorded(groups["attention nowhere"], values), *recorded(groups["attention in 1"], early)]
    found = {c.row.entry.label: c for c in compare(groups, records, "full")}
    assert found["attention in 1"].verdict == "higher", "0.2 points of 50,000 images were published: nothing to confirm"


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
