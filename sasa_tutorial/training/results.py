"""The planned runs, what they came to, and the tables made from both."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sasa_tutorial.models import cifar_models
from sasa_tutorial.training.plan import Plan, plan_run
from sasa_tutorial.training.records import Record

SEEDS = (0, 1, 2)
ALL_IMAGES = 45_000  # of the training split: what a profile without a number uses
HEADER = (
    "Network",
    "Profile",
    "Images",
    "Epochs",
    "Parameters",
    "MFLOPs",
    "Validation top-1, %",
    "Test top-1, %",
    "n",
    "Training, s",
    "Device",
)
NOTHING = "No run on CIFAR-100 is recorded yet."
TABLE_START, TABLE_END = "<!-- results: begin -->", "<!-- results: end -->"


def planned_runs(profile: str = "full") -> list[Plan]:
    """The grid, in order of value: every network with the first seed, then with the others."""
    return [plan_run(name, profile, seed) for seed in SEEDS for name in cifar_models()]


def missing_runs(records: Iterable[Record], profile: str = "full") -> list[Plan]:
    """What the grid still lacks. A run that diverged is not missing: its record says what happened."""
    kept = list(records)
    return [plan for plan in planned_runs(profile) if not any(plan.matches(record) for record in kept)]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The finished runs of one network under one profile with one recipe: mean and sample standard deviation."""

    model: str
    profile: str
    n: int
    diverged: int
    train_images: int
    epochs: int
    params: int
    flops_per_image: int
    val_top1: float | None
    val_sd: float | None  # None for fewer than two runs
    test_top1: float | None
    test_sd: float | None
    train_seconds: float | None
    device: str


def summarise(records: Iterable[Record]) -> list[Row]:
    """One row for each network, profile and recipe, in the order of the lessons, the largest profile first."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.model, record.profile, str(sorted(record.config.items()))), []).append(record)
    rows = [_row(group) for group in groups.values()]
    lessons, profiles = list(cifar_models()), ["full", "gpu", "laptop", "smoke"]
    return sorted(
        rows,
        key=lambda row: (
            profiles.index(row.profile),
            lessons.index(row.model) if row.model in lessons else len(lessons),
            row.model,
            row.train_images,
        ),
    )


def _row(group: Sequence[Record]) -> Row:
    first, finished = group[0], [record for record in group if record.status == "finished"]
    val_top1, val_sd = _mean_and_sd([record.val_top1 for record in finished])
    test_top1, test_sd = _mean_and_sd([record.test_top1 for record in finished])
    return Row(
        model=first.model,
        profile=first.profile,
        n=len(finished),
        diverged=len(group) - len(finished),
        train_images=first.config.get("train_images") or ALL_IMAGES,
        epochs=first.epochs,
        params=first.params,
        flops_per_image=first.flops_per_image,
        val_top1=val_top1,
        val_sd=val_sd,
        test_top1=test_top1,
        test_sd=test_sd,
        train_seconds=_mean_and_sd([record.train_seconds for record in finished])[0],
        device=", ".join(dict.fromkeys(record.device for record in group)),
    )


def _mean_and_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def markdown_table(records: Iterable[Record]) -> str:
    """The results as a Markdown table, one row a network, profile and recipe; a sentence where there are none."""
    rows = summarise(records)
    if not rows:
        return NOTHING
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|" + "---:|" * 8 + "---|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines)


def plain_table(records: Iterable[Record]) -> str:
    """The same table for a terminal."""
    rows = summarise(records)
    if not rows:
        return NOTHING
    table = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.model,
        row.profile,
        f"{row.train_images:,}",
        str(row.epochs),
        f"{row.params / 1e6:.2f} M",
        f"{row.flops_per_image / 1e6:,.0f}",
        _mean_cell(row.val_top1, row.val_sd),
        _mean_cell(row.test_top1, row.test_sd),
        str(row.n) + (f" ({row.diverged} diverged)" if row.diverged else ""),
        "–" if row.train_seconds is None else f"{row.train_seconds:,.0f}",
        row.device,
    )


def _mean_cell(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.1f}" if sd is None else f"{mean:.1f} ± {sd:.1f}"


def with_current_table(document: str, records: Iterable[Record]) -> str:
    """A Markdown document whose table between the two marks is the one of these records.

    Raises:
        ValueError: a mark is missing.
    """
    before, start, rest = document.partition(TABLE_START)
    _, end, after = rest.partition(TABLE_END)
    if not (start and end):
        raise ValueError(f"the document has no place for the table: {TABLE_START} and {TABLE_END} are expected")
    return f"{before}{start}\n{markdown_table(records)}\n{end}{after}"
