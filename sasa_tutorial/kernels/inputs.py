"""What local attention is computed of, and what that has to be: one tuple and one check for all backends."""

from typing import NamedTuple

import torch
from torch import Tensor

from sasa_tutorial.windows import check_kernel_size

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Inputs(NamedTuple):
    """Queries, keys, values and tables of offsets; of gradients, the same in the same order.

    Shapes: q, k, v (b, heads, d, h, w), and v may have another d; row (d1, k) and col (d2, k) with d1 + d2 = d.
    """

    q: Tensor
    k: Tensor | None  # None: only the offsets decide
    v: Tensor
    row: Tensor | None  # None together with col: only the keys decide
    col: Tensor | None


def compute_dtype(x: Tensor) -> torch.dtype:
    """What a backend computes in: float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)


def check_inputs(inputs: Inputs, kernel_size: int) -> None:
    """Raises:
    ValueError: shapes, types or devices that do not fit, or no logits at all; with the name and what it is.
    """
    q, k, v, row, col = inputs
    check_kernel_size(kernel_size)
    check_tensors(inputs)
    if q.ndim != 5:
        raise ValueError(f"q must be 5-D (b, heads, d, h, w), got {q.ndim}-D of shape {tuple(q.shape)}")
    if k is not None and k.shape != q.shape:
        raise ValueError(f"k must have the shape of q, {tuple(q.shape)}, got {tuple(k.shape)}")
    if v.ndim != 5 or v.shape[:2] != q.shape[:2] or v.shape[3:] != q.shape[3:]:
        raise ValueError(f"v must have the shape of q, {tuple(q.shape)}, up to d; got {tuple(v.shape)}")
    if any(x is not None and x.dtype != q.dtype for x in (k, v)):
        found = ", ".join(str(x.dtype) for x in (q, k, v) if x is not None)
        raise ValueError(f"queries, keys and values must be of one type, got {found}")
    if row is None and col is None and k is None:
        raise ValueError("without k and without offsets there are no logits; give one of them")
    check_tables(row, col, q.shape[2], kernel_size)
    # Under autocast the queries come from a convolution and are narrow, the tables are parameters and are not.
    if any(table is not None and table.dtype not in (q.dtype, compute_dtype(q)) for table in (row, col)):
        raise ValueError(f"row and col must be {q.dtype} as the queries, got {row.dtype} and {col.dtype}")


def check_tensors(inputs: NamedTuple, optional: tuple[str, ...] = ("k", "row", "col")) -> None:
    """Raises:
    ValueError: something other than dense tensors of real numbers, all on one device.
    """
    for name, x in inputs._asdict().items():
        if x is None and name in optional:
            continue
        if not isinstance(x, Tensor) or x.layout != torch.strided or x.dtype not in DTYPES:
            found = f"{x.dtype}, {x.layout}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"{name} must be a dense tensor of real numbers, got {found}")
        if x.device != inputs[0].device:
            first = f"{inputs._fields[0]} on {inputs[0].device}"
            raise ValueError(f"all tensors must be on one device, got {first} and {name} on {x.device}")


def check_tables(row: Tensor | None, col: Tensor | None, d: int, kernel_size: int) -> None:
    """Raises:
    ValueError: only one table, or shapes other than (d1, kernel_size) and (d2, kernel_size), d1 + d2 = d.
    """
    if (row is None) != (col is None):
        raise ValueError("row and col belong together: give both tables or neither")
    if row is None:
        return
    if row.ndim != 2 or col.ndim != 2 or row.shape[1] != kernel_size or col.shape[1] != kernel_size:
        raise ValueError(
            f"row and col must be (d1, {kernel_size}) and (d2, {kernel_size}), "
            f"got {tuple(row.shape)} and {tuple(col.shape)}"
        )
    if (widths := row.shape[0] + col.shape[0]) != d:
        raise ValueError(f"row and col must have d = {d} channels together, got {widths}")
