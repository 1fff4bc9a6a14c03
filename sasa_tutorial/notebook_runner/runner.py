"""Execute the series: what is new or changed, one notebook after the other, whatever becomes of the one before."""

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sasa_tutorial import paths
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.notebook_runner.execution import NotebookFailedError, execute
from sasa_tutorial.notebook_runner.index import write_index
from sasa_tutorial.notebook_runner.notebooks import Notebook, find_notebooks, select
from sasa_tutorial.notebook_runner.outcomes import NotebookResult
from sasa_tutorial.notebook_runner.records import Execution, fingerprint, load_executions, save_execution
from sasa_tutorial.notebook_runner.rendering import render
from sasa_tutorial.notebook_runner.report import Progress, result_line, summary

CELL_TIMEOUT = 3600.0  # seconds; the longest training cell of the profile "full" takes minutes


def run_series(
    *,
    profile: str,
    seed: int = 0,
    only: Sequence[str] = (),
    out: Path | None = None,
    fresh: bool = False,
    timeout: float = CELL_TIMEOUT,
    folder: Path | None = None,
) -> list[NotebookResult]:
    """Execute the notebooks and write them, each as an HTML page too, and an `index.html` of the whole series.

    A notebook whose last execution succeeded and whose sources are unchanged since is skipped. A failure does not stop
    the run: what was reached is kept as `<name>.failed.ipynb`, and an older success stays where it is. Ctrl-C leaves
    every finished notebook in place, none half-written, and no kernel behind, and comes out as KeyboardInterrupt.

    Args:
        profile: the size of the run, passed to every notebook.
        seed: passed to every notebook.
        only: numbers, names or parts of names; empty means all.
        out: where the results go; `build/notebooks` by default.
        fresh: execute what is unchanged, too.
        timeout: seconds for one cell.
        folder: where the notebooks are; the checkout's `notebooks/` by default.

    Raises:
        TutorialError: there are no notebooks here.
        ValueError: an entry of `only` means no notebook, a notebook file is damaged, or the timeout is not positive.
        TutorialError: papermill is not installed.
    """
    if timeout <= 0:
        raise ValueError(f"timeout must be positive, got {timeout}")
    if importlib.util.find_spec("papermill") is None:
        raise TutorialError("executing notebooks needs papermill: pip install 'sasa-tutorial[notebooks]'")
    chosen = select(find_notebooks(folder), only)
    out = (out or paths.build_root() / "notebooks").resolve()
    out.mkdir(parents=True, exist_ok=True)

    results: list[NotebookResult] = []
    began = time.monotonic()
    width = max(len(notebook.name) for notebook in chosen)
    try:
        with Progress(cells=sum(len(n.cells) for n in chosen), name_width=width) as progress, _profile_set(profile):
            for notebook in chosen:
                progress.start(notebook.name, len(notebook.cells))
                result = _skipped(notebook, profile, seed, out) if not fresh else None
                result = result or _executed(notebook, profile, seed, out, timeout, progress.cell)
                progress.finish(notebook.name, result_line(result))
                results.append(result)
    except KeyboardInterrupt:
        print("\nInterrupted. Finished notebooks are kept; the same command goes on from here.", file=sys.stderr)
        raise
    finally:
        index = write_index(out, folder=folder)
    print(summary(results, seconds=time.monotonic() - began, index=index))
    return results


def _skipped(notebook: Notebook, profile: str, seed: int, out: Path) -> NotebookResult | None:
    """The result of a notebook that needs no execution; None when it needs one."""
    output = out / f"{notebook.name}.ipynb"
    last = load_executions(out).get(notebook.name)
    if last is None or last.failure or not output.is_file():
        return None
    if last.fingerprint != fingerprint(notebook, {"profile": profile, "seed": seed}):
        return None
    if not output.with_suffix(".html").is_file():
        _render(notebook, output)
    return NotebookResult(name=notebook.name, status="skipped", seconds=0.0, output=output)


def _executed(
    notebook: Notebook, profile: str, seed: int, out: Path, timeout: float, on_cell: Callable[[], None]
) -> NotebookResult:
    """Execute one notebook and put the outcome in place."""
    done, failed = out / f"{notebook.name}.ipynb", out / f"{notebook.name}.failed.ipynb"
    partial = out / f".{notebook.name}.partial.ipynb"
    partial.unlink(missing_ok=True)  # of a run that was killed
    parameters = {"profile": profile, "seed": seed}
    before = fingerprint(notebook, parameters)  # what is edited meanwhile counts as a change
    failure = None
    began = time.monotonic()
    try:
        execute(notebook.path, partial, parameters, timeout=timeout, on_cell=on_cell)
    except NotebookFailedError as error:
        failure = error.failure
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    seconds = time.monotonic() - began

    for stale in (failed, failed.with_suffix(".html")):
        stale.unlink(missing_ok=True)
    output = failed if failure else done
    if partial.is_file():  # a kernel that cannot be found leaves nothing to read
        partial.replace(output)
        _render(notebook, output)
    execution = Execution(
        fingerprint=before,
        profile=profile,
        seed=seed,
        seconds=round(seconds, 2),
        finished=datetime.now().isoformat(timespec="minutes"),
        failure=failure,
    )
    save_execution(out, notebook.name, execution)
    status = "failed" if failure else "ok"
    return NotebookResult(name=notebook.name, status=status, seconds=seconds, output=output, failure=failure)


def _render(notebook: Notebook, executed: Path) -> None:
    try:
        render(notebook, executed)
    except Exception as error:  # the page is a convenience; hours of execution must not be lost to it
        print(f"{notebook.name}: no HTML page ({type(error).__name__}: {error})", file=sys.stderr)


@contextmanager
def _profile_set(profile: str) -> Iterator[None]:
    """Let `$SASA_PROFILE`, which the notebooks read, say the same as the parameter that is injected."""
    before = os.environ.get("SASA_PROFILE")
    os.environ["SASA_PROFILE"] = profile
    try:
        yield
    finally:
        if before is None:
            del os.environ["SASA_PROFILE"]
        else:
            os.environ["SASA_PROFILE"] = before
