"""An executed notebook as one HTML page that can be read without Jupyter."""

import os
import re
from pathlib import Path

from sasa_tutorial.notebook_runner.notebooks import Notebook
from sasa_tutorial.notebook_runner.records import write_atomically

_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")


def render(notebook: Notebook, executed: Path) -> Path:
    """Write `<executed>.html` beside an executed notebook and return its path.

    The page needs the network for formulas alone (MathJax). Widgets, which would need it too, are shown by the text
    they leave behind. Links between notebooks lead to their pages, other relative links to the file they meant.
    """
    import nbformat
    from nbconvert import HTMLExporter

    content = nbformat.read(executed, as_version=4)
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(lambda link: _from_page(link[0], notebook.path, executed.parent), cell.source)
    template = (Path(__file__).parent / "notebook.html.j2").read_text(encoding="utf-8")
    page, _ = HTMLExporter(raw_template=template).from_notebook_node(
        content, resources={"metadata": {"name": notebook.title}}
    )
    path = executed.with_suffix(".html")
    write_atomically(path, page)
    return path


def _from_page(link: str, source: Path, out: Path) -> str:
    """A link as the source notebook writes it, made to lead to the same place from the page."""
    target = source.parent / link
    if link.startswith("/") or not target.exists():  # a URL, or brackets that are no link, as in `weights[i](x)`
        return link
    if target.suffix == ".ipynb" and target.parent.resolve() == source.parent:
        return f"{target.stem}.html"
    return Path(os.path.relpath(target, out)).as_posix()
