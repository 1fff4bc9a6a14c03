"""What a person watching a run sees: a bar in a terminal, one line per notebook, a summary at the end."""

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from sasa_tutorial.notebook_runner.outcomes import NotebookResult


class Progress:
    """A bar over all cells of a run on stderr when that is a terminal, and lines on stdout in any case.

    The bar is redrawn every second, because one training cell can take minutes and a clock that stands still looks
    like a program that hangs.
    """

    def __init__(self, *, cells: int, name_width: int) -> None:
        self.name_width = name_width
        layout = "{desc}  |{bar}| {n_fmt}/{total_fmt} cells  {elapsed}"
        # disable=None: no bar unless stderr is a terminal.
        self.bar = tqdm(total=cells, leave=False, disable=None, dynamic_ncols=True, bar_format=layout)
        self._closed = threading.Event()

    def __enter__(self) -> "Progress":
        if not self.bar.disable:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()
        self.bar.close()

    def start(self, name: str, cells: int) -> None:
        """A notebook with so many cells begins."""
        self._begun = 0
        self._first, self._end = self.bar.n, self.bar.n + cells
        self.bar.set_description_str(name.ljust(self.name_width))

    def cell(self) -> None:
        """One of its cells begins; the cells before it are done."""
        self._begun += 1
        # At least one is left while this one runs: papermill adds a cell, the injected parameters.
        self._move(min(self._first + self._begun, self._end) - 1)

    def finish(self, name: str, text: str) -> None:
        """The notebook ended, with whatever cells it has not reached; its line goes above the bar."""
        self._move(self._end)
        with self.bar.external_write_mode(file=sys.stdout):
            print(f"{name.ljust(self.name_width)}   {text}", flush=True)

    def _move(self, cells: int) -> None:
        self.bar.n = cells
        self.bar.refresh()

    def _tick(self) -> None:
        while not self._closed.wait(1.0):
            self.bar.refresh()


def duration(seconds: float) -> str:
    """12.34 -> "12.3 s", 754 -> "12 min 34 s", 7260 -> "2 h 01 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def result_line(result: NotebookResult) -> str:
    """One notebook's line in the log, without its name."""
    if result.status == "skipped":
        return "skipped (unchanged)"
    return f"{'FAILED' if result.failure else 'ok':<6} {duration(result.seconds):>10}"


def summary(results: Sequence[NotebookResult], *, seconds: float, index: Path) -> str:
    """The last words of a run: how many of each, every failure with the way to see it, the page to open."""
    counts = {status: sum(result.status == status for result in results) for status in ("ok", "skipped", "failed")}
    lines = ["", f"{', '.join(f'{n} {status}' for status, n in counts.items() if n)} in {duration(seconds)}"]
    for result in results:
        if result.failure:
            place = "before its first cell" if result.failure.cell is None else f"in cell {result.failure.cell}"
            source = f":  {result.failure.line}" if result.failure.line else ""
            lines += ["", f"{result.name} failed {place}{source}"]
            lines += [f"    {line}" for line in str(result.failure).splitlines()]
            if result.output.is_file():
                lines.append(f"    open it:  jupyter lab {nearby(result.output)}")
    return "\n".join([*lines, "", f"All notebooks: {nearby(index)}"])


def nearby(path: Path) -> str:
    """A path as one would type it: relative when it lies under the current folder."""
    here = Path.cwd()
    return os.fspath(path.relative_to(here) if path.is_relative_to(here) else path)
