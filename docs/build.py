"""Build the site: `python docs/build.py [OUT]`, or `make site`. Nothing is executed; no network is needed.

The pages are written first, as notebooks and Markdown, into `<OUT>.source`: the committed notebooks made ready for
reading, the library from its docstrings, results and costs from the records, contents and glossary. Then Sphinx sets
them, with the settings of conf.py, and the notebooks offered for download are put back to what is committed.
"""

import base64
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
import evidence  # noqa: E402
import jinja2  # noqa: E402
import reference  # noqa: E402

from sasa_tutorial.notebook_runner.mathjax import copy_mathjax  # noqa: E402
from sasa_tutorial.notebook_runner.notebooks import Notebook, find_notebooks  # noqa: E402
from sasa_tutorial.notebook_runner.reading import made_ready  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Sources:
    """The folder that Sphinx reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: set[Path] = set()  # of the library, that some page links to
        shutil.rmtree(folder, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def notebook(self, notebook: Notebook) -> None:
        """A notebook made ready, and its thumbnail."""
        content = nbformat.read(notebook.path, as_version=4)
        # Sphinx makes pages of the links in a text; a table that a cell displays it passes on as it is.
        ready = made_ready(
            content,
            lambda link: self._link(link, notebook.path),
            lambda link: re.sub(r"\.(md|ipynb)$", ".html", self._link(link, notebook.path)),
        )
        self.write(f"notebooks/{notebook.path.name}", nbformat.writes(ready))
        (self.folder / "images").mkdir(exist_ok=True)
        (self.folder / "images" / f"{notebook.name}.png").write_bytes(thumbnail(content))

    def _link(self, link: str, source: Path) -> str:
        """Links to files of the library lead to pages that show them."""
        target = (source.parent / link).resolve()
        if target.suffix != ".py" or not target.is_file() or not target.is_relative_to(ROOT):
            return link
        self.files.add(target.relative_to(ROOT))
        return f"../code/{_page_of(target.relative_to(ROOT))}.md"

    def code_pages(self) -> None:
        """A page for each file that a notebook links to."""
        for file in sorted(self.files):
            path = os.path.relpath(ROOT / file, self.folder / "code")  # from the root it would be the sources' root
            shown = f"```{{literalinclude}} {path}\n:language: python\n:linenos:\n```"
            self.write(f"code/{_page_of(file)}.md", f"---\norphan: true\n---\n\n# {file.as_posix()}\n\n{shown}\n")


def _page_of(file: Path) -> str:
    return ".".join(file.with_suffix("").parts)


def thumbnail(content: nbformat.NotebookNode) -> bytes:
    """The first picture of the cell tagged `thumbnail`; a test of the notebooks holds that there is one."""
    for cell in content.cells:
        if "thumbnail" in cell.metadata.get("tags", []):
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    return base64.b64decode(output.data["image/png"])
    raise ValueError("no picture in a cell tagged `thumbnail`: every notebook has one for the page of contents")


def write_sources(folder: Path) -> list[Notebook]:
    """Everything that Sphinx reads, in `folder`."""
    sources, notebooks = Sources(folder), find_notebooks()
    for notebook in notebooks:
        sources.notebook(notebook)
    shutil.copyfile(ROOT / "notebooks" / "images" / "series.png", folder / "images" / "series.png")
    sources.code_pages()
    rooms = []
    for name, text in reference.pages():
        sources.write(f"api/{name}.md", text)
        rooms += [] if "." in name else [name]
    sources.write("results.md", evidence.results_page())
    sources.write("ledger.md", evidence.ledger_page())
    sources.write("times.md", evidence.times_page())
    sources.write("glossary.md", (HERE / "glossary.md").read_text(encoding="utf-8"))
    template = jinja2.Template((HERE / "index.md.j2").read_text(encoding="utf-8"), trim_blocks=True)
    sources.write("index.md", template.render(notebooks=notebooks, rooms=rooms))
    return notebooks


def build(out: Path) -> int:
    """The whole site in `out`; 0 when Sphinx has nothing to warn of."""
    from sphinx.cmd.build import build_main

    source, trees = out.with_name(f"{out.name}.source"), out.with_name(f"{out.name}.doctrees")
    notebooks = write_sources(source)
    shutil.rmtree(out, ignore_errors=True)
    quiet = ["--quiet", "--fail-on-warning", "--keep-going"]
    failed = build_main(["-b", "html", "-j", "auto", *quiet, "-c", str(HERE), "-d", str(trees), str(source), str(out)])
    copy_mathjax(out / "_static")
    for notebook in notebooks:
        shutil.copyfile(notebook.path, out / "_sources" / "notebooks" / notebook.path.name)
    (out / ".nojekyll").touch()  # GitHub Pages would leave folders that begin with _ out
    return failed


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").resolve()
    status = build(target)
    print(f"site: {target / 'index.html'}" if not status else "site: Sphinx has warned or failed, see above")
    sys.exit(status)
