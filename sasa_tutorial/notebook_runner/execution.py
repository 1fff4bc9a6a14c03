"""One notebook from the first cell to the last in a fresh kernel, or the cell that stopped it."""

import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sasa_tutorial.notebook_runner.outcomes import CellFailure

_T = TypeVar("_T")

_START_TIMEOUT = 120  # seconds for a kernel to answer; a busy machine needs more than papermill's 60
_OUTPUT_TIMEOUT = 60  # seconds for a finished cell's last output to arrive


class NotebookFailedError(RuntimeError):
    """A notebook stopped before its last cell; `failure` says where."""

    def __init__(self, failure: CellFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


def execute(
    source: Path, output: Path, parameters: Mapping[str, str | int], *, timeout: float, on_cell: Callable[[], None]
) -> None:
    """Execute a notebook in its own folder and write it with its outputs, cell by cell, to `output`.

    The kernel and the processes it started are gone when this returns or raises, Ctrl-C included.

    Args:
        source: the notebook; it is not changed.
        output: the executed notebook; after an error it holds what was reached.
        parameters: injected after the cell tagged `parameters`.
        timeout: seconds for one cell.
        on_cell: called whenever a cell begins.

    Raises:
        NotebookFailedError: a cell raised, ran out of time or took its kernel down, or no kernel started.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from sasa_tutorial.notebook_runner.kernel_processes import KernelProcesses

    begun: list[dict] = []

    def begin(cell: dict, cell_index: int) -> None:
        begun.append(cell)
        on_cell()

    def stop(error: str, message: str, index: int | None = None) -> NotebookFailedError:
        if index is None and begun and output.is_file():
            _show_error(output, len(begun) - 1, error, message)
        return NotebookFailedError(_failure(begun, error, message, index))

    with _quiet_loggers(), tempfile.TemporaryFile() as stderr, KernelProcesses(stderr) as kernels:
        try:
            executed = _in_thread(
                papermill.execute_notebook,
                kernels.kill,
                input_path=str(source.resolve()),
                output_path=str(output.resolve()),
                parameters=dict(parameters),
                kernel_name="python3",
                language="python",  # a notebook stripped of its metadata does not say
                cwd=str(source.resolve().parent),
                progress_bar=False,
                start_timeout=_START_TIMEOUT,
                execution_timeout=math.ceil(timeout),  # nbclient takes whole seconds
                iopub_timeout=_OUTPUT_TIMEOUT,
                shutdown_kernel="immediate",  # all outputs are in, and a cell that hangs would hold up a polite one
                kernel_manager_class=kernels.manager_class,
                on_cell_start=begin,
            )
        except papermill.PapermillExecutionError as error:
            raise stop(error.ename, error.evalue, error.cell_index) from None
        except CellTimeoutError:
            raise stop("CellTimeoutError", f"the cell was stopped after {math.ceil(timeout)} s") from None
        except DeadKernelError:
            raise stop("DeadKernelError", f"the kernel died: {kernels.end()}") from None
        except Exception as error:
            message = str(error) if begun else f"{error}\n{kernels.stderr()}".strip()
            raise stop(type(error).__name__, message) from error
    for index, cell in enumerate(executed.cells):
        # papermill calls a notebook that leaves through SystemExit a success, though the rest of it never ran.
        if cell.metadata.get("papermill", {}).get("exception"):
            raise stop("SystemExit", "the cells after this one did not run", index)


def _in_thread(work: Callable[..., _T], cancel: Callable[[], None], **arguments: object) -> _T:
    """Call `work` where Ctrl-C cannot reach it; on Ctrl-C call `cancel`, let the work end, and raise.

    A KeyboardInterrupt amid the event loop of nbclient breaks it at random, and with it the orderly end of a kernel.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:  # leaving the block waits for the thread
        future = pool.submit(work, **arguments)
        try:
            while not future.done():
                wait([future], timeout=0.5)  # a wait without end is deaf to Ctrl-C on Windows
        except BaseException:
            cancel()
            raise
    return future.result()


def _failure(begun: list[dict], error: str, message: str, index: int | None) -> CellFailure:
    """`index` counts the executed cells from 0; None means the last one that began."""
    if not begun:
        return CellFailure(cell=None, line="", error=error, message=message)
    index = len(begun) - 1 if index is None else index
    injected = sum("injected-parameters" in cell["metadata"].get("tags", ()) for cell in begun[:index])
    lines = begun[index]["source"].strip().splitlines()
    return CellFailure(cell=index + 1 - injected, line=lines[0] if lines else "", error=error, message=message)


def _show_error(executed: Path, index: int, error: str, message: str) -> None:
    """Give the cell in which the kernel was lost the error output that the kernel could not write any more."""
    import nbformat

    content = nbformat.read(executed, as_version=4)
    if content.cells[index].cell_type == "code":
        shown = nbformat.v4.new_output("error", ename=error, evalue=message, traceback=[f"{error}: {message}"])
        content.cells[index].outputs.append(shown)
        nbformat.write(content, executed)


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Silence what papermill, traitlets and asyncio log about errors that are reported here anyway."""
    loggers = [logging.getLogger(name) for name in ("papermill", "traitlets", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
