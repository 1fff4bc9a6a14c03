"""A notebook made ready for a page: its figures described, its machinery folded away, its links leading somewhere.

The pages of `sasa-tutorial run` and those of the site are different pages, but what is done to a notebook before it
becomes one stands here and nowhere else. The notebook files are not changed.
"""

import copy
import re
from collections.abc import Callable

from nbformat import NotebookNode

from sasa_tutorial.notebook_runner.notebooks import plain

FOLDED = "hide-input"  # the tag, as MyST-NB knows it; the page of a run reads it too
_WIDGET = "application/vnd.jupyter.widget-view+json"
_FIGURE = re.compile(r"^\*Figure[^:]*:\s*(.+?)\*\s*$", flags=re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")
_IGNORE = re.compile(r"\A# NBVAL_IGNORE_OUTPUT\s*\n")
_BAR = re.compile(r"^.*\d+ ?%\|.*\|.*$", flags=re.MULTILINE)


def made_ready(
    content: NotebookNode, link: Callable[[str], str], shown_link: Callable[[str], str] | None = None
) -> NotebookNode:
    """A copy of a notebook, to be rendered.

    Figures get the sentence below them as alt text; set-up, checks of exercises and cells whose source is hidden are
    folded; progress bars, which stand still on a page, and the marks of the tests are left out.

    Args:
        content: the notebook, with its outputs.
        link: makes a relative link of its text lead to the same place from the page.
        shown_link: the same for the tables that it displays, where they are rendered in another way than its text.
    """
    content = copy.deepcopy(content)
    content.metadata.pop("widgets", None)
    content.cells = _with_one_setup(content.cells)
    for cell, following in zip(content.cells, [*content.cells[1:], None], strict=True):
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(lambda found: link(found[0]), cell.source)
        elif cell.cell_type == "code":
            cell.source = _IGNORE.sub("", cell.source)
            cell.outputs = [output for output in map(_without_bars, cell.outputs) if output is not None]
            for output in cell.outputs:
                if table := output.get("data", {}).get("text/markdown"):
                    output.data["text/markdown"] = _LINK.sub(lambda found: (shown_link or link)(found[0]), table)
            _describe(cell, following.source if following and following.cell_type == "markdown" else "")
            if FOLDED in cell.metadata.get("tags", []):
                continue
            if cell.metadata.get("jupyter", {}).get("source_hidden"):
                _fold(cell, "Code of this figure" if _images(cell) else "Code of this cell")
            elif "check_answer(" in cell.source:
                _fold(cell, "The check")
    return content


def _with_one_setup(cells: list[NotebookNode]) -> list[NotebookNode]:
    """The code before the first text, which prints nothing: one cell, folded."""
    first = next((i for i, cell in enumerate(cells) if cell.get("id") == "colab-setup"), None)
    if first is None:
        return cells
    last = first
    while last + 1 < len(cells) and cells[last + 1].cell_type == "code" and not cells[last + 1].outputs:
        last += 1
    setup = cells[first]
    setup.source = "\n\n".join(cell.source for cell in cells[first : last + 1])
    _fold(setup, "Set-up: installation on Colab, parameters, imports")
    return [*cells[: first + 1], *cells[last + 1 :]]


def _fold(cell: NotebookNode, words: str) -> None:
    cell.metadata.tags = [*cell.metadata.get("tags", []), FOLDED]
    cell.metadata.mystnb = {**cell.metadata.get("mystnb", {}), "code_prompt_show": words, "code_prompt_hide": words}


def _without_bars(output: NotebookNode) -> NotebookNode | None:
    """An output without its progress bars; None where nothing else was in it."""
    if _WIDGET in output.get("data", {}):
        return None
    if output.output_type == "stream" and _BAR.search(output.text):
        output.text = re.sub(r"\n{2,}", "\n", _BAR.sub("", output.text.replace("\r", "\n"))).lstrip("\n")
        return output if output.text.strip() else None
    return output


def _images(cell: NotebookNode) -> list[NotebookNode]:
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


def _describe(cell: NotebookNode, text: str) -> None:
    """Alt text for the images of a cell, where they have none: the sentence "Figure: …" of the text below."""
    found = _FIGURE.search(text)
    for output in _images(cell):
        settings = output.metadata.setdefault("image/png", {})
        if found and not settings.get("alt"):
            settings["alt"] = " ".join(plain(found[1]).split())
        if settings.get("alt"):
            shown = cell.metadata.get("mystnb", {})
            cell.metadata.mystnb = {**shown, "image": {**shown.get("image", {}), "alt": settings["alt"]}}
