"""The floor under attention on a GPU: the time to move its tensors once, at the speed of a plain copy."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from sasa_tutorial import kernels
from sasa_tutorial.bench.section import Part, Row, described, number, quartiles
from sasa_tutorial.bench.setting import Setting
from sasa_tutorial.bench.timing import Times, interleaved

# Far more than any GPU's cache holds, and long enough that launching the kernel is not what is measured.
LEAST_BYTES = 2**29


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The operator alone, without projections: forward."""

    setting: Setting
    moved_bytes: int  # q, k and v read, out written, each once
    copy: Times  # of as many bytes, half of them read and half written: the floor
    copy_bytes_per_second: float
    forward: Times
    of_floor: float  # forward / copy


def measure_floor(
    setting: Setting, *, rounds: int, least_bytes: int = LEAST_BYTES, done: Callable[[], None] = lambda: None
) -> Floor:
    """Attention by the automatic backend next to a copy, interleaved. `done` is called after every round.

    Args:
        setting: its batch is raised until the tensors have least_bytes.
        rounds: of the interleaved timing.
        least_bytes: of q, k, v and out together.
    """
    batch = max(setting.batch, math.ceil(least_bytes * setting.batch / setting.layer_bytes))
    setting = replace(setting, batch=batch)
    d = setting.channels // setting.heads
    placed = {"device": setting.device, "dtype": getattr(torch, setting.dtype)}
    q, k, v = (torch.randn(batch, setting.heads, d, setting.size, setting.size, **placed) for _ in range(3))
    row, col = (torch.randn(half, setting.kernel_size, **placed) for half in (d // 2, d - d // 2))
    source = torch.randn(setting.layer_bytes // (2 * q.itemsize), **placed)
    actions = {
        "copy": partial(torch.empty_like(source).copy_, source),
        "attention": partial(kernels.local_attention, q, k, v, row, col, kernel_size=setting.kernel_size),
    }
    with torch.no_grad():
        times = interleaved(actions, setting.device, rounds=rounds, done=done)
    copy, forward = times["copy"], times["attention"]
    return Floor(
        setting=setting,
        moved_bytes=setting.layer_bytes,
        copy=copy,
        copy_bytes_per_second=setting.layer_bytes / (1e-3 * copy.median),
        forward=forward,
        of_floor=forward.median / copy.median,
    )


def parts(setting: Setting, *, rounds: int) -> Iterator[Part]:
    """The section in one part."""
    yield Part("floor", "floor", rounds + 1, partial(measure_floor, setting, rounds=rounds), show)


def show(found: Row) -> str:
    """The operator's time as a multiple of what moving its tensors takes."""
    return (
        f"The floor, at {described(found['setting'])}.\n\n"
        f"q, k, v and out   {found['moved_bytes'] / 1e6:.0f} MB\n"
        f"a copy moves      {found['copy_bytes_per_second'] / 1e9:.0f} GB/s\n"
        f"floor             {number(found['copy']['median'])} ms\n"
        f"forward           {number(found['forward']['median'])} ms, quartiles {quartiles(found['forward'])}\n"
        f"forward / floor   {number(found['of_floor'])}"
    )
