"""Starting Triton programs on machines nobody has seen: what can go wrong there is said once, and work goes on.

Triton compiles at the first call, and to start what it compiled it has the machine's C compiler build a little library.
So the first call fails where there is no compiler, where Python's headers are missing, where the driver is older than
the code, and for some numbers on some devices: Triton 3.2 has no bfloat16 for a T4. A tiny program is tried before the
backend is offered. What only the real ones run into, such as too little shared memory, is found when they start.
"""

import functools
import os
import subprocess
import warnings
from collections.abc import Hashable
from contextlib import nullcontext

import torch
from torch import Tensor

from sasa_tutorial.kernels.modes import constant_when_compiled

LARGEST_INT = 2**31 - 1
# Why, by what the programs were for: compiling them again would take as long and fail again.
_FAILED: dict[Hashable, str] = {}


class NotStarted(Exception):
    """Why a program could not be compiled or started."""


@constant_when_compiled
def interpreting() -> bool:
    """Whether Triton runs its programs without compiling them, on CPU tensors, for tests."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes")


@functools.cache
def probe(dtype: torch.dtype) -> str:
    """Why no Triton program with numbers of this type runs here; empty where one does."""
    try:
        from sasa_tutorial.kernels.triton.probe_program import double

        number = torch.ones(1, dtype=dtype, device="cuda")
        doubled = torch.zeros_like(number)
        start(double, (1,), number, doubled)
        right = doubled.item() == 2
    except NotStarted as failure:
        return str(failure)
    except Exception as error:  # importing Triton, or waiting for the device: anything may be wrong with either
        return reason(error)
    return "" if right else "a program that doubles a number returned something else"


def start(program, grid: tuple[int, ...], *arguments, **options) -> None:
    """Starts a program.

    Raises:
        NotStarted: it does not compile or does not start here, whatever Triton raised.
    """
    try:
        program[grid](*arguments, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton has no base class for what its compiler, the C compiler and the driver raise
        raise NotStarted(reason(error)) from error


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, subprocess.CalledProcessError):
        program = error.cmd[0] if isinstance(error.cmd, list | tuple) else error.cmd
        return f"{program} failed (Triton needs a C compiler and Python's headers, package python3-dev)"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def failed(what: Hashable) -> bool:
    """Whether programs for this have failed before."""
    return what in _FAILED


def give_up(what: Hashable, failure: NotStarted) -> None:
    """Remembers the failure, and says it the first time."""
    if str(failure) not in _FAILED.values():
        warnings.warn(
            f"local attention goes on in plain PyTorch, slower: its Triton program did not start here ({failure})",
            RuntimeWarning,
            stacklevel=2,
        )
    _FAILED[what] = str(failure)


def given(q: Tensor, k: Tensor | None, row: Tensor | None, col: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """k, row and col. Pointers have to point somewhere: what was not given is q, and not read."""
    return (q if k is None else k), *(q if table is None else table.contiguous() for table in (row, col))


def strides(*tensors: Tensor) -> tuple[int, ...]:
    """Those of all axes of all tensors, in order."""
    return tuple(stride for x in tensors for stride in x.stride())


def device_of(q: Tensor) -> torch.cuda.device | nullcontext:
    """Where programs start that are started within the block."""
    return torch.cuda.device(q.device) if q.device.type == "cuda" else nullcontext()
