"""What the runs of a study say: each network against the study's reference, seed by seed, and the verdict.

Runs with the same seed see the same images in the same order, so their difference is taken pair by pair. Whether the
mean of n differences is more than chance is asked of a t distribution with n - 1 degrees of freedom: Student 1908.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sasa_tutorial.evidence.grid import Study
from sasa_tutorial.evidence.results import Row, row_of
from sasa_tutorial.training.records import Record

LEVEL = 0.05  # a difference as large as this by chance once in twenty comparisons
METRIC = "test_top1"
PROFILE_ORDER = ("full", "gpu", "laptop")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two networks' accuracies in percentage points, over the seeds that both have."""

    n: int
    mean: float | None  # None without a common seed
    low: float | None  # 95 % interval; None for fewer than two seeds, and where it has no width to estimate
    high: float | None
    p: float | None  # of no difference, two-sided

    @property
    def decided(self) -> bool:
        """Whether chance is an unlikely explanation."""
        return self.p is not None and self.p < LEVEL


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One network of a study."""

    row: Row
    difference: Difference | None  # to the reference; None for the reference itself
    published_difference: float | None

    @property
    def verdict(self) -> str:
        """What the seeds say about the published difference, or, without one, about a difference at all."""
        found = self.difference
        if found is None:
            return "reference"
        if found.n == 0:
            return "not run yet"
        if not found.decided:
            return f"not decided by {found.n} seed{'' if found.n == 1 else 's'}"
        if not self.published_difference:
            return "higher" if found.mean > 0 else "lower"
        return "confirmed" if found.mean * self.published_difference > 0 else "not confirmed"


def paired_difference(first: Row, second: Row, metric: str = METRIC) -> Difference:
    """`first` minus `second`, over the seeds that both finished."""
    ones, others = ({r.seed: getattr(r, metric) for r in row.records} for row in (first, second))
    seeds = sorted(ones.keys() & others.keys())
    pairs = [(ones[seed], others[seed]) for seed in seeds]
    if not pairs:
        return Difference(n=0, mean=None, low=None, high=None, p=None)
    differences = [a - b for a, b in pairs]
    mean = sum(differences) / len(pairs)
    if len(set(differences)) == 1:  # one seed, or no spread from which to tell what chance does
        return Difference(n=len(pairs), mean=mean, low=None, high=None, p=None)
    from scipy.stats import ttest_rel  # takes a second to import, and most commands need none of it

    test = ttest_rel(*zip(*pairs, strict=True))
    low, high = test.confidence_interval(1 - LEVEL)
    return Difference(n=len(pairs), mean=mean, low=float(low), high=float(high), p=float(test.pvalue))


def compare(study: Study, records: Iterable[Record], profile: str) -> list[Comparison]:
    """Every network of a study, in its order."""
    kept = list(records)
    reference = row_of(study[study.reference], profile, kept)
    found = []
    for entry in study.entries:
        row, base = row_of(entry, profile, kept), reference.entry.published
        is_reference = entry.label == study.reference
        known = entry.published is not None and base is not None and not is_reference
        comparison = Comparison(
            row=row,
            difference=None if is_reference else paired_difference(row, reference),
            published_difference=entry.published - base if known else None,
        )
        found.append(comparison)
    return found


def best_profile(study: Study, records: Sequence[Record]) -> str:
    """The largest profile in which all of the study's networks have run; else the one with most of them."""
    counts = {
        profile: sum(row_of(entry, profile, records).n > 0 for entry in study.entries)
        for profile in PROFILE_ORDER
        if profile in study.profiles
    }
    return max(counts, key=counts.__getitem__)  # the first of equals


def comparison_table(study: Study, comparisons: Sequence[Comparison]) -> str:
    """A study as a Markdown table: published beside ours."""
    lines = [
        f"| Network | Published, % | Test top-1, % | n | Minus {study.reference}, points | p | Parameters | MFLOPs | |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for comparison in comparisons:
        row, found = comparison.row, comparison.difference
        first = row.records[0] if row.records else None
        mean, deviation = row.mean(METRIC), row.deviation(METRIC)
        ours = "–" if mean is None else f"{mean:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}")
        published = row.entry.published
        cells = (
            row.entry.label,
            "–" if published is None else f"{published:.1f}",
            ours,
            str(row.n) + (f" ({row.diverged} diverged)" if row.diverged else ""),
            "" if found is None else _interval(found),
            "" if found is None else "–" if found.p is None else f"{found.p:.3f}",
            f"{first.params / 1e6:.2f} M" if first else "–",
            f"{first.flops_per_image / 1e6:,.0f}" if first else "–",
            comparison.verdict,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _interval(found: Difference) -> str:
    if found.mean is None:
        return "–"
    interval = "" if found.low is None else f" ({found.low:+.1f} to {found.high:+.1f})"
    return f"{found.mean:+.1f}{interval}"


def conclusion(study: Study, comparisons: Sequence[Comparison], profile: str) -> str:
    """One honest paragraph: what was published, and what these seeds decide."""
    judged = [c for c in comparisons if c.difference is not None]
    run = [c for c in judged if c.difference.n]
    published = f"Published: {study.trend}" if study.source else study.trend
    if not run:
        return f"{published} Here, under the profile {profile}: not run yet."
    fewest, most = min(c.difference.n for c in run), max(c.difference.n for c in run)
    seeds = f"{most} seed{'' if most == 1 else 's'}" if fewest == most else f"{fewest} to {most} seeds"
    decided = [c for c in run if c.difference.decided]
    sentences = [f"{published} Here, under the profile {profile}, with {seeds}:"]
    sentences += [_sentence(c, study.reference) for c in decided] or ["no difference is decided."]
    if decided and len(run) > len(decided):
        sentences.append(f"Not decided: {_listed(c for c in run if not c.difference.decided)}.")
    if len(judged) > len(run):
        sentences.append(f"Not run yet: {_listed(c for c in judged if not c.difference.n)}.")
    return " ".join(sentences)


def _sentence(comparison: Comparison, reference: str) -> str:
    found = comparison.difference
    side = "above" if found.mean > 0 else "below"
    verdict = f", {comparison.verdict}" if comparison.published_difference else ""
    return (
        f"{comparison.row.entry.label} is {abs(found.mean):.1f} points {side} {reference} (p = {found.p:.3f}){verdict}."
    )


def _listed(comparisons: Iterable[Comparison]) -> str:
    return ", ".join(c.row.entry.label for c in comparisons)
