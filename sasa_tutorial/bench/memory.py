"""How much memory an action adds at its peak: on a CPU in a process of its own, whose memory nothing else has used."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sasa_tutorial.devices import begin_peak, on_gpu, peak_memory, wait_for
from sasa_tutorial.errors import TutorialError

S = TypeVar("S")
Prepare = Callable[[str, S], tuple[Callable[[], object], Callable[[], object]]]
"""(name, setting) -> a small action that does whatever only happens once, and the action itself."""


def peak_growth(prepare: Prepare[S], name: str, setting: S) -> int | None:
    """Bytes between the resident memory before the action and its peak during it; None where the system does not tell.
    On a GPU, what PyTorch's allocator handed out at its peak, less what was in use before.

    Args:
        prepare: a function of a module; the other process imports it from there.
        name: of the subject.
        setting: with a `device`.

    Raises:
        TutorialError: the process ended without a number.
    """
    if on_gpu(setting.device):
        return _on_a_gpu(*prepare(name, setting), setting.device)
    command = [sys.executable, "-m", "sasa_tutorial.bench.memory"]
    done = subprocess.run(command, input=pickle.dumps((prepare, name, setting)), capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it was killed, perhaps for its memory"]
        raise TutorialError(f"the memory of {name!r} could not be measured at {setting}: {said[-1]}")
    return json.loads(done.stdout)


def _on_a_gpu(first: Callable[[], object], action: Callable[[], object], device: str) -> int:
    first()
    wait_for(device)
    before = begin_peak(device)
    action()
    return peak_memory(device) - before


def _of_this_process(first: Callable[[], object], action: Callable[[], object]) -> int | None:
    first()
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        reset.write_text("5", encoding="ascii")  # the peak starts again from here
        before = _kilobytes(status, "VmRSS")
        action()
        return 1024 * (_kilobytes(status, "VmHWM") - before)
    except OSError:
        return None


def _kilobytes(status: Path, field: str) -> int:
    (line,) = [
        line
        for line in status.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith(field + ":")
    ]
    return int(line.split()[1])


if __name__ == "__main__":
    prepare, *arguments = pickle.load(sys.stdin.buffer)
    print(json.dumps(_of_this_process(*prepare(*arguments))))
