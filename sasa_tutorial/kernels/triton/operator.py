"""Local attention in Triton on a CUDA device: logits and weights that never leave the registers.

The arithmetic is in `programs.py`, in float32 whatever the inputs are; here it is decided how many pixels a program
takes, and tensors become pointers and strides. No block size is searched for by trial and nothing is added atomically,
so two runs on one device give the same bits.

Triton is imported at the first call: where there is none (macOS, Windows, builds of PyTorch for the CPU) the rest of
the package works without. With TRITON_INTERPRET=1 in the environment the programs run on CPU tensors, slowly, for
tests.
"""

import functools
import importlib.util
import math
from collections.abc import Hashable

import torch
from torch import Tensor

from sasa_tutorial.kernels import streaming
from sasa_tutorial.kernels.inputs import Inputs
from sasa_tutorial.kernels.modes import constant_when_compiled
from sasa_tutorial.kernels.operators import empty_lse, operator
from sasa_tutorial.kernels.triton import launching, tiled

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LARGEST_D = 128
CELLS = 9  # of a window row that are unrolled: the windows of the paper's networks, k = 7, are one segment


def why_unavailable() -> str:
    """Why this backend cannot run here; empty where it can."""
    return _problem(launching.interpreting())


def refuses(inputs: Inputs) -> str:
    """Why it cannot take these tensors; empty where it can."""
    q, v = inputs.q, inputs.v
    if q.device.type != "cuda" and not (q.device.type == "cpu" and launching.interpreting()):
        return f"it computes on CUDA devices, and the tensors are on {q.device}"
    if q.dtype not in DTYPES or v.dtype not in DTYPES:
        other = q.dtype if q.dtype not in DTYPES else v.dtype
        return f"it computes in float32 and takes float32, bfloat16 and float16, got {other}"
    if q.shape != v.shape:
        return f"it needs as many value channels as query channels, got {v.shape[2]} and {q.shape[2]}"
    if q.shape[2] > LARGEST_D:
        return f"it takes at most {LARGEST_D} channels a head, got {q.shape[2]}"
    return "" if q.device.type == "cpu" else _probed(q.dtype) or _probed(v.dtype)


def forward(inputs: Inputs, reach: list[int]) -> tuple[Tensor, Tensor]:
    """The weighted sum of the values in each window, and lse."""
    what = _kind(inputs)
    if not launching.failed(what):
        try:
            return _forward(inputs, reach)
        except launching.NotStarted as failure:
            launching.give_up(what, failure)
    return streaming.forward(inputs, reach)


def _kind(inputs: Inputs) -> tuple[Hashable, ...]:
    """What programs are compiled for: where one kind does not start, another may."""
    q, k, _, row, _ = inputs
    return q.device, q.dtype, q.shape[2], k is None, row is None


def _forward(inputs: Inputs, reach: list[int]) -> tuple[Tensor, Tensor]:
    q, k, v, row, col = inputs
    if q.numel() and tiled.pays(q, v):
        return tiled.forward(inputs, reach)
    out, lse = torch.empty_like(v), empty_lse(q)
    if q.numel():
        from sasa_tutorial.kernels.triton import programs

        keys, rows, cols = launching.given(q, k, row, col)
        run, sizes = _sizes(q, k, row, reach, (q, keys, v, out))
        strides = launching.strides(q, keys, v, out)
        with launching.device_of(q):
            launching.start(
                programs.forward_program, run.pop("grid"), q, keys, v, rows, cols, out, lse, *strides, *sizes, **run
            )
    return out, lse


def backward(grad: Tensor, inputs: Inputs, out: Tensor, lse: Tensor, reach: list[int]) -> Inputs:
    """The gradients."""
    what = _kind(inputs)
    if not launching.failed(what):
        try:
            return _backward(grad, inputs, out, lse, reach)
        except launching.NotStarted as failure:
            launching.give_up(what, failure)
    return streaming.backward(grad, inputs, out, lse, reach)


def _backward(grad: Tensor, inputs: Inputs, out: Tensor, lse: Tensor, reach: list[int]) -> Inputs:
    q, k, v, row, col = inputs
    to_q, to_k, to_v = (None if x is None else torch.empty_like(x) for x in (q, k, v))
    if not q.numel():
        return Inputs(to_q, to_k, to_v, *(None if table is None else torch.zeros_like(table) for table in (row, col)))
    if tiled.pays(q, v):
        to_q, to_k, to_v, sums, segments = tiled.backward(grad, inputs, out, lse, reach)
        return Inputs(to_q, to_k, to_v, *_to_tables(q, sums, row, col, segments))
    from sasa_tutorial.kernels.triton import programs

    keys, rows, cols = launching.given(q, k, row, col)
    units, (h, w) = q.shape[0] * q.shape[1], q.shape[3:]
    mean = torch.empty_like(lse)
    to_keys = to_k if k is not None else to_q
    run, sizes = _sizes(q, k, row, reach, (grad, q, keys, v, out, to_q))
    grid, segments = run.pop("grid"), sizes[-1]
    by_row, by_col = 2 * reach[0] + 1, segments * run["CELLS"]
    offsets = lse.new_empty((units, by_row + by_col, h, w) if row is not None else 1)
    sums = lse.new_empty((units, segments * by_row + by_col, h, w) if row is not None else 1)
    if "maxnreg" in run:
        run["maxnreg"] = 144  # 14 warps: with 16 its loop would spill
    with launching.device_of(q):
        launching.start(
            *(programs.queries_program, grid),
            *(grad, q, keys, v, rows, cols, out, lse, mean, offsets, sums, to_q),
            *launching.strides(grad, q, keys, v, out, to_q),
            *sizes,
            **run,
        )
        run, sizes = _sizes(q, k, row, reach, (grad, q, keys, v, to_keys, to_v))
        del run["d_row"], run["C"]
        launching.start(
            *(programs.keys_program, run.pop("grid")),
            *(grad, q, keys, v, lse, mean, offsets, to_keys, to_v),
            *launching.strides(grad, q, keys, v, to_keys, to_v),
            *sizes,
            **run,
        )
    return Inputs(to_q, to_k, to_v, *_to_tables(q, sums, row, col, segments))


