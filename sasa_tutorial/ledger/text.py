"""The entries as text: for a terminal, and as Markdown for a page."""

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

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


def as_markdown(entries: Sequence[LedgerEntry]) -> str:
    """The same for a page, a heading of the third level above each table."""
    parts = []
    for (paper, table), group in groupby(entries, key=lambda entry: (entry.paper, entry.table)):
        lines, notes = _lines(list(group))
        parts.append(f"### {paper}, {table}")
        header = ["", "quantity", "published", "counted", "difference", ""]
        rule = ["---", "---", "---:", "---:", "---:", "---"]
        cells = [[*line.cells, f"{line.mark} {line.remark}".strip()] for line in lines]
        parts.append("\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *cells)))
        parts += [f"[{i}] {note}" for i, note in enumerate(notes, 1)]
    return "\n\n".join(parts)


class _Line(NamedTuple):
    cells: tuple[str, str, str, str, str]  # row, quantity, published, counted, difference
    mark: str  # where they differ
    remark: str


def _lines(entries: Sequence[LedgerEntry]) -> tuple[list[_Line], list[str]]:
    """What is shown of each entry of a table, and the notes below it, each once."""
    lines, notes = [], []
    for entry in entries:
        remark = f"({entry.note})" if _is_inline(entry) else ""
        if entry.note and not remark:
            if entry.note not in notes:
                notes.append(entry.note)
            remark = f"[{notes.index(entry.note) + 1}]"
        digits = _digits(entry)
        difference = "" if entry.published is None else f"{entry.counted - float(entry.published):+.{digits}f}"
        counted = f"{entry.counted:.{digits}f}"
        cells = (entry.row, QUANTITY_NAMES[entry.quantity], entry.published or "–", counted, difference)
        lines.append(_Line(cells, "" if entry.matches or entry.published is None else "✗", remark))
    return lines, notes


def _table(title: str, entries: list[LedgerEntry]) -> list[str]:
    width = max(len(entry.row) for entry in entries)
    shown = [title, f"  {'':{width}}  {'':16}  published    counted  difference"]
    lines, notes = _lines(entries)
    for (row, quantity, published, counted, difference), mark, remark in lines:
        text = f"  {row:{width}}  {quantity:16}  {published:>9}  {counted:>9}  {difference:>10}"
        shown.append("  ".join(filter(None, (text, mark, remark))))
    for i, note in enumerate(notes, 1):
        shown += textwrap.wrap(f"[{i}] {note}", WIDTH, initial_indent="  ", subsequent_indent="      ")
    return shown


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
