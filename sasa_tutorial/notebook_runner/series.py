"""Execute the series: what is new or changed, two notebooks side by side, whatever becomes of the others."""

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tqdm import tqdm

from sasa_tutorial import paths
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.notebook_runner.execution import NotebookExecution, NotebookFailedError
from sasa_tutorial.notebook_runner.notebooks import Notebook, find_notebooks, select
from sasa_tutorial.notebook_runner.outcomes import (
    CellFailure,
    Execution,
    Executions,
    NotebookResult,
    duration,
    executed_file,
)
from sasa_tutorial.notebook_runner.pages import index_of, render

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
    side_by_side: int | None = None,
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
        side_by_side: how many notebooks at a time; by default what suits the machine.

    Returns:
        One result a notebook, in the order of the series.

    Raises:
        TutorialError: there are no notebooks here, or papermill is not installed; the results cannot be written; a
            notebook does not have the parameters it would be given.
        ValueError: an entry of `only` means no notebook, a notebook file is damaged, or the timeout is not positive.
    """
    if timeout <= 0:
        raise ValueError(f"timeout must be positive, got {timeout}")
    if importlib.util.find_spec("papermill") is None:
        raise TutorialError("executing notebooks needs papermill: pip install 'sasa-tutorial[notebooks]'")
    notebooks = find_notebooks(folder)
    chosen = select(notebooks, only)
    for notebook in chosen:
        _check_parameters(notebook)
    out = (out or paths.build_root() / "notebooks").resolve()
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "writable").touch()
        (out / "writable").unlink()
    except OSError as error:
        raise TutorialError(
            f"{out} cannot be written ({error}). Name another folder with --out, or in the variable SASA_BUILD."
        ) from error
    began = time.monotonic()
    run = _Run(list(chosen), Executions(out), out, profile, seed, fresh, timeout, side_by_side or _suitable())
    try:
        run.run()
    except KeyboardInterrupt:
        print("\nInterrupted. Finished notebooks are kept; the same command goes on from here.", file=sys.stderr)
        raise
    finally:
        index = index_of(notebooks, run.executions, out)
    results = [run.results[notebook.name] for notebook in chosen]
    print(_summary(results, seconds=time.monotonic() - began, index=index))
    return results


def _check_parameters(notebook: Notebook) -> None:
    """Refuse what papermill would only warn of: a parameter that no cell reads."""
    given = {"profile", "seed"}
    if notebook.parameters is not None and (unknown := sorted(given - notebook.parameters)):
        raise TutorialError(
            f"{notebook.path.name} has no parameter {' or '.join(unknown)}: its cell tagged `parameters` must set "
            f"{' and '.join(sorted(given))}, it sets {', '.join(sorted(notebook.parameters)) or 'nothing'}"
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _suitable() -> int:
    """How many notebooks at a time.

    Most of a notebook is the work of one thread: starting, drawing, layers too small to be divided. Two at a time keep
    two cores busy. On a GPU one at a time: its memory, and what the lessons time on it, is not for two.
    """
    from sasa_tutorial.devices import gpu_available  # PyTorch is slow to import, and --help needs none of it

    return 1 if gpu_available() or _cores() < 2 else 2


@dataclass
class _Run:
    waiting: list[Notebook]
    executions: Executions
    out: Path
    profile: str
    seed: int
    fresh: bool
    timeout: float
    side_by_side: int
    running: dict[Future, tuple[Notebook, NotebookExecution]] = field(default_factory=dict)
    results: dict[str, NotebookResult] = field(default_factory=dict)
    cells: int = 0  # of finished notebooks

    def run(self) -> None:
        layout = "{desc}  |{bar}| {n_fmt}/{total_fmt} cells  {elapsed}"
        total = sum(len(notebook.cells) for notebook in self.waiting)
        self.width = max(len(notebook.name) for notebook in self.waiting)
        # disable=None: no bar unless stderr is a terminal.
        self.bar = tqdm(total=total, leave=False, disable=None, dynamic_ncols=True, bar_format=layout)
        # Notebooks run in threads of their own, where Ctrl-C cannot reach them: amid the event loop of nbclient it
        # would break that at random, and with it the orderly end of a kernel. Leaving the pool waits for them.
        # Importing papermill, which takes seconds, happens there, too.
        with self.bar, ThreadPoolExecutor(max_workers=self.side_by_side) as pool:
            try:
                while self.waiting or self.running:
                    self._start(pool)
                    self._show()
                    # Woken twice a second, because one training cell can take minutes, and a clock that stands still
                    # looks like a program that hangs; and a wait without end is deaf to Ctrl-C on Windows.
                    finished, _ = wait(self.running, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in finished:
                        notebook, _ = self.running.pop(future)
                        self._finish(notebook, future.result())
            except BaseException:
                for _, execution in self.running.values():
                    execution.stop()
                raise

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Fill the places that are free, in the order of the series as far as that goes."""
        for notebook in list(self.waiting):
            # A run is trained by one process at a time: 00 and 01, which train the same network, go one after the
            # other. The second finds the run finished.
            busy = {model for other, _ in self.running.values() for model in other.trains}
            if len(self.running) == self.side_by_side or busy & notebook.trains:
                continue
            self.waiting.remove(notebook)
            if self._is_done(notebook):
                self._finish(notebook, None)
                continue
            partial = self.out / f".{notebook.name}.partial.ipynb"
            parameters = {"profile": self.profile, "seed": self.seed}
            execution = NotebookExecution(notebook.path, partial, parameters, self._environment(), self.timeout)
            self.running[pool.submit(self._executed, notebook, execution)] = notebook, execution

    def _environment(self) -> dict[str, str]:
        """What the kernels find in their environment; what the caller has set about threads stands."""
        variables = {"SASA_PROFILE": self.profile, "SASA_PROGRESS": "off"}  # a page would keep an unfinished bar
        if self.side_by_side > 1:
            # Threads beyond the cores that are free wait for each other: with one thread for each notebook and core,
            # nobody waits.
            variables["OMP_NUM_THREADS"] = str(max(1, _cores() // self.side_by_side))
        # Threads that wait spin, unless told otherwise, and take the core from those they wait for: beside one busy
        # process notebook 09 took 4 min 23 s so, and 38 s with threads that sleep. For notebooks only: a training that
        # has the machine to itself is slower by a quarter with sleeping threads.
        variables["OMP_WAIT_POLICY"] = "PASSIVE"
        own = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY") if name in os.environ}
        return variables | own

    def _is_done(self, notebook: Notebook) -> bool:
        """Whether it needs no execution."""
        last, output = self.executions.last.get(notebook.name), executed_file(self.out, notebook.name)
        if self.fresh or last is None or last.failure or not output.is_file():
            return False
        if last.fingerprint != self.executions.fingerprint(notebook, self.profile, self.seed):
            return False
        if not output.with_suffix(".html").is_file():
            _render(notebook, output)
        return True

    def _executed(self, notebook: Notebook, execution: NotebookExecution) -> Execution:
        """Execute one notebook and put the outcome in place; when the run is stopped meanwhile, there is none."""
        failure: CellFailure | None = None
        execution.output.unlink(missing_ok=True)  # of a run that was killed
        began = time.monotonic()
        try:
            execution.run()
        except NotebookFailedError as error:
            failure = error.failure
        record = Execution(
            fingerprint=self.executions.fingerprint(notebook, self.profile, self.seed),
            profile=self.profile,
            seed=self.seed,
            seconds=round(time.monotonic() - began, 2),
            finished=datetime.now().isoformat(timespec="minutes"),
            failure=failure,
        )
        if execution.stopped:
            execution.output.unlink(missing_ok=True)
            return record
        failed = executed_file(self.out, notebook.name, failed=True)
        for stale in (failed, failed.with_suffix(".html")):
            stale.unlink(missing_ok=True)
        if execution.output.is_file():  # a kernel that cannot be found leaves nothing to read
            output = execution.output.replace(executed_file(self.out, notebook.name, failed=failure is not None))
            _render(notebook, output)
        return record

    def _finish(self, notebook: Notebook, record: Execution | None) -> None:
        """Keep the outcome; a skipped notebook has no new record. Its line goes above the bar."""
        failure, seconds = (record.failure, record.seconds) if record else (None, 0.0)
        text = f"{'FAILED' if failure else 'ok':<6} {duration(seconds):>10}" if record else "skipped (unchanged)"
        if record:
            self.executions.add(notebook.name, record)
        self.results[notebook.name] = NotebookResult(
            name=notebook.name,
            status="failed" if failure else "ok" if record else "skipped",
            seconds=seconds,
            output=executed_file(self.out, notebook.name, failed=failure is not None),
            failure=failure,
        )
        self.cells += len(notebook.cells)
        with self.bar.external_write_mode(file=sys.stdout):
            print(f"{notebook.name.ljust(self.width)}   {text}", flush=True)

    def _show(self) -> None:
        """The bar: the notebooks that run, and the cells that are done."""
        running = self.running.values()
        # At least one cell is left while a notebook runs: papermill adds one, with the injected parameters.
        begun = sum(max(0, min(len(execution.begun), len(notebook.cells)) - 1) for notebook, execution in running)
        self.bar.set_description_str(", ".join(notebook.name for notebook, _ in running), refresh=False)
        self.bar.n = self.cells + begun
        self.bar.refresh()


def _render(notebook: Notebook, executed: Path) -> None:
    try:
        render(notebook, executed)
    except Exception as error:  # the page is a convenience; hours of execution must not be lost to it
        print(f"{notebook.name}: no HTML page ({type(error).__name__}: {error})", file=sys.stderr)


def _summary(results: Sequence[NotebookResult], *, seconds: float, index: Path) -> str:
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
                lines.append(f"    open it:  jupyter lab {_nearby(result.output)}")
    return "\n".join([*lines, "", f"All notebooks: {_nearby(index)}"])


def _nearby(path: Path) -> str:
    """A path as one would type it: relative when it lies under the current folder."""
    here = Path.cwd()
    return os.fspath(path.relative_to(here) if path.is_relative_to(here) else path)
