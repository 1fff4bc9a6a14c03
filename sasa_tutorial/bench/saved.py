"""Benchmarks that are kept: one JSON file for each device, committed with it."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from sasa_tutorial import paths
from sasa_tutorial.bench.floor import Floor
from sasa_tutorial.bench.growth import Curve
from sasa_tutorial.bench.layers import LayerResult
from sasa_tutorial.bench.machine import Machine
from sasa_tutorial.bench.network import NetworkResult
from sasa_tutorial.bench.setting import Setting
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.files import write_whole

_ROWS = {"layers": LayerResult, "network": NetworkResult, "growth": Curve}
_SINGLE = {"machine": Machine, "floor": Floor}  # or null
_HEAD = ("device", "processor", "threads", "torch", "python", "commit", "date", "rounds")


class BenchRecordError(TutorialError):
    """A file that is not a benchmark: which, and why."""


def save_document(document: dict[str, Any]) -> Path:
    """Write a document where the records are; it replaces that of the same device, and no other.

    Installed without a checkout there is nothing to commit to: the file then goes to `build/runs`, as records do.

    Returns:
        The file.
    """
    folder = paths.results_root() if paths.checkout() else paths.build_root() / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^a-z0-9]+", "-", document["device"].lower()).strip("-")
    file = folder / f"bench-{slug}.json"
    write_whole(file, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return file


def bench_documents() -> list[dict[str, Any]]:
    """The committed documents, by name of the file; the installed package has a copy of them.

    Raises:
        BenchRecordError: a file is damaged.
    """
    return [_read(file) for file in sorted(paths.results_root().glob("bench-*.json"))]


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        _check(document)
    except (ValueError, TypeError) as error:
        raise BenchRecordError(
            f"{paths.shown(file)} is not a benchmark record ({error}). Restore it from Git, or delete it and measure "
            "again with: sasa-tutorial bench --save"
        ) from error
    return document


def _check(document: Any) -> None:
    _same("fields", document, {*_HEAD, "setting", *_ROWS, *_SINGLE})
    _same("setting", document["setting"], _names(Setting))
    for section, kind in _ROWS.items():
        for row in document[section]:
            _same(section, row, _names(kind))
    for section, kind in _SINGLE.items():
        if document[section] is not None:
            _same(section, document[section], _names(kind))


def _same(where: str, found: Any, names: set[str]) -> None:
    if not isinstance(found, dict):
        raise TypeError(f"{where}: expected an object, found {type(found).__name__}")
    if wrong := sorted(set(found) ^ names):
        raise ValueError(f"{where}: missing or unknown: {', '.join(wrong)}")


def _names(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}