def _to_tables(
    q: Tensor, sums: Tensor, row: Tensor | None, col: Tensor | None, segments: int
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of the tables: queries times the gradients of their logits, summed over window rows or columns."""
    if row is None or col is None:
        return None, None
    queries = q.to(torch.float32, memory_format=torch.contiguous_format).flatten(0, 1).flatten(2)
    with torch.autocast(q.device.type, enabled=False):
        # An image and head at a time, then their sum: one einsum over all of them would copy the sums first.
        products = torch.bmm(queries, sums.flatten(2).mT).sum(dim=0)
    d_row, rows = row.shape
    to_row = products[:d_row, : segments * rows].unflatten(1, (segments, rows)).sum(dim=1)
    to_col = products[d_row:, segments * rows :][:, : col.shape[1]]
    return torch.empty_like(row).copy_(to_row), torch.empty_like(col).copy_(to_col)


attend = operator("triton", forward, backward)


@functools.cache
def _problem(interpreting: bool) -> str:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if interpreting:
        return ""
    if torch.version.cuda is None or not torch.cuda.is_available():
        return "there is no CUDA device"
    if torch.cuda.get_device_capability() < (7, 5):
        return f"Triton needs a Turing device or a newer one, this is a {torch.cuda.get_device_name()}"
    return launching.probe(torch.float32)


@constant_when_compiled
def _probed(dtype: torch.dtype) -> str:
    """Why it cannot compute with these numbers on a device that computes with others."""
    return "" if why_unavailable() else launching.probe(dtype)


def _vector(tensors: tuple[Tensor, ...]) -> int:
    """How many channels a thread reads at once where they lie side by side, 16 bytes at most; 0 if never two.

    The channels of every pixel have to start at a multiple of as many: 12 channels in bfloat16 are 24 bytes, and are
    read 8 bytes at a time.
    """
    last = [x for x in tensors if x.stride(2) == 1]
    steps = [x.stride(i) for x in last for i in (0, 1, 3, 4) if x.shape[i] > 1]
    starts = [x.data_ptr() // x.element_size() for x in last]
    widest = 16 // max(x.element_size() for x in tensors)
    vector = math.gcd(widest, *steps, *starts)
    return vector if last and vector > 1 else 0


def _sizes(
    q: Tensor, k: Tensor | None, row: Tensor | None, reach: list[int], tensors: tuple[Tensor, ...]
) -> tuple[dict, tuple[int, ...]]:
    """What a program is compiled for (and the grid), and its numbers.

    A thread has at most 255 registers. Of each channel of each of its S pixels it keeps 2 numbers forward, 3 or 4
    backward: two pixels fit up to 16 channels, one up to 32. Beyond that a pixel is shared by 2 or 4 threads of one
    warp: tiles of fewer than 32 pixels make Triton lay the channels over the rest of the warp. Programs are small, one
    or two warps, because images are: 32 x 32 pixels are 8 programs a head.
    """
    b, heads, d, h, w = q.shape
    padded = 1 << (d - 1).bit_length()
    pixels = 2 if padded <= 16 else 1
    warps = 2 if padded <= 32 and h * -(-w // pixels) > 32 else 1
    threads = 32 * warps if padded <= 32 else 32 * 32 // padded
    columns = 2 * reach[1] + 1
    segments = -(-columns // CELLS)
    cells = -(-columns // segments)
    blocks = -(-h * -(-w // pixels) // threads)
    # Offsets inside one head of one image; those of image and head are 64 bits in any case.
    ends = (sum((n - 1) * abs(stride) for n, stride in zip(x.shape[2:], x.stride()[2:], strict=True)) for x in tensors)
    planes, vector = segments * (2 * reach[0] + 1 + cells), _vector(tensors)
    wide = max(*ends, planes * h * w) > launching.LARGEST_INT // 2
    run = {
        "grid": (b * heads * blocks,),
        "d": d,
        "d_row": 0 if row is None else len(row),
        "D": padded,
        "S": pixels,
        "P": threads,
        "CELLS": cells,
        "C": 1 << (cells - 1).bit_length(),
        "CONTENT": k is not None,
        "TABLES": row is not None,
        "WIDE": wide,
        "VECTOR": min(padded, vector),
        "LAST": sum(1 << i for i, x in enumerate(tensors) if vector and x.stride(2) == 1),
        "IN_ORDER": not launching.interpreting(),
        "enable_fp_fusion": True,  # a product and its sum in one step, the more exact one
        "num_warps": warps,
    }
    if padded <= 8:
        run["maxnreg"] = 128  # 16 warps an SM hide more waiting than 8 with all the registers they could use
    return run, (heads, h, w, *reach, segments)
