"""The entries as text for a terminal."""

import textwrap
from collections.abc import Sequence
from itertools import groupby

from sasa_tutorial.ledger.entries import MULTIPLY_ADDS_ALONE, LedgerEntry, agrees

QUANTITY_NAMES = {"params": "parameters, M", "flops": "FLOPs, G", "multiply_adds": "multiply-adds, G"}
WIDTH = 110


def as_text(entries: Sequence[LedgerEntry]) -> str:
    """A table for each table of each paper, the notes below it, and the sums at the end."""
    parts = []
    for (paper, table), group in groupby(entries, key=lambda entry: (entry.paper, entry.table)):
        parts.append("\n".join(_table(f"{paper}, {table}", list(group))))
    return "\n\n".join([*parts, summary(entries)])


def summary(entries: Sequence[LedgerEntry]) -> str:
    """How many of the published numbers the count reproduces, in all and paper by paper."""
    seen = [entry for entry in entries if entry.published is not None]
    lines = [f"{_matching(seen)} to the printed digit."]
    papers = list(dict.fromkeys(entry.paper for entry in seen))
    if len(papers) > 1:
        lines += [f"  {paper:14} {_matching([e for e in seen if e.paper == paper])}" for paper in papers]
    fitted = sum(bool(entry.matches) and _is_inline(entry) for entry in seen)
    if fitted:
        lines.append(f"{fitted} of them are FLOPs counted by rules that were fitted to SASA's tables (accounting.py).")
    if len(seen) < len(entries):
        lines.append(f"{len(entries) - len(seen)} more numbers are counted whose printed values were not seen.")
    return "\n".join(lines)


def _matching(entries: Sequence[LedgerEntry]) -> str:
    matching = sum(bool(entry.matches) for entry in entries)
    return f"{len(entries)} published numbers, {matching} reproduced ({100 * matching / max(1, len(entries)):.1f} %)"


def _table(title: str, entries: list[LedgerEntry]) -> list[str]:
    width = max(len(entry.row) for entry in entries)
    lines = [title, f"  {'':{width}}  {'':16}  published    counted  difference"]
    notes: list[str] = []
    for entry in entries:
        remark = f"  ({entry.note})" if _is_inline(entry) else ""
        if entry.note and not remark:
            if entry.note not in notes:
                notes.append(entry.note)
            remark = f"  [{notes.index(entry.note) + 1}]"
        mark = "" if entry.matches or entry.published is None else "  ✗"
        digits = _digits(entry)
        difference = "" if entry.published is None else f"{entry.counted - float(entry.published):+.{digits}f}"
        lines.append(
            f"  {entry.row:{width}}  {QUANTITY_NAMES[entry.quantity]:16}  {entry.published or '–':>9}"
            f"  {entry.counted:9.{digits}f}  {difference:>10}{mark}{remark}"
        )
    for i, note in enumerate(notes, 1):
        lines += textwrap.wrap(f"[{i}] {note}", WIDTH, initial_indent="  ", subsequent_indent="      ")
    return lines


def _is_inline(entry: LedgerEntry) -> bool:
    """Whether the note is a second number, which stands beside the first."""
    return entry.note.startswith(MULTIPLY_ADDS_ALONE)


def _digits(entry: LedgerEntry) -> int:
    """Two digits after the point, and more where rounding twice would seem to give another printed number."""
    digits = max(2, len((entry.published or "").partition(".")[2]))
    if entry.matches and agrees(entry.published, entry.counted):
        while not agrees(entry.published, round(entry.counted, digits)):
            digits += 1
    return digits
