"""The notebooks of the series, in order, and what each says about itself: its title and its one question."""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sasa_tutorial import paths
from sasa_tutorial.errors import TutorialError

_FILE_NAME = re.compile(r"(\d\d)_\w+")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What decides how a cell runs; outputs are left out on purpose."""

    kind: str  # "code", "markdown" or "raw"
    source: str
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Notebook:
    """One notebook of the series, as its file says it is."""

    path: Path
    title: str  # the first level-one heading, with its number: "03 · Local attention"
    question: str  # the first blockquote of the first Markdown cell, as plain text; "" when there is none
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The file name without its ending: "03_local_attention"."""
        return self.path.stem

    @property
    def number(self) -> str:
        """Two digits, the place in the series: "03"."""
        return self.name[:2]

    @property
    def topic(self) -> str:
        """The title without the number: "Local attention"."""
        return re.sub(rf"^{self.number}\s*[·:.–-]?\s*", "", self.title)

    @property
    def parameters(self) -> set[str] | None:
        """What its cell tagged `parameters` sets; None without such a cell."""
        tagged = [cell.source for cell in self.cells if cell.kind == "code" and "parameters" in cell.tags]
        if not tagged:
            return None
        names = (node for cell in tagged for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Name))
        return {node.id for node in names if isinstance(node.ctx, ast.Store)}

    @property
    def trains(self) -> set[str]:
        """The networks of the comparison that its cells train, as far as their calls name them."""
        code = "\n".join(cell.source for cell in self.cells if cell.kind == "code")
        return set(re.findall(r"""\btrain\(\s*["'](\w+)""", code))


def find_notebooks(folder: Path | None = None) -> list[Notebook]:
    """All notebooks `NN_name.ipynb` of a folder, by number; without a folder those of the checkout.

    The title is the first line `# ...` of a Markdown cell. The question is the first blockquote paragraph
    (lines starting with `>`) of the first Markdown cell; emphasis and links are reduced to their text.

    Raises:
        TutorialError: there is no checkout, no such folder, or no notebook in it.
        ValueError: a file is not a notebook.
    """
    if folder is None:
        root = paths.checkout()
        if root is None:
            raise TutorialError(
                "the installed package does not contain the notebooks: clone the project and `pip install -e .` there"
            )
        folder = root / "notebooks"
    files = sorted(path for path in folder.glob("*.ipynb") if _FILE_NAME.fullmatch(path.stem))
    if not files:
        raise TutorialError(f"no notebook named like 01_convolution.ipynb in {folder}")
    return [_read(path.resolve()) for path in files]


def select(notebooks: Sequence[Notebook], only: Sequence[str]) -> list[Notebook]:
    """The notebooks meant by `only`, in the order of the series; all of them when it is empty.

    Each entry is a number ("3", "03"), a file name with or without folder and ending, or a part of one ("stem").

    Raises:
        ValueError: an entry means no notebook; the message names those that exist.
    """
    chosen: set[str] = set()
    for wanted in only:
        found = {notebook.name for notebook in notebooks if _means(wanted, notebook)}
        if not found:
            raise ValueError(f"no notebook {wanted!r}; there are {', '.join(notebook.name for notebook in notebooks)}")
        chosen |= found
    return [notebook for notebook in notebooks if not only or notebook.name in chosen]


def _means(wanted: str, notebook: Notebook) -> bool:
    if wanted.isdecimal():  # "1" is notebook 01, not every name with a 1 in it
        return int(wanted) == int(notebook.number)
    part = Path(wanted).name.removesuffix(".ipynb").lower()
    return part != "" and part in notebook.name.lower()


def _read(path: Path) -> Notebook:
    try:
        cells = tuple(_cell(raw) for raw in json.loads(path.read_text(encoding="utf-8"))["cells"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a readable notebook ({type(error).__name__}: {error})") from error
    texts = [cell.source for cell in cells if cell.kind == "markdown"]
    heading = re.search(r"^# +(.+?)\s*$", "\n".join(texts), flags=re.MULTILINE)
    return Notebook(
        path=path,
        title=plain(heading[1]) if heading else path.stem,
        question=_question(texts[0]) if texts else "",
        cells=cells,
    )


def _cell(raw: dict) -> Cell:
    source = raw["source"]  # the format allows a string or a list of lines
    return Cell(
        kind=raw["cell_type"],
        source=source if isinstance(source, str) else "".join(source),
        tags=tuple(raw.get("metadata", {}).get("tags", ())),
    )


def _question(text: str) -> str:
    # Markdown lets a quoted paragraph go on without the mark.
    quoted = re.search(r"^>[ \t]*\S.*(\n(?!>?[ \t]*$).+)*", text, flags=re.MULTILINE)
    lines = quoted[0].splitlines() if quoted else []
    return plain(" ".join(line.removeprefix(">").strip() for line in lines)).removeprefix("Question.").strip()


def plain(markdown: str) -> str:
    """Inline Markdown as the words one would read aloud."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return re.sub(r"(\*\*|\*|`)(?=\S)(.+?)(?<=\S)\1", r"\2", text)
