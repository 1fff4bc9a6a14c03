"""What can become of a notebook: the words in which the run, its record and its page speak."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class CellFailure:
    """Where a notebook stopped and why."""

    cell: int | None  # its place in the source notebook, counted from 1 over all cells; None: before the first cell
    line: str  # the first line of its source
    error: str  # the exception's name: "ZeroDivisionError"
    message: str

    def __str__(self) -> str:
        return f"{self.error}: {self.message}" if self.message else self.error


@dataclass(frozen=True, kw_only=True)
class NotebookResult:
    """What became of one notebook in a run."""

    name: str
    status: Literal["ok", "skipped", "failed"]
    seconds: float  # of this run: 0 when skipped
    output: Path  # the executed notebook; `<name>.failed.ipynb` after a failure
    failure: CellFailure | None = None
