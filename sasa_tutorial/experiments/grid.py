"""The grid: which runs the studies need, and in what order they are worth making."""

from collections.abc import Iterator
from dataclasses import replace

from sasa_tutorial.experiments.studies import (
    EXTENT,
    GROUPS,
    LESSONS,
    LOGITS,
    NORMALIZATION,
    POSITIONS,
    RECALIBRATION,
    RECIPE,
    SHARE,
    STEM,
    STUDIES,
    studies_named,
)
from sasa_tutorial.experiments.study import Study
from sasa_tutorial.training.plan import Plan
from sasa_tutorial.training.profiles import PROFILES

MORE_LESSONS = replace(LESSONS, seeds=5)


def _part(study: Study, *labels: str, seeds: int = 1) -> Study:
    """Some networks of a study, for the order in which runs are taken."""
    return replace(study, entries=tuple(study[label] for label in labels), seeds=seeds)


# What answers most questions for the time it takes: one network at least of every study.
_CORE = (
    _part(POSITIONS, "absolute", "absolute, in queries and keys only", seeds=3),
    _part(LOGITS, "q·r"),
    _part(STEM, "plain values", "values by convolution", "convolution stem"),
    _part(GROUPS, "attention in 3, 4", "attention in 4", "attention in 1, 2"),
    _part(EXTENT, "3 x 3", "5 x 5", "9 x 9"),
    _part(NORMALIZATION, "softmax over slots, 8 heads"),
    _part(SHARE, "κ = υ = 0.5", "κ = υ = 1"),
    _part(RECALIBRATION, "squeeze-and-excitation"),
)
_ORDER = (
    replace(LESSONS, seeds=1),
    RECIPE,
    LESSONS,
    *_CORE,
    *(replace(part, seeds=3) for part in _CORE),
    MORE_LESSONS,
    *(study for study in STUDIES if study not in (LESSONS, RECIPE)),
)


def planned_runs(profile: str = "full", names: tuple[str, ...] = ()) -> list[Plan]:
    """The grid under a profile in order of value, each run once.

    The lessons with one seed, the learning rates, the lessons with three seeds; a core of networks from every study;
    the lessons with five seeds; then study after study, in each all networks with the first seed, then with the others.

    Raises:
        ValueError: a profile or study that does not exist.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be {', '.join(PROFILES)}, got {profile!r}")
    wanted = {study.name for study in studies_named(names)}
    plans = {}
    for study in _ORDER:
        if study.name in wanted and profile in study.profiles:
            for plan in study_plans(study, profile):
                plans.setdefault(plan.identity, plan)
    return list(plans.values())


def study_plans(study: Study, profile: str) -> Iterator[Plan]:
    """All runs of a study, seed after seed."""
    for seed in range(study.seeds):
        for entry in study.entries:
            yield entry.plan(PROFILES[profile], seed)
