"""What the runs of a study say: each network against the study's reference, and what may be concluded.

Three seeds of one network say little about how far seeds scatter; all networks of a profile together say it well. So
the spread σ of a seed is pooled over them, and a difference of two means is measured in its own standard deviation,
σ √(1/n + 1/m), against Student's distribution with the pooled degrees of freedom: one-way analysis of variance (Fisher
1925). Because dozens of questions are asked of the same records, a verdict is given by Holm's step-down procedure over
the fixed family of all planned comparisons (Holm 1979), whatever has run of them.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from sasa_tutorial.experiments.results import Row, row_of, run_of_each_seed
from sasa_tutorial.experiments.studies import STUDIES
from sasa_tutorial.experiments.study import Entry, Study
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import Record

LEVEL = 0.05  # the chance of one wrong verdict or more in the whole family
METRIC = "test_top1"
CLEAR = 0.25  # points: a smaller published difference is within the chance of 50,000 test images
# Profiles on real images, the largest first.
PROFILE_ORDER = tuple(name for name in reversed(PROFILES) if PROFILES[name].source.recorded)
FIRST_LOOK = ("laptop",)  # too short to confirm or contradict anything: orders turn around later


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """How far equal networks scatter, under one profile, in points."""

    sigma: float | None  # standard deviation over seeds, pooled over the networks; None where no two seeds have run
    freedom: int  # degrees of freedom of that
    networks: int  # with two seeds or more
    correlation: float | None  # of two networks over the same seeds, on average over all pairs


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two networks' mean accuracies, in points."""

    mean: float
    low: float  # 95 % interval
    high: float
    p: float  # of no difference, two-sided, of this comparison alone


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One network of a study."""

    row: Row
    reference: Row
    difference: Difference | None  # to the reference; None for the reference itself, and where a seed is too few
    decided: bool  # by Holm's procedure over all planned comparisons of the profile
    published_difference: float | None  # None where nothing was published, or nothing clear

    @property
    def verdict(self) -> str:
        """What may be said of the network, by the length of its training."""
        if self.row.entry.label == self.reference.entry.label:
            return "reference"
        if not self.row.n:
            return "diverged"
        if self.difference is None:
            return "one seed" if self.row.n == 1 else "nothing to compare with"
        if not self.decided:
            return "not decided"
        side = "higher" if self.difference.mean > 0 else "lower"
        if self.row.profile in FIRST_LOOK:
            return f"{side} after {PROFILES[self.row.profile].recipe.epochs} epochs"
        if not self.published_difference:
            return side
        return "confirmed" if self.difference.mean * self.published_difference > 0 else "opposite"


def seed_spread(records: Iterable[Record], profile: str, metric: str = METRIC) -> SeedSpread:
    """What a seed is worth under a profile: over all its networks, planned or not, each seed once, as in its row."""
    runs: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.profile == profile:
            runs[record.model, json.dumps(record.config, sort_keys=True)].append(record)
    of_seeds = [{run.seed: getattr(run, metric) for run in run_of_each_seed(same)} for same in runs.values()]
    several = [by_seed for by_seed in of_seeds if len(by_seed) > 1]
    sigma, freedom = pooled_deviation([list(by_seed.values()) for by_seed in several])
    return SeedSpread(sigma=sigma, freedom=freedom, networks=len(several), correlation=_correlation(several))


def pooled_deviation(groups: Iterable[Sequence[float]]) -> tuple[float | None, int]:
    """√(Σ squared distances from each group's mean / Σ (n - 1)) and those degrees of freedom; None without any."""
    groups = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None, 0
    return math.sqrt(sum(statistics.variance(g) * (len(g) - 1) for g in groups) / freedom), freedom


def _correlation(networks: Sequence[Mapping[int, float]]) -> float | None:
    """Whether a seed that is lucky for one network is lucky for another: pooled over all pairs of networks."""
    products = squares = 0.0
    for one, other in combinations(networks, 2):
        seeds = sorted(one.keys() & other.keys())
        if len(seeds) > 1:
            a, b = (_centred([values[seed] for seed in seeds]) for values in (one, other))
            products += sum(x * y for x, y in zip(a, b, strict=True))
            squares += math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return products / squares if squares else None


def _centred(values: Sequence[float]) -> list[float]:
    mean = statistics.mean(values)
    return [value - mean for value in values]


def difference(first: Sequence[float], second: Sequence[float], spread: SeedSpread) -> Difference | None:
    """Of two means, `first` minus `second`; None where one of them has fewer than two seeds."""
    if min(len(first), len(second)) < 2 or not spread.sigma:
        return None
    from scipy.stats import t as student  # takes a second to import, and most commands need none of it

    mean = statistics.mean(first) - statistics.mean(second)
    deviation = spread.sigma * math.sqrt(1 / len(first) + 1 / len(second))
    half = float(student.ppf(1 - LEVEL / 2, spread.freedom)) * deviation
    p = 2 * float(student.sf(abs(mean) / deviation, spread.freedom))
    return Difference(mean=mean, low=mean - half, high=mean + half, p=p)


def holm(ps: Mapping[object, float], family: int) -> set[object]:
    """The comparisons that are decided at `LEVEL` among `family` planned ones, of which these have a p-value.

    The smallest p is held against LEVEL / family, the next against LEVEL / (family - 1), and so on to the first that
    fails. A comparison that has not run counts as one with p = 1, so the bar does not move as records arrive.
    """
    decided = set()
    for rank, (name, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        if p > LEVEL / (family - rank):
            break
        decided.add(name)
    return decided


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that is compared under one profile."""

    profile: str
    spread: SeedSpread
    family: int  # planned comparisons
    differences: Mapping[tuple[str, str], Difference]  # those with seeds enough, by the two plans
    decided: frozenset[tuple[str, str]]


def findings(records: Iterable[Record], profile: str) -> Findings:
    """What the records of a profile say about the planned comparisons."""
    kept = [record for record in records if record.profile == profile]
    spread = seed_spread(kept, profile)
    pairs = planned_comparisons(profile)
    found = {}
    for pair, (entry, reference) in pairs.items():
        values = [row_of(one, profile, kept).values(METRIC) for one in (entry, reference)]
        if (gap := difference(*values, spread)) is not None:
            found[pair] = gap
    decided = holm({pair: gap.p for pair, gap in found.items()}, len(pairs))
    return Findings(profile=profile, spread=spread, family=len(pairs), differences=found, decided=frozenset(decided))


def planned_comparisons(profile: str) -> dict[tuple[str, str], tuple[Entry, Entry]]:
    """Every comparison of the studies with several seeds, once: two studies may ask about the same two networks."""
    pairs: dict[tuple[str, str], tuple[Entry, Entry]] = {}
    for study in STUDIES:
        if study.seeds > 1 and profile in study.profiles:
            for entry in study.entries:
                reference = study.reference_of(entry)
                if reference is not entry:
                    pairs.setdefault(_pair(entry, reference, profile), (entry, reference))
    return pairs


def _pair(entry: Entry, reference: Entry, profile: str) -> tuple[str, str]:
    return tuple(one.plan(PROFILES[profile], 0).identity for one in (entry, reference))


def compare(study: Study, records: Iterable[Record], profile: str, known: Findings | None = None) -> list[Comparison]:
    """Every network of a study that has run, in the study's order.

    Args:
        known: `findings(records, profile)`, where the caller has it already.
    """
    kept = list(records)
    known = known or findings(kept, profile)
    spread = known.spread if study.metric == METRIC else seed_spread(kept, profile, study.metric)
    compared = []
    for entry in study.entries:
        reference = study.reference_of(entry)
        row, other = (row_of(one, profile, kept) for one in (entry, reference))
        if not (row.n or row.diverged):
            continue
        itself = reference is entry
        compared.append(
            Comparison(
                row=row,
                reference=other,
                difference=None if itself else difference(row.values(study.metric), other.values(study.metric), spread),
                decided=not itself and _pair(entry, reference, profile) in known.decided,
                published_difference=_clear_difference(entry.published, reference.published),
            )
        )
    return compared


def _clear_difference(first: float | None, second: float | None) -> float | None:
    if first is None or second is None or abs(first - second) < CLEAR:
        return None
    return first - second


def best_profile(study: Study, records: Sequence[Record]) -> str:
    """The profile in which most of the study's networks have seeds enough to compare, then most have run at all.

    Of equals the largest.
    """

    def progress(profile: str) -> tuple[int, int]:
        rows = [row_of(entry, profile, records) for entry in study.entries]
        return sum(row.n > 1 for row in rows), sum(row.ran for row in rows)

    profiles = [profile for profile in PROFILE_ORDER if profile in study.profiles]
    return max(profiles, key=progress)  # the first of equals
