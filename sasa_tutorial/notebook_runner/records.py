"""What was executed, from which sources, with what end: `series.json` beside the executed notebooks."""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sasa_tutorial import paths
from sasa_tutorial.notebook_runner.notebooks import Notebook
from sasa_tutorial.notebook_runner.outcomes import CellFailure


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The last execution of one notebook."""

    fingerprint: str  # of everything its outputs depend on, see `fingerprint`
    profile: str
    seed: int
    seconds: float
    finished: str  # local time, ISO 8601, to the minute
    failure: CellFailure | None = None  # None: every cell ran

    @property
    def parameters(self) -> dict[str, str | int]:
        return {"profile": self.profile, "seed": self.seed}


def fingerprint(notebook: Notebook, parameters: Mapping[str, str | int]) -> str:
    """SHA-256 over what a notebook's outputs depend on; equal fingerprints need no second execution.

    That is: its cells without their outputs, the parameters, the library's sources, the committed records, and the
    versions of torch and Python. This package is left out, as no notebook imports what executes it.
    """
    sources = [path for path in paths.source_files() if "notebook_runner" not in path.relative_to(paths.PACKAGE).parts]
    parts = {
        "cells": [(cell.kind, cell.source, cell.tags) for cell in notebook.cells],
        "parameters": dict(parameters),
        "library": {path.relative_to(paths.PACKAGE).as_posix(): _sha256(path) for path in sources},
        "records": {path.name: _sha256(path) for path in paths.results_root().glob("*.jsonl")},
        "versions": {"python": platform.python_version(), "torch": importlib.metadata.version("torch")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load_executions(out: Path) -> dict[str, Execution]:
    """The executions recorded in a folder, by notebook name; empty when there is no record that can be read.

    A record that is lost or was written by another version costs a second execution, nothing more.
    """
    try:
        entries = json.loads((out / "series.json").read_text(encoding="utf-8"))
        return {name: _execution(entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def save_execution(out: Path, name: str, execution: Execution) -> None:
    """Record one execution beside those of the other notebooks."""
    executions = load_executions(out) | {name: execution}
    entries = {name: asdict(executions[name]) for name in sorted(executions)}
    write_atomically(out / "series.json", json.dumps(entries, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file such that a reader, or a kill, finds the old one or the new one and nothing between."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _execution(entry: dict) -> Execution:
    failure = entry.pop("failure")
    return Execution(**entry, failure=CellFailure(**failure) if failure else None)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
