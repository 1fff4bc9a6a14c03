"""A whole benchmark as one document: its sections, what it was measured on, and the file it is kept in.

One JSON file for each device, committed with the project.
"""

import json
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sasa_tutorial import paths
from sasa_tutorial.bench import floor, growth, layers, machine, network
from sasa_tutorial.bench.section import Part
from sasa_tutorial.bench.setting import Setting
from sasa_tutorial.devices import device_name, on_gpu, processor_name
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.files import write_whole
from sasa_tutorial.training.provenance import commit

SECTIONS = {"machine": machine, "layers": layers, "network": network, "growth": growth, "floor": floor}
_ROWS = {"layers": layers.LayerResult, "network": network.NetworkResult, "growth": growth.Curve}
_SINGLE = {"machine": machine.Machine, "floor": floor.Floor}  # or null
_HEAD = ("device", "processor", "threads", "torch", "python", "commit", "date", "rounds")


class BenchRecordError(TutorialError):
    """A file that is not a benchmark: which, and why."""


def sections_for(device: torch.device) -> tuple[str, ...]:
    """What can be measured there: the floor is that of a GPU."""
    return tuple(name for name in SECTIONS if name != "floor" or on_gpu(device))


def parts(setting: Setting, sections: Sequence[str], *, rounds: int) -> Iterator[Part]:
    """The parts of these sections, in order.

    Raises:
        ValueError: a section that there is not, or not on this device.
    """
    device = torch.device(setting.device)
    known = sections_for(device)
    for section in sections:
        if section not in known:
            raise ValueError(f"on {device.type} there are {', '.join(known)}, got {section!r}")
    for section in known:
        if section in sections:
            yield from SECTIONS[section].parts(setting, rounds=rounds)


def show(section: str, stored: Any) -> str:
    """A section of a document as text for a terminal, with a headline; 100 columns at most. Growth: of one factor."""
    return SECTIONS[section].show(stored)


def new_document(setting: Setting, *, rounds: int) -> dict[str, Any]:
    """A document without measurements: the machine, the versions, the setting."""
    return {
        "device": device_name(torch.device(setting.device)),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": rounds,
        "setting": asdict(setting),
        **{section: None if section in _SINGLE else [] for section in SECTIONS},
    }


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
