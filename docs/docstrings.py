"""The house's docstrings as reStructuredText: plain text, names in backticks, formulas indented."""

import re

_SECTIONS = {"Args:", "Raises:", "Returns:", "Yields:"}  # Napoleon's
_WORDED = re.compile(r"(Shapes|Shape|Cost|Source|Memory|Units|Differences?)(:)(?= )")
_CODE = re.compile(r"`+([^`]+?)`+")


def as_rst(lines: list[str]) -> None:
    """Rewrite the lines of one docstring in place."""
    found: list[str] = []
    section = formula = False
    for line in lines:
        indented = line.startswith("    ")
        if line.strip() and not indented:
            section, formula = line.strip() in _SECTIONS, False
        if indented and not section:
            if not formula:
                found += ["::", ""] if not (found and found[-1].strip()) else ["", "::", ""]
            formula = True
            found.append(line)
            continue
        if _WORDED.match(line) and found and found[-1].strip():
            found.append("")  # a line of its own
        found.append(_inline(line))
    lines[:] = found


def _inline(line: str) -> str:
    """Names in backticks as code; the signs that mean something in reStructuredText as themselves."""
    line = _WORDED.sub(r"**\1\2**", line, count=1) if _WORDED.match(line) else line
    parts = re.split(r"(`+[^`]+?`+|\*\*\w+:\*\*)", line)
    return "".join(
        _CODE.sub(r"``\1``", part) if i % 2 else re.sub(r"([*|])|(?<=\w)(_)(?!\w)", r"\\\g<0>", part)
        for i, part in enumerate(parts)
    )
