"""The contents page of an executed series: every notebook with a figure, its question and what became of it."""

import base64
import binascii
import io
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sasa_tutorial.notebook_runner.notebooks import Notebook, find_notebooks
from sasa_tutorial.notebook_runner.outcomes import CellFailure
from sasa_tutorial.notebook_runner.records import Execution, fingerprint, load_executions, write_atomically
from sasa_tutorial.notebook_runner.report import duration

_THUMBNAIL_WIDTH = 640  # pixels: twice what the page shows, for dense screens

# What the page says about each status, and the mark before it: colour alone would not reach everybody.
_STATUS = {
    "ok": ("✓", "done"),
    "stale": ("↻", "out of date"),
    "failed": ("✗", "failed"),
    "missing": ("○", "not run yet"),
}


@dataclass(frozen=True, kw_only=True)
class _Card:
    """What the page shows of one notebook; links are file names in the page's folder, None where there is no file."""

    notebook: Notebook
    status: str  # a key of _STATUS
    execution: Execution | None
    page: str | None
    file: str | None
    thumbnail: str | None  # a data URI

    @property
    def mark(self) -> str:
        return _STATUS[self.status][0]

    @property
    def words(self) -> str:
        return _STATUS[self.status][1]

    @property
    def failure(self) -> CellFailure | None:
        return self.execution.failure if self.execution else None


def write_index(out: Path, *, folder: Path | None = None) -> Path:
    """Write `<out>/index.html` for the whole series, executed or not, and return its path.

    The page needs no other file to look right, no script and no network.
    """
    import jinja2

    cards = [_card(notebook, out) for notebook in find_notebooks(folder)]
    executions = [card.execution for card in cards if card.execution]
    last = max((execution.finished for execution in executions), default=None)
    page = jinja2.Template(
        (Path(__file__).parent / "index.html.j2").read_text(encoding="utf-8"), autoescape=True, trim_blocks=True
    ).render(
        cards=cards,
        counts=[(words, n) for key, (_, words) in _STATUS.items() if (n := sum(card.status == key for card in cards))],
        seconds=duration(sum(execution.seconds for execution in executions)),
        last=datetime.fromisoformat(last) if last else None,
        duration=duration,
    )
    path = out / "index.html"
    write_atomically(path, page)
    return path


def _card(notebook: Notebook, out: Path) -> _Card:
    execution = load_executions(out).get(notebook.name)
    executed = out / f"{notebook.name}{'.failed' if execution and execution.failure else ''}.ipynb"
    if execution is None or not (execution.failure or executed.is_file()):
        return _Card(notebook=notebook, status="missing", execution=None, page=None, file=None, thumbnail=None)
    unchanged = execution.fingerprint == fingerprint(notebook, execution.parameters)
    page = executed.with_suffix(".html")
    return _Card(
        notebook=notebook,
        status="failed" if execution.failure else "ok" if unchanged else "stale",
        execution=execution,
        page=page.name if page.is_file() else None,
        file=executed.name if executed.is_file() else None,
        thumbnail=_thumbnail(executed) if executed.is_file() else None,
    )


def _thumbnail(executed: Path) -> str | None:
    """The first PNG of a cell tagged `thumbnail`, else the last PNG of the notebook; None when there is none."""
    tagged, others = [], []
    for cell in json.loads(executed.read_text(encoding="utf-8"))["cells"]:
        images = [
            output["data"]["image/png"] for output in cell.get("outputs", ()) if "image/png" in output.get("data", ())
        ]
        (tagged if "thumbnail" in cell["metadata"].get("tags", ()) else others).extend(images)
    if not tagged + others:
        return None
    image = tagged[0] if tagged else others[-1]
    return _data_uri(image if isinstance(image, str) else "".join(image))


def _data_uri(encoded: str) -> str | None:
    """A PNG as the page carries it: no larger than it is shown; None when it cannot be read."""
    from PIL import Image

    try:
        png = base64.b64decode(encoded)
        with Image.open(io.BytesIO(png)) as image:
            if image.width > _THUMBNAIL_WIDTH:
                height = max(1, round(image.height * _THUMBNAIL_WIDTH / image.width))
                smaller = image.convert("RGBA").resize((_THUMBNAIL_WIDTH, height), Image.Resampling.LANCZOS)
                buffer = io.BytesIO()
                smaller.save(buffer, format="PNG", optimize=True)
                png = buffer.getvalue()
    except (binascii.Error, OSError):
        return None
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
