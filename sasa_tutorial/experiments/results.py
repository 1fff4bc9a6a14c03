"""What the records say about the grid: what is missing, and the table of the lessons."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sasa_tutorial.experiments.grid import LESSONS, MORE_LESSONS, planned_runs
from sasa_tutorial.experiments.study import Entry
from sasa_tutorial.training.plan import Plan
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import Record

ALL_IMAGES = 45_000  # of the training split: what a profile without a number uses
ALWAYS_SHOWN = "full"  # the profile whose rows are in the table before anything has run
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
NOTHING = "–"
TABLE_START, TABLE_END = "<!-- results: begin -->", "<!-- results: end -->"


def missing_runs(records: Iterable[Record], profile: str = "full", studies: tuple[str, ...] = ()) -> list[Plan]:
    """What the grid still lacks. A run that diverged is not missing: its record says what happened."""
    kept = list(records)
    return [plan for plan in planned_runs(profile, studies) if not any(plan.matches(record) for record in kept)]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The finished runs of one network under one profile: means and sample standard deviations over the seeds."""

    entry: Entry
    profile: str
    records: tuple[Record, ...]  # finished, one a seed
    diverged: int = 0

    @property
    def n(self) -> int:
        return len(self.records)

    def mean(self, name: str) -> float | None:
        """Of a field of the records; None where nothing finished."""
        return statistics.mean(self.values(name)) if self.records else None

    def deviation(self, name: str) -> float | None:
        """The sample standard deviation; None for fewer than two runs."""
        return statistics.stdev(self.values(name)) if self.n > 1 else None

    def values(self, name: str) -> list[float]:
        """A field of each record."""
        return [getattr(record, name) for record in self.records]


def row_of(entry: Entry, profile: str, records: Iterable[Record]) -> Row:
    """What the records say about one network. Where a seed was run twice, the last one counts."""
    plan = entry.plan(PROFILES[profile], seed=0)
    mine = {record.seed: record for record in records if plan.same_settings(record)}
    finished = tuple(mine[seed] for seed in sorted(mine) if mine[seed].status == "finished")
    return Row(entry=entry, profile=profile, records=finished, diverged=len(mine) - len(finished))


def lesson_rows(records: Iterable[Record], mechanisms: Sequence[str] = ()) -> list[Row]:
    """The lessons' networks, or some of them: under the full profile always, under another where a record is."""
    kept = list(records)
    rows = []
    for profile in LESSONS.profiles:
        found = [
            row_of(entry, profile, kept) for entry in LESSONS.entries if not mechanisms or entry.model in mechanisms
        ]
        if profile == ALWAYS_SHOWN or any(row.n or row.diverged for row in found):
            rows += found
    return rows


def markdown_table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|" + "---:|" * 8 + "---|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines)


def plain_table(rows: Sequence[Row]) -> str:
    """The same table for a terminal."""
    table = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def _cells(row: Row) -> tuple[str, ...]:
    profile = PROFILES[row.profile]
    first = row.records[0] if row.records else None
    times: dict[str, list[float]] = {}
    for record in row.records:
        times.setdefault(record.device, []).append(record.train_seconds)
    wanted = f"{row.n} of {MORE_LESSONS.seeds}" + (f" ({row.diverged} diverged)" if row.diverged else "")
    return (
        row.entry.model,
        row.profile,
        f"{profile.train_images or ALL_IMAGES:,}",
        str(profile.recipe.epochs),
        f"{first.params / 1e6:.2f} M" if first else NOTHING,
        f"{first.flops_per_image / 1e6:,.0f}" if first else NOTHING,
        mean_cell(row, "val_top1"),
        mean_cell(row, "test_top1"),
        wanted,
        " / ".join(f"{statistics.mean(seconds):,.0f}" for seconds in times.values()) or NOTHING,
        " / ".join(times) if first else "" if row.diverged else "not run yet",
    )


def mean_cell(row: Row, name: str) -> str:
    """Mean ± standard deviation, as far as there are runs."""
    mean, deviation = row.mean(name), row.deviation(name)
    if mean is None:
        return NOTHING
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def with_current_table(document: str, records: Iterable[Record]) -> str:
    """A Markdown document whose table between the two marks is the one of these records.

    Raises:
        ValueError: a mark is missing.
    """
    before, start, rest = document.partition(TABLE_START)
    _, end, after = rest.partition(TABLE_END)
    if not (start and end):
        raise ValueError(f"the document has no place for the table: {TABLE_START} and {TABLE_END} are expected")
    return f"{before}{start}\n{markdown_table(lesson_rows(records))}\n{end}{after}"
