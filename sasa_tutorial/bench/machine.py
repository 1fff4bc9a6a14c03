"""What the machine can do at best, as a program sees it: the rates of a matrix product and of a copy."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from sasa_tutorial.bench.setting import Setting
from sasa_tutorial.bench.timing import Times, interleaved

SIDE_ON_CPU, SIDE_ON_GPU = 1024, 8192  # of the matrices
LEAST_BYTES = 2**29  # read and written by the copy: more than caches hold


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Two measured rates: the ceilings of a roofline."""

    dtype: str
    side: int  # of the two square matrices
    matmul: Times
    matmul_flops_per_second: float  # a multiply-add is 2
    copied_bytes: int  # half of them read, half written, into memory that is already there
    copy: Times
    copy_bytes_per_second: float


def measure_machine(
    setting: Setting,
    *,
    rounds: int,
    side: int | None = None,
    least_bytes: int = LEAST_BYTES,
    done: Callable[[], None] = lambda: None,
) -> Machine:
    """Both rates in the setting's dtype, with as many threads as the layers get. `done` is called after every round.

    Args:
        setting: its dtype and device count.
        rounds: of the interleaved timing.
        side: of the matrices; by default what keeps the device busy.
        least_bytes: of what is read and written together.
    """
    side = side or (SIDE_ON_CPU if setting.device == "cpu" else SIDE_ON_GPU)
    placed = {"device": setting.device, "dtype": getattr(torch, setting.dtype)}
    left, right, product = (torch.randn(side, side, **placed) for _ in range(3))
    source = torch.randn(least_bytes // (2 * left.itemsize), **placed)
    target = torch.zeros_like(source)
    actions = {
        "matmul": partial(torch.mm, left, right, out=product),
        "copy": partial(target.copy_, source),
    }
    times = interleaved(actions, setting.device, rounds=rounds, done=done)
    copied = 2 * source.nbytes
    return Machine(
        dtype=setting.dtype,
        side=side,
        matmul=times["matmul"],
        matmul_flops_per_second=2 * side**3 / (1e-3 * times["matmul"].median),
        copied_bytes=copied,
        copy=times["copy"],
        copy_bytes_per_second=copied / (1e-3 * times["copy"].median),
    )
