"""One notebook from the first cell to the last in a fresh kernel, or the cell that stopped it."""

import logging
import math
import os
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from sasa_tutorial.notebook_runner.outcomes import CellFailure

_START_TIMEOUT = 120  # seconds for a kernel to answer; a busy machine needs more than papermill's 60
_OUTPUT_TIMEOUT = 60  # seconds for a finished cell's last output to arrive

for _name in ("papermill", "traitlets", "asyncio"):  # what they log about errors is reported here anyway
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class NotebookFailedError(RuntimeError):
    """A notebook stopped before its last cell; `failure` says where."""

    def __init__(self, failure: CellFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


@dataclass(eq=False)
class NotebookExecution:
    """One notebook, executed in its own folder and written with its outputs, cell by cell, to another file."""

    source: Path  # it is not changed
    output: Path  # the executed notebook; after an error it holds what was reached
    parameters: dict[str, str | int]  # injected after the cell tagged `parameters`
    environment: dict[str, str]  # variables for the kernel, beside those of this process
    timeout: float  # seconds for one cell
    stopped: bool = False
    begun: list[dict] = field(default_factory=list)  # the cells so far, the one with the injected parameters among them
    _managers: list = field(default_factory=list)  # of kernels

    def run(self) -> None:
        """Execute it. The kernel and the processes it started are gone when this returns or raises.

        Raises:
            NotebookFailedError: a cell raised, ran out of time or took its kernel down, or no kernel started.
        """
        import papermill
        from nbclient.exceptions import CellTimeoutError, DeadKernelError

        with tempfile.TemporaryFile() as stderr:
            try:
                executed = papermill.execute_notebook(
                    input_path=str(self.source.resolve()),
                    output_path=str(self.output.resolve()),
                    parameters=self.parameters,
                    kernel_name="python3",
                    language="python",  # a notebook stripped of its metadata does not say
                    progress_bar=False,
                    start_timeout=_START_TIMEOUT,
                    execution_timeout=math.ceil(self.timeout),  # nbclient takes whole seconds
                    iopub_timeout=_OUTPUT_TIMEOUT,
                    shutdown_kernel="immediate",  # all outputs are in, and a cell that hangs would hold up a polite one
                    kernel_manager_class=self._manager_class(stderr),
                    on_cell_start=lambda cell, cell_index: self.begun.append(cell),
                )
            except papermill.PapermillExecutionError as error:
                raise self._failed(error.ename, error.evalue, error.cell_index) from None
            except CellTimeoutError:
                message = f"the cell was stopped after {math.ceil(self.timeout)} s"
                raise self._lost("CellTimeoutError", message) from None
            except DeadKernelError:
                raise self._lost("DeadKernelError", f"the kernel died: {self._end()}") from None
            except Exception as error:
                message = str(error) if self.begun else f"{error}\n{_last_lines(stderr)}".strip()
                raise self._lost(type(error).__name__, message) from error
            finally:
                self._kill()
        for index, cell in enumerate(executed.cells):
            # papermill calls a notebook that leaves through SystemExit a success, though the rest of it never ran.
            if cell.metadata.get("papermill", {}).get("exception"):
                raise self._failed("SystemExit", "the cells after this one did not run", index)

    def stop(self) -> None:
        """Kill every kernel with its process group, also one that is only about to start; callable from any thread."""
        self.stopped = True
        self._kill()

    def _manager_class(self, stderr: object) -> type:
        """A kernel manager whose kernels are known here.

        nbclient looks after a kernel that is running cells; one that is still starting when Ctrl-C comes, or that has
        died and left children behind, is nobody's. The folder is the kernel's alone, as papermill would change that of
        the whole process, other notebooks included. What the kernel itself writes to stderr, beside the outputs of
        cells, goes to a file: it would tear the progress bar, and matters only when a kernel does not start.
        """
        from jupyter_client.manager import AsyncKernelManager

        execution, settings = self, {"cwd": str(self.source.resolve().parent), "env": os.environ | self.environment}

        class KernelManager(AsyncKernelManager):
            async def start_kernel(self, **given: object) -> None:
                execution._managers.append(self)
                await super().start_kernel(**given | settings, stderr=stderr)
                if execution.stopped:  # `stop` came from the other thread while there was nothing to kill yet
                    await self.provisioner.kill()

        return KernelManager

    def _kill(self) -> None:
        from jupyter_core.utils import run_sync

        for manager in self._managers:
            if manager.has_kernel:
                run_sync(manager.provisioner.kill)()

    def _end(self) -> str:
        """How the last kernel's process ended, as far as one can know."""
        from jupyter_core.utils import run_sync

        provisioner = self._managers[-1].provisioner if self._managers else None
        code = run_sync(provisioner.poll)() if provisioner else None
        if code is None:
            return "no answer from its process"
        if code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name
        return name + (", as when memory runs out" if name == "SIGKILL" else "")

    def _lost(self, error: str, message: str) -> NotebookFailedError:
        """The kernel is gone; its last cell gets the error output that the kernel could not write any more."""
        import nbformat

        index = len(self.begun) - 1
        if self.begun and self.output.is_file():
            content = nbformat.read(self.output, as_version=4)
            if content.cells[index].cell_type == "code":
                shown = nbformat.v4.new_output("error", ename=error, evalue=message, traceback=[f"{error}: {message}"])
                content.cells[index].outputs.append(shown)
                nbformat.write(content, self.output)
        return self._failed(error, message, index)

    def _failed(self, error: str, message: str, index: int) -> NotebookFailedError:
        """`index` counts the executed cells from 0."""
        if not self.begun:
            return NotebookFailedError(CellFailure(cell=None, line="", error=error, message=message))
        injected = sum("injected-parameters" in cell["metadata"].get("tags", ()) for cell in self.begun[:index])
        line = self.begun[index]["source"].strip().partition("\n")[0]
        return NotebookFailedError(CellFailure(cell=index + 1 - injected, line=line, error=error, message=message))


def _last_lines(stderr: object) -> str:
    """The last three lines a kernel wrote, without warnings: why it did not start."""
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").splitlines()
    return "\n".join([line for line in lines if line.strip() and "WARNING" not in line][-3:])
