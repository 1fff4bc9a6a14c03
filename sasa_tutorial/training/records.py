"""Records: one JSON object a line for every run, appended so that none is lost, doubled or half-written."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sasa_tutorial import paths
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.files import locked
from sasa_tutorial.training.audience import option


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run was and what came of it. Accuracies in percent, times in seconds, sizes in bytes."""

    model: str  # name in cifar_models() or paper_models()
    mechanism: str  # the lesson it belongs to
    dataset: str  # cifar100, synthetic or folder
    profile: str
    config: dict[str, Any]  # network, image counts and recipe, as numbers and words
    seed: int
    params: int
    flops_per_image: int  # one forward pass at the training images' size; one multiply-add is 2
    epochs: int
    val_top1: float | None  # null where the run diverged
    test_top1: float | None
    test_top5: float | None
    train_seconds: float | None  # training alone, without evaluation; null where a run waited for other work
    images_per_second: float | None  # trained
    peak_memory_bytes: int | None  # on the device; null where unknown
    device: str
    torch: str
    version: str  # of this library
    commit: str | None
    date: str  # start of the run, UTC
    status: str  # finished or diverged

    @property
    def identity(self) -> tuple[str, str, int, str, str]:
        """What tells two records apart: a run appears once, however often its end was interrupted.

        The start alone does not: two processes may begin runs of the same network in the same second.
        """
        return self.model, self.profile, self.seed, self.date, json.dumps(self.config, sort_keys=True)


class RecordError(TutorialError):
    """A file of records that cannot be read: which line, and why."""


def committed_records() -> Path:
    """The records that tables in the README and the notebooks are made from."""
    return paths.results_root() / "cifar100.jsonl"


def local_records() -> Path:
    """The records of trials: synthetic data, changed settings, an installed package without a checkout."""
    return paths.build_root() / "runs" / "records.jsonl"


def read_records(path: Path) -> list[Record]:
    """All records of a file, in order; none where there is no file.

    Raises:
        RecordError: a line is not a record.
    """
    if not path.exists():
        return []
    names = {field.name for field in fields(Record)}
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise RecordError(f"{path}, line {number} is not JSON ({error}). Remove or mend the line.") from error
        if not isinstance(record, dict) or set(record) != names:
            wrong = sorted(set(record) ^ names) if isinstance(record, dict) else type(record).__name__
            raise RecordError(f"{path}, line {number} is not a record: fields missing or unknown: {wrong}.")
        records.append(Record(**record))
    return records


def all_records() -> list[Record]:
    """The committed ones, then those of trials."""
    return read_records(committed_records()) + read_records(local_records())


def append_record(path: Path, record: Record) -> bool:
    """Add a record to the end of a file, whole and once, also while other processes do the same.

    Returns:
        Whether it was added; False where the run is in the file already.

    Raises:
        RecordError: it could not be written; the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The lock lies in `build/`: the folders of committed records hold nothing but them.
    with locked(paths.build_root() / "records.lock"), path.open("a+b") as file:
        file.seek(0)
        text = file.read()
        if any(other.identity == record.identity for other in _readable(text.decode("utf-8").splitlines())):
            return False
        line = json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n"
        # A line that somebody's full disk cut short stays what it is; this one still begins at the start of a line.
        try:
            file.write((b"" if text.endswith(b"\n") or not text else b"\n") + line.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            os.ftruncate(file.fileno(), len(text))  # no half line: it would stop everybody who reads
            raise RecordError(f"{path} could not be written ({error}). Make room, then {option('resume')}.") from error
    return True


def _readable(lines: Iterable[str]) -> Iterable[Record]:
    for line in lines:
        try:
            yield Record(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
