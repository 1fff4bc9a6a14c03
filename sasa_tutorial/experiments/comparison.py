"""What the runs of a study say: each network against the study's reference, seed by seed, and the verdict.

Runs with the same seed see the same images in the same order, so their difference is taken pair by pair. Whether the
mean of n differences is more than chance is asked of a t distribution with n - 1 degrees of freedom: Student 1908.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sasa_tutorial.experiments.grid import STUDIES
from sasa_tutorial.experiments.results import NOTHING, Row, mean_cell, row_of
from sasa_tutorial.experiments.study import Study
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import Record

LEVEL = 0.05  # a difference as large as this by chance once in twenty comparisons
METRIC = "test_top1"
METRIC_WORDS = {"test_top1": "Test top-1", "val_top1": "Validation top-1"}
CLEAR = 0.25  # points: a smaller published difference is within the chance of 50,000 test images
# Profiles on real images, the largest first.
PROFILE_ORDER = tuple(name for name in reversed(PROFILES) if PROFILES[name].source.recorded)


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
    reference: Row
    difference: Difference | None  # to the reference; None for the reference itself
    published_difference: float | None  # None where nothing was published, or nothing clear

    @property
    def verdict(self) -> str:
        """What the seeds say about the published difference, or, without one, about a difference at all."""
        found = self.difference
        if found is None:
            return "reference"
        if not self.row.n:
            return "diverged" if self.row.diverged else "not run yet"
        if not found.n:
            return "no seed in common"
        if not found.decided:
            return f"not decided by {found.n} seed{'' if found.n == 1 else 's'}"
        if not self.published_difference:
            return "higher" if found.mean > 0 else "lower"
        return "confirmed" if found.mean * self.published_difference > 0 else "opposite"


def paired_difference(first: Row, second: Row, metric: str = METRIC) -> Difference:
    """`first` minus `second`, over the seeds that both finished."""
    ones, others = ({r.seed: getattr(r, metric) for r in row.records} for row in (first, second))
    seeds = sorted(ones.keys() & others.keys())
    pairs = [(ones[seed], others[seed]) for seed in seeds]
    if not pairs:
        return Difference(n=0, mean=None, low=None, high=None, p=None)
    # Accuracies have two decimals; what is left of 17.35 - 16.55 beyond them is no spread.
    differences = [round(a - b, 6) for a, b in pairs]
    mean = sum(differences) / len(pairs)
    if len(set(differences)) == 1:  # one seed, or no spread from which to tell what chance does
        return Difference(n=len(pairs), mean=mean, low=None, high=None, p=None)
    from scipy.stats import ttest_1samp  # takes a second to import, and most commands need none of it

    test = ttest_1samp(differences, 0)
    low, high = test.confidence_interval(1 - LEVEL)
    return Difference(n=len(pairs), mean=mean, low=float(low), high=float(high), p=float(test.pvalue))


def compare(study: Study, records: Iterable[Record], profile: str) -> list[Comparison]:
    """Every network of a study, in its order."""
    kept = list(records)
    found = []
    for entry in study.entries:
        row, reference = (row_of(one, profile, kept) for one in (entry, study.reference_of(entry)))
        itself = row.entry.label == reference.entry.label
        comparison = Comparison(
            row=row,
            reference=reference,
            difference=None if itself else paired_difference(row, reference, study.metric),
            published_difference=_clear_difference(entry.published, reference.entry.published),
        )
        found.append(comparison)
    return found


def _clear_difference(first: float | None, second: float | None) -> float | None:
    if first is None or second is None or abs(first - second) < CLEAR:
        return None
    return first - second


def distinct_comparisons(records: Iterable[Record]) -> dict[tuple[str, str], Comparison]:
    """Every comparison of the studies with several seeds, once: two studies may ask about the same two networks."""
    kept = list(records)
    found: dict[tuple[str, str], Comparison] = {}
    for study in STUDIES:
        for comparison in compare(study, kept, best_profile(study, kept)) if study.seeds > 1 else ():
            if comparison.difference is not None:
                rows = (comparison.row, comparison.reference)
                found.setdefault(tuple(row.entry.plan(PROFILES["full"], 0).identity for row in rows), comparison)
    return found


def best_profile(study: Study, records: Sequence[Record]) -> str:
    """The largest profile in which all of the study's networks have run; else the one with most of them."""
    counts = {
        profile: sum(_has_run(row_of(entry, profile, records)) for entry in study.entries)
        for profile in PROFILE_ORDER
        if profile in study.profiles
    }
    return max(counts, key=counts.__getitem__)  # the first of equals


