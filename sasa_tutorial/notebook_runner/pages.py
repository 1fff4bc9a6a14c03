"""What came out, for a browser: a page for each executed notebook, and the contents page of the series."""

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sasa_tutorial.files import write_whole
from sasa_tutorial.notebook_runner.mathjax import SCRIPT, copy_mathjax
from sasa_tutorial.notebook_runner.notebooks import Notebook, find_notebooks
from sasa_tutorial.notebook_runner.outcomes import Executions, duration, executed_file

# What the contents page says about each status, and the mark before it: colour alone would not reach everybody.
_STATUS = {
    "ok": ("✓", "done"),
    "stale": ("↻", "out of date"),
    "failed": ("✗", "failed"),
    "missing": ("○", "not run yet"),
}


def render(notebook: Notebook, executed: Path) -> Path:
    """Write `<executed>.html` beside an executed notebook, to be read without Jupyter, and return its path.

    The page needs no network: MathJax for its formulas is put beside it, and of widgets it shows nothing. Links between
    notebooks lead to their pages, other relative links to the file they meant.

    Raises:
        TutorialError: MathJax is not installed.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    from sasa_tutorial.notebook_runner.reading import FOLDED, made_ready

    content = nbformat.read(executed, as_version=4)
    content = made_ready(content, lambda link: _from_page(link, notebook.path, executed.parent))
    resources = {"metadata": {"name": notebook.title}, "folded": FOLDED, "mathjax": SCRIPT}
    whole = Config({"CoalesceStreamsPreprocessor": {"enabled": True}})  # what a cell prints in pieces has no gaps
    exporter = HTMLExporter(raw_template=_template("notebook"), config=whole)
    page, _ = exporter.from_notebook_node(content, resources=resources)
    copy_mathjax(executed.parent)
    path = executed.with_suffix(".html")
    write_whole(path, page)
    return path


def write_index(out: Path, *, folder: Path | None = None) -> Path:
    """Write `<out>/index.html` for the whole series, executed or not, and return its path.

    The page needs no other file to look right, no script and no network.
    """
    return index_of(find_notebooks(folder), Executions(out), out)


def index_of(notebooks: Sequence[Notebook], executions: Executions, out: Path) -> Path:
    """The same for notebooks and executions that have been read."""
    import jinja2

    cards = [_card(notebook, executions, out) for notebook in notebooks]
    known = [card["execution"] for card in cards if card["execution"]]
    last = max((execution.finished for execution in known), default=None)
    template = jinja2.Template(_template("index"), autoescape=True, trim_blocks=True)
    page = template.render(
        cards=cards,
        counts=[(words, n) for _, words in _STATUS.values() if (n := sum(card["words"] == words for card in cards))],
        seconds=duration(sum(execution.seconds for execution in known)),
        last=datetime.fromisoformat(last) if last else None,
        duration=duration,
    )
    path = out / "index.html"
    write_whole(path, page)
    return path


def _card(notebook: Notebook, executions: Executions, out: Path) -> dict[str, object]:
    """What the contents page shows of one notebook; links are names of files beside it, None where there is none."""
    execution = executions.last.get(notebook.name)
    executed = executed_file(out, notebook.name, failed=bool(execution and execution.failure))
    if execution and not (execution.failure or executed.is_file()):
        execution = None  # somebody has deleted what came out
    file, page = (path if execution and path.is_file() else None for path in (executed, executed.with_suffix(".html")))
    if execution is None:
        status = "missing"
    else:
        status = "failed" if execution.failure else "ok" if executions.unchanged(notebook) else "stale"
    mark, words = _STATUS[status]
    shown = {"file": file and file.name, "page": page and page.name, "thumbnail": file and _thumbnail(file)}
    return {"notebook": notebook, "execution": execution, "status": status, "mark": mark, "words": words, **shown}


def _thumbnail(executed: Path) -> str | None:
    """The first PNG of a cell tagged `thumbnail`, else the last of the notebook, as a data URI; None without any."""
    tagged, others = [], []
    for cell in json.loads(executed.read_text(encoding="utf-8"))["cells"]:
        images = [output["data"].get("image/png") for output in cell.get("outputs", ()) if "data" in output]
        (tagged if "thumbnail" in cell["metadata"].get("tags", ()) else others).extend(filter(None, images))
    if not tagged + others:
        return None
    image = tagged[0] if tagged else others[-1]  # the format allows a string or a list of lines
    return "data:image/png;base64," + "".join(image).replace("\n", "")


def _from_page(link: str, source: Path, out: Path) -> str:
    """A link as the source notebook writes it, made to lead to the same place from the page."""
    target = source.parent / link
    if link.startswith("/") or not target.exists():  # a URL, or brackets that are no link, as in `weights[i](x)`
        return link
    if target.suffix == ".ipynb" and target.parent.resolve() == source.parent:
        return f"{target.stem}.html"
    return Path(os.path.relpath(target, out)).as_posix()


def _template(name: str) -> str:
    return Path(__file__).with_name(f"{name}.html.j2").read_text(encoding="utf-8")
