"""What the records say about the grid: what is missing, and what each network that ran came to."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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
    seconds: Mapping[str, float] = field(default_factory=dict)  # of training, the mean of the runs on each device

    @property
    def n(self) -> int:
        return len(self.records)

    @property
    def ran(self) -> bool:
        """Whether there is anything to show, be it only that it diverged."""
        return bool(self.n or self.diverged)

    @property
    def device(self) -> str:
        """The one that most of the runs are of."""
        return Counter(record.device for record in self.records).most_common(1)[0][0] if self.records else ""

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
    """What the records say about one network, each seed once, as `run_of_each_seed` has it.

    A run that diverged stays told, also where another device carried its seed to the end.
    """
    plan = entry.plan(PROFILES[profile], seed=0)
    last = {(record.device, record.seed): record for record in records if plan.same_settings(record)}
    finished = [record for record in last.values() if record.status == "finished"]
    timed: dict[str, list[float]] = {record.device: [] for record in finished}
    for record in finished:
        if record.train_seconds:
            timed[record.device].append(record.train_seconds)
    return Row(
        entry=entry,
        profile=profile,
        records=tuple(run_of_each_seed(last.values())),
        diverged=len(last) - len(finished),
        seconds={device: statistics.mean(times) for device, times in timed.items() if times},
    )


def run_of_each_seed(records: Iterable[Record]) -> list[Record]:
    """The runs of one network that count: one finished run of each seed, in the order of the seeds.

    Where a seed was run twice on a device, the last run counts; where it was run on two, that on the device of most
    seeds: networks are compared, and on another device the same seed is another run.
    """
    last = {(record.device, record.seed): record for record in records}
    finished = [record for record in last.values() if record.status == "finished"]
    seeds_on = Counter(record.device for record in last.values())
    # Of several devices with as many seeds, the one that was used last: `last` is in the order of the records.
    order = list(dict.fromkeys(record.device for record in finished))
    chosen: dict[int, Record] = {}
    for record in sorted(finished, key=lambda record: (seeds_on[record.device], order.index(record.device))):
        chosen[record.seed] = record
    return [chosen[seed] for seed in sorted(chosen)]


def lesson_rows(records: Iterable[Record], mechanisms: Sequence[str] = ()) -> list[Row]:
    """The lessons' networks that have run, the largest profile first.

    Args:
        mechanisms: only these lessons, and those that stand beside them; all for none.
    """
    kept = list(records)
    shown = {name for lesson in lessons.LESSONS if lesson.name in mechanisms for name in (lesson.name, *lesson.beside)}
    entries = [entry for entry in LESSONS.entries if not mechanisms or entry.model in shown]
    return [row for profile in LESSONS.profiles for entry in entries if (row := row_of(entry, profile, kept)).ran]
