"""What became of each notebook, in one run and in the last one: `series.json` beside the executed notebooks."""

import hashlib
import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sasa_tutorial import paths
from sasa_tutorial.files import write_whole
from sasa_tutorial.notebook_runner.notebooks import Notebook


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


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The last execution of one notebook."""

    fingerprint: str  # of everything its outputs depend on, see `Executions.fingerprint`
    profile: str
    seed: int
    seconds: float
    finished: str  # local time, ISO 8601, to the minute
    failure: CellFailure | None = None  # None: every cell ran


class Executions:
    """The last execution of every notebook in a folder, and whether its sources are still the same.

    Records, library and versions are read once, when this is made: what is edited during a run counts as a change in
    the next one. A record that is lost or was written by another version costs a second execution, nothing more.
    """

    def __init__(self, out: Path) -> None:
        self._file = out / "series.json"
        self._surroundings = _surroundings()
        self.last: dict[str, Execution] = {}  # by name of the notebook
        try:
            for name, entry in json.loads(self._file.read_text(encoding="utf-8")).items():
                failure = entry.pop("failure")
                self.last[name] = Execution(**entry, failure=CellFailure(**failure) if failure else None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.last = {}

    def fingerprint(self, notebook: Notebook, profile: str, seed: int) -> str:
        """SHA-256 over what a notebook's outputs depend on; equal fingerprints need no second execution.

        That is: its cells without their outputs, profile and seed, the library, the committed records, and the
        versions of torch and Python.
        """
        cells = [(cell.kind, cell.source, cell.tags) for cell in notebook.cells]
        return _sha256(json.dumps([cells, profile, seed, self._surroundings]).encode())

    def unchanged(self, notebook: Notebook) -> bool:
        """Whether a notebook that has been executed is still what it was then."""
        last = self.last[notebook.name]
        return last.fingerprint == self.fingerprint(notebook, last.profile, last.seed)

    def add(self, name: str, execution: Execution) -> None:
        """Record an execution beside those of the other notebooks."""
        self.last[name] = execution
        entries = {name: asdict(self.last[name]) for name in sorted(self.last)}
        write_whole(self._file, json.dumps(entries, indent=2) + "\n")


def _surroundings() -> dict[str, str]:
    # No notebook imports what executes it.
    library = {path.relative_to(paths.PACKAGE): path for path in paths.source_files()}
    files = {name.as_posix(): path for name, path in library.items() if name.parts[0] != "notebook_runner"}
    files |= {path.name: path for path in paths.results_root().glob("*.json*")}
    versions = {"python": platform.python_version(), "torch": importlib.metadata.version("torch")}
    return {name: _sha256(files[name].read_bytes()) for name in sorted(files)} | versions


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def executed_file(out: Path, name: str, *, failed: bool = False) -> Path:
    """Where the executed notebook goes; a failure does not replace an older success."""
    return out / f"{name}{'.failed' if failed else ''}.ipynb"


def duration(seconds: float) -> str:
    """12.34 -> "12.3 s", 754 -> "12 min 34 s", 7260 -> "2 h 01 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
