"""What the machine can do at best, as a program sees it: how fast it multiplies and adds, how fast it copies."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from sasa_tutorial.bench.section import Part, Row, number
from sasa_tutorial.bench.setting import Setting
from sasa_tutorial.bench.timing import Times, interleaved

LEAST_BYTES = 2**29  # read and written by the copy: more than caches hold


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of what computes: large enough to keep the device busy, and its results small beside the arithmetic."""

    side: int  # of the two square matrices
    images: int  # of 32 x 32 pixels, under a 7x7 convolution
    channels: int = 256


ON_CPU, ON_GPU = Size(side=1024, images=2), Size(side=8192, images=256)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Measured rates: the ceilings of a roofline."""

    dtype: str
    size: Size
    matmul: Times
    convolution: Times  # its library may use other instructions than that of matrix products
    flops_per_second: float  # of the faster of the two; a multiply-add is 2
    copied_bytes: int  # half of them read, half written, into memory that is already there
    copy: Times
    copy_bytes_per_second: float


def measure_machine(
    setting: Setting,
    *,
    rounds: int,
    size: Size | None = None,
    least_bytes: int = LEAST_BYTES,
    done: Callable[[], None] = lambda: None,
) -> Machine:
    """The rates in the setting's dtype, with as many threads as the layers get. `done` is called after every round.

    Args:
        setting: its dtype and device count.
        rounds: of the interleaved timing.
        size: of what computes; by default what suits the device.
        least_bytes: of what is read and written together.
    """
    size = size or (ON_CPU if setting.device == "cpu" else ON_GPU)
    placed = {"device": setting.device, "dtype": getattr(torch, setting.dtype)}
    left, right, product = (torch.randn(size.side, size.side, **placed) for _ in range(3))
    images = torch.randn(size.images, size.channels, 32, 32).to(**setting.placement)
    kernel = torch.randn(size.channels, size.channels, 7, 7).to(**setting.placement)
    source = torch.randn(least_bytes // (2 * left.itemsize), **placed)
    target = torch.zeros_like(source)
    actions = {
        "matmul": partial(torch.mm, left, right, out=product),
        "convolution": partial(F.conv2d, images, kernel, padding=3),
        "copy": partial(target.copy_, source),
    }
    times = interleaved(actions, setting.device, rounds=rounds, done=done)
    flops = {"matmul": 2 * size.side**3, "convolution": 2 * images.numel() * kernel[0].numel()}
    copied = 2 * source.nbytes
    return Machine(
        dtype=setting.dtype,
        size=size,
        **times,
        flops_per_second=max(count / (1e-3 * times[name].median) for name, count in flops.items()),
        copied_bytes=copied,
        copy_bytes_per_second=copied / (1e-3 * times["copy"].median),
    )


def parts(setting: Setting, *, rounds: int) -> Iterator[Part]:
    """The section in one part."""
    yield Part("machine", "machine", rounds + 1, partial(measure_machine, setting, rounds=rounds), show)


def show(found: Row) -> str:
    """The rates that layers are held against."""
    return (
        f"The machine, in {found['dtype']}.\n\n"
        f"it computes  {found['flops_per_second'] / 1e9:.0f} GFLOP/s (the faster of a product of matrices,"
        f" {number(found['matmul']['median'])} ms, and a convolution, {number(found['convolution']['median'])} ms)\n"
        f"a copy moves {found['copy_bytes_per_second'] / 1e9:.1f} GB/s"
        f" ({found['copied_bytes'] / 1e6:.0f} MB read and written)"
    )
