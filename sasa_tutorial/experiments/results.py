"""What the records say about the grid: what is missing, and what each network that ran came to."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sasa_tutorial import lessons
from sasa_tutorial.experiments.grid import planned_runs
from sasa_tutorial.experiments.studies import LESSONS
from sasa_tutorial.experiments.study import Entry
from sasa_tutorial.training.plan import Plan
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import Record


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

    @property
    def ran(self) -> bool:
        """Whether there is anything to show, be it only that it diverged."""
        return bool(self.n or self.diverged)

    @property
    def device(self) -> str:
        """The one that most of the runs are of: times of different devices are not averaged."""
        return Counter(record.device for record in self.records).most_common(1)[0][0] if self.records else ""

    @property
    def seconds(self) -> float | None:
        """Of training, on average over the runs on `device`."""
        times = [record.train_seconds for record in self.records if record.device == self.device]
        return statistics.mean(times) if times else None

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
    """The lessons' networks that have run, the largest profile first.

    Args:
        mechanisms: only these lessons, and those that stand beside them; all for none.
    """
    kept = list(records)
    shown = {name for lesson in lessons.LESSONS if lesson.name in mechanisms for name in (lesson.name, *lesson.beside)}
    entries = [entry for entry in LESSONS.entries if not mechanisms or entry.model in shown]
    return [row for profile in LESSONS.profiles for entry in entries if (row := row_of(entry, profile, kept)).ran]