def _has_run(row: Row) -> bool:
    return bool(row.n or row.diverged)


def comparison_table(study: Study, comparisons: Sequence[Comparison]) -> str:
    """A study as a Markdown table: published beside ours, where anything was published."""
    references = {c.reference.entry.label for c in comparisons}
    against = study.reference if len(references) == 1 else "reference"
    columns = {
        "Network": lambda c: c.row.entry.label,
        "Published, %": lambda c: _number(c.row.entry.published, ".1f"),
        f"{METRIC_WORDS[study.metric]}, %": lambda c: mean_cell(c.row, study.metric),
        "n": lambda c: str(c.row.n) + (f" ({c.row.diverged} diverged)" if c.row.diverged else ""),
        f"Minus {against}, points (95 %)": lambda c: "" if c.difference is None else _interval(c.difference),
        "p": lambda c: "" if c.difference is None else _probability(c.difference.p),
        "Parameters": lambda c: f"{c.row.records[0].params / 1e6:.2f} M" if c.row.n else NOTHING,
        "MFLOPs": lambda c: f"{c.row.records[0].flops_per_image / 1e6:,.0f}" if c.row.n else NOTHING,
        "Verdict": lambda c: c.verdict,
    }
    if all(c.row.entry.published is None for c in comparisons):
        del columns["Published, %"]
    rule = ["---" if name in ("Network", "Verdict") else "---:" for name in columns]
    lines = [list(columns), rule, *([cell(c) for cell in columns.values()] for c in comparisons)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def _probability(p: float | None) -> str:
    return NOTHING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _interval(found: Difference) -> str:
    if found.mean is None:
        return NOTHING
    interval = "" if found.low is None else f" ({found.low:+.2f} to {found.high:+.2f})"
    return f"{found.mean:+.2f}{interval}"


def conclusion(study: Study, comparisons: Sequence[Comparison], profile: str) -> str:
    """One honest paragraph: what was published, and what these seeds decide."""
    judged = [c for c in comparisons if c.difference is not None]
    run = [c for c in judged if c.difference.n]
    published = f"Published ({study.source}): {study.trend}" if study.source else study.trend
    sentences = [published]
    if run:
        decided = [c for c in run if c.difference.decided]
        sentences.append(f"Here, under the profile {profile}, {_where(comparisons)}, with {_seeds(run)}:")
        sentences.append("; ".join(_sentence(c) for c in decided) or "no difference is decided")
        sentences[-1] += "."
        if decided and len(run) > len(decided):
            sentences.append(f"Not decided: {_listed(c for c in run if not c.difference.decided)}.")
    elif any(_has_run(c.row) for c in comparisons):
        sentences.append(f"Here, under the profile {profile}, there is no pair of runs to compare yet.")
    else:
        return f"{published} Here, under the profile {profile}: not run yet."
    for words in ("diverged", "not run yet", "no seed in common"):
        if found := _listed(c for c in judged if c.verdict == words):
            sentences.append(f"{words.capitalize()}: {found}.")
    for c in comparisons:
        if c.difference is None and not c.row.n:
            sentences.append(
                f"The reference {c.row.entry.label} has {'diverged' if c.row.diverged else 'not run yet'}."
            )
        elif c.row.n and c.row.diverged:
            sentences.append(f"{c.row.diverged} of {c.row.n + c.row.diverged} runs of {c.row.entry.label} diverged.")
    return " ".join(sentences)


def _where(comparisons: Iterable[Comparison]) -> str:
    devices = dict.fromkeys(record.device for c in comparisons for record in c.row.records)
    return f"on {' and '.join(devices)}"


def _seeds(run: Sequence[Comparison]) -> str:
    fewest, most = min(c.difference.n for c in run), max(c.difference.n for c in run)
    return f"{most} seed{'' if most == 1 else 's'}" if fewest == most else f"{fewest} to {most} seeds"


def _sentence(comparison: Comparison) -> str:
    found, reference = comparison.difference, comparison.reference.entry.label
    side = "above" if found.mean > 0 else "below"
    p = _probability(found.p)
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    verdict = f", {comparison.verdict}" if comparison.published_difference else ""
    return f"{comparison.row.entry.label} is {abs(found.mean):.2f} points {side} {reference} ({p}){verdict}"


def _listed(comparisons: Iterable[Comparison]) -> str:
    return ", ".join(c.row.entry.label for c in comparisons)
