"""The published rows, read from `published.toml`: what was printed, where it was seen, which network it is."""

import functools
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("published.toml")
QUANTITIES = {"params": "M", "flops": "G", "multiply_adds": "G"}
"""Quantities that are counted, and their units: millions and 10⁹. One multiply-add is 2 FLOPs."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One row of one table. Printed numbers are kept as text, so that their digits are."""

    paper: str
    table: str
    row: str
    network: str  # a builder of sasa_tutorial.models
    options: dict[str, Any] = field(default_factory=dict)  # its arguments
    size: int = 224  # pixels of a side of the image
    params: str | None = None  # millions
    flops: str | None = None  # 10⁹
    multiply_adds: str | None = None  # 10⁹, where that is what was printed
    top1: str | None = None  # percent
    ap: str | None = None  # COCO's average precision, percent
    split: str | None = None  # which images the accuracy is of
    read: str = ""  # where the numbers were seen
    seen: bool = True  # False: known from memory only, and never shown as published
    with_buffers: bool = False  # params include numbers that are fixed, not trained
    accounting: str = "multiply-adds"  # or "every cell" (for q·r), or "fitted": see accounting.py
    truncated: tuple[str, ...] = ()  # quantities that are cut off rather than rounded
    notes: dict[str, str] = field(default_factory=dict)  # by quantity


@functools.cache
def published() -> tuple[Published, ...]:
    """All rows, paper by paper, table by table."""
    document = tomllib.loads(SOURCE.read_text(encoding="utf-8"))
    rows = []
    for table in document["tables"]:
        entries = table.pop("rows")
        for row in entries:
            merged = {**table, **row, "options": {**table.get("options", {}), **row.get("options", {})}}
            rows.append(Published(**{**merged, "truncated": tuple(merged.get("truncated", ()))}))
    return tuple(rows)
