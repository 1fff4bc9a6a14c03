"""How long a notebook takes to read, counted in the same way for all of them."""

import re

from nbformat import NotebookNode

WORDS_A_MINUTE, LINES_A_MINUTE, MINUTES_A_FIGURE = 200, 15, 0.5

_FOLDED = re.compile(r"<details>.*?</details>", flags=re.DOTALL)


def reading_minutes(notebook: NotebookNode) -> float:
    """Minutes for the words, code and figures that a reader sees who opens nothing that is folded.

    Exercises count as read, not as solved; cells whose source is hidden count for their figures only.
    """
    words = lines = figures = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            words += len(_FOLDED.sub("", cell.source).split())
            continue
        if not cell.metadata.get("jupyter", {}).get("source_hidden"):
            lines += sum(bool(line.strip()) for line in cell.source.splitlines())
        figures += sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    return words / WORDS_A_MINUTE + lines / LINES_A_MINUTE + MINUTES_A_FIGURE * figures
