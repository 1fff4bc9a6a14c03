"""The kernels of a notebook as operating-system processes: killed when told, and never left behind."""

import signal
from types import TracebackType
from typing import BinaryIO

from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync


class KernelProcesses:
    """Kernels started through `manager_class` inside the block are dead after it, with the processes they started.

    nbclient looks after a kernel that is running cells; one that is still starting when Ctrl-C comes, or that has died
    and left children behind, is nobody's. What a kernel process itself writes to stderr, beside the outputs of cells,
    goes to the file `stderr`: it would tear the progress bar, and matters only when a kernel does not start.
    """

    def __init__(self, stderr: BinaryIO) -> None:
        owner = self
        self._stderr = stderr
        self._managers: list[AsyncKernelManager] = []
        self._stopped = False

        class KernelManager(AsyncKernelManager):
            async def start_kernel(self, **settings: object) -> None:
                owner._managers.append(self)
                await super().start_kernel(**settings, stderr=stderr)
                if owner._stopped:  # `kill` came from the other thread while there was nothing to kill yet
                    await self.provisioner.kill()

        self.manager_class = KernelManager

    def __enter__(self) -> "KernelProcesses":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill every kernel with its process group, also one that is only about to start; callable from any thread."""
        self._stopped = True
        for manager in self._managers:
            if manager.has_kernel:
                run_sync(manager.provisioner.kill)()

    def end(self) -> str:
        """How the last kernel's process ended, as far as one can know."""
        provisioner = self._managers[-1].provisioner if self._managers else None
        code = run_sync(provisioner.poll)() if provisioner else None
        if code is None:
            return "no answer from its process"
        if code >= 0:
            return f"exit code {code}"
        return signal.Signals(-code).name + (", as when memory runs out" if code == -signal.SIGKILL else "")

    def stderr(self) -> str:
        """The last three lines the kernels wrote, without warnings: why one did not start."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").splitlines()
        return "\n".join([line for line in lines if line.strip() and "WARNING" not in line][-3:])
