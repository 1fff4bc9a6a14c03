"""The comparison as a table for a terminal."""

import textwrap
from collections.abc import Sequence
from itertools import groupby

from sasa_tutorial.ledger.comparison import Entry

QUANTITY_NAMES = {"params": "parameters, M", "flops": "FLOPs, G", "multiply_adds": "multiply-adds, G"}
WIDTH = 110


def report(entries: Sequence[Entry]) -> str:
    """A table for each table of each paper, the notes below it, and the sums at the end."""
    parts = []
    for (paper, table), group in groupby(entries, key=lambda entry: (entry.paper, entry.table)):
        parts.append("\n".join(_table(f"{paper}, {table}", list(group))))
    return "\n\n".join([*parts, summary(entries)])


def summary(entries: Sequence[Entry]) -> str:
    """How many of the published numbers the count reproduces."""
    seen = [entry for entry in entries if entry.published is not None]
    matching = sum(bool(entry.matches) for entry in seen)
    share = f"{100 * matching / len(seen):.0f} %" if seen else "none"
    rest = len(entries) - len(seen)
    return f"{len(seen)} published numbers, {matching} reproduced to the printed digit ({share})." + (
        f" {rest} more are counted whose printed values were not seen." if rest else ""
    )


def _table(title: str, entries: list[Entry]) -> list[str]:
    width = max(len(entry.row) for entry in entries)
    lines = [title, f"  {'':{width}}  {'':16}  published    counted  difference"]
    notes: list[str] = []
    for entry in entries:
        if entry.note and entry.note not in notes:
            notes.append(entry.note)
        mark = "" if entry.matches or entry.published is None else "  ✗"
        number = f"  [{notes.index(entry.note) + 1}]" if entry.note else ""
        digits = max(2, len((entry.published or "").partition(".")[2]))
        difference = "" if entry.published is None else f"{entry.counted - float(entry.published):+.{digits}f}"
        lines.append(
            f"  {entry.row:{width}}  {QUANTITY_NAMES[entry.quantity]:16}  {entry.published or '–':>9}"
            f"  {entry.counted:9.{digits}f}  {difference:>10}{mark}{number}"
        )
    for i, note in enumerate(notes, 1):
        lines += textwrap.wrap(f"[{i}] {note}", WIDTH, initial_indent="  ", subsequent_indent="      ")
    return lines
