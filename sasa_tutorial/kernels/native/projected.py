"""Local attention in C together with the 1x1 convolutions before it.

Queries, keys and values of one head of one image are made where they are used and never exist for the whole batch; the
backward pass makes them again. What is saved is the input, the output, and one number a query.
"""

from typing import NamedTuple

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from sasa_tutorial.kernels import reference
from sasa_tutorial.kernels.inputs import Inputs, check_tables, check_tensors
from sasa_tutorial.kernels.modes import constant_when_compiled
from sasa_tutorial.kernels.native import operator as native
from sasa_tutorial.kernels.operators import attention_flops, middle, register, within
from sasa_tutorial.windows import check_kernel_size

# Beyond, PyTorch's own products are as fast, and the gradients of the weights, kept once for each group of images,
# would need much memory.
MOST_CHANNELS = 256
MOST_GRADIENTS = 2**21  # numbers in all copies of the weights' gradient together
WIDEST = 16  # numbers in the widest vector: rows of the weights' gradient are padded to whole ones


class Projected(NamedTuple):
    """Images, the matrices that make their queries, keys and values, and tables of offsets.

    Shapes: x (b, c_in, h, w); to_q, to_k, to_v (c_out, c_in); row (d1, k), col (d2, k) with d1 + d2 = c_out / heads.
    """

    x: Tensor
    to_q: Tensor
    to_k: Tensor | None
    to_v: Tensor
    row: Tensor | None
    col: Tensor | None


def fits(inputs: Projected, kernel_size: int) -> bool:
    """Whether this computes what the modules would, and is a good way to do so."""
    x, to_v = inputs.x, inputs.to_v
    matrices = [matrix for matrix in (inputs.to_q, inputs.to_k, to_v) if matrix is not None]
    others = [t for t in inputs[1:] if t is not None]
    dtypes = (to_v.dtype, torch.bfloat16, torch.float16) if _autocast(to_v) else (to_v.dtype,)
    return (
        to_v.dtype in (torch.float32, torch.float64)
        and x.dtype in dtypes
        and x.device.type == "cpu"
        and all(t.dtype == to_v.dtype and t.device.type == "cpu" for t in others)
        and all(matrix.shape == (len(to_v), x.shape[1]) for matrix in matrices)
        and x.shape[1] <= MOST_CHANNELS
        and _groups(_bands(x, within(kernel_size, x.shape[2:])), x.shape[1], 3 * len(to_v)) >= _threads()
    )


def attend(
    x: Float[Tensor, "b c_in h w"],
    to_q: Float[Tensor, "c_out c_in"],
    to_k: Float[Tensor, "c_out c_in"] | None,
    to_v: Float[Tensor, "c_out c_in"],
    row: Float[Tensor, "d1 k"] | None,
    col: Float[Tensor, "d2 k"] | None,
    *,
    heads: int,
    kernel_size: int,
) -> Float[Tensor, "b heads d h w"]:
    """Local attention with queries to_q x, keys to_k x and values to_v x; a head is `d` rows of a matrix.

    Computed in the numbers of the matrices; under autocast it takes and gives what a convolution would.

    Raises:
        ValueError: tables or matrices that do not fit.
    """
    check_kernel_size(kernel_size)
    _check(Projected(x, to_q, to_k, to_v, row, col))
    if heads < 1 or len(to_v) % heads:
        raise ValueError(f"heads must divide the channels, got {len(to_v)} channels and {heads} heads")
    if to_k is None and row is None:
        raise ValueError("without to_k and without offsets there are no logits; give one of them")
    check_tables(row, col, len(to_v) // heads, kernel_size)
    given = torch.get_autocast_dtype("cpu") if _autocast(to_v) else x.dtype
    reach = within(kernel_size, x.shape[2:])
    inputs = (x.to(to_v.dtype), to_q, to_k, to_v, middle(row, reach[0]), middle(col, reach[1]))
    return _run(*inputs, heads, reach)[0].to(given).unflatten(1, (heads, -1))


def _check(inputs: Projected) -> None:
    check_tensors(inputs, optional=("to_k", "row", "col"))
    x, to_q, to_k, to_v, *tables = inputs
    if x.ndim != 4 or to_v.ndim != 2:
        raise ValueError(f"x must be 4-D and to_v 2-D, got {tuple(x.shape)} and {tuple(to_v.shape)}")
    for name, matrix in (("to_q", to_q), ("to_k", to_k), ("to_v", to_v)):
        if matrix is not None and matrix.shape != (len(to_v), x.shape[1]):
            raise ValueError(f"{name} must be {(len(to_v), x.shape[1])}, got {tuple(matrix.shape)}")
    dtypes = {t.dtype for t in (to_q, to_k, to_v, *tables) if t is not None}
    if to_v.dtype not in (torch.float32, torch.float64) or len(dtypes) > 1:
        raise ValueError(f"matrices and tables must be all float32 or all float64, got {sorted(map(str, dtypes))}")
    if x.dtype != to_v.dtype and not (_autocast(to_v) and x.dtype in (torch.bfloat16, torch.float16)):
        raise ValueError(f"x must be {to_v.dtype} as the matrices, got {x.dtype}")


def _autocast(matrix: Tensor) -> bool:
    """Whether a convolution with this matrix would be computed in narrower numbers; autocast leaves float64 alone."""
    return torch.is_autocast_enabled("cpu") and matrix.dtype == torch.float32


@constant_when_compiled
def _threads() -> int:
    return torch.get_num_threads()


def _forward(inputs: Projected, heads: int, reach: list[int]) -> tuple[Tensor, Tensor]:
    out, lse = _empty(inputs, heads, reach)
    by_head = out.unflatten(1, (heads, -1))
    _call(inputs, {"out": by_head, "lse": lse}, by_head.shape, reach, backward=False)
    return out, lse


def _backward(grad: Tensor, inputs: Projected, out: Tensor, lse: Tensor, heads: int, reach: list[int]) -> Projected:
    x, keys, channels = inputs.x, inputs.to_k is not None, inputs.x.shape[1]
    by_head = {"grad": grad.unflatten(1, (heads, -1)), "out": out.unflatten(1, (heads, -1)), "lse": lse}
    shape = by_head["out"].shape
    rows, width = (2 + keys) * out.shape[1], -(-channels // WIDEST) * WIDEST
    groups = _groups(_bands(x, reach), channels, rows)
    dx, dweight = torch.empty_like(x), x.new_zeros(groups, rows, width)
    tables = native.table_gradients(inputs.row, inputs.col, x, shape, reach)
    outputs = {"dx": dx.unflatten(1, (1, -1)), "dweight": dweight, **tables}
    _call(inputs, {**by_head, **outputs}, shape, reach, backward=True, width=width, groups=groups)
    to_q, *to_k, to_v = (part.clone() for part in dweight.sum(dim=0)[:, :channels].chunk(2 + keys))
    row, col = (native.total(name, tables) if f"d{name}" in tables else None for name in ("row", "col"))
    return Projected(dx, to_q, to_k[0] if keys else None, to_v, row, col)


def _equation(inputs: Projected, heads: int, reach: list[int]) -> Tensor:
    """In plain lines, for the second derivative."""
    x, *matrices, row, col = inputs
    q, k, v = (
        None if matrix is None else einsum(matrix, x, "c c_in, b c_in h w -> b c h w").unflatten(1, (heads, -1))
        for matrix in matrices
    )
    return reference.attend_within(Inputs(q, k, v, row, col), reach).flatten(1, 2)


def _call(
    inputs: Projected, others: dict[str, Tensor], shape: torch.Size, reach: list[int], *, backward: bool, **options: int
) -> None:
    x, *matrices, row, col = inputs
    tensors = {
        "x": x.unflatten(1, (1, -1)),
        "weight": torch.cat([matrix for matrix in matrices if matrix is not None]),
        **{name: table for name, table in {"row": row, "col": col}.items() if table is not None},
        **others,
    }
    options |= {"keys": inputs.to_k is not None, "channels": x.shape[1]}
    native.call(tensors, shape, reach, backward=backward, **options)


def _bands(x: Tensor, reach: list[int]) -> int:
    """Bands of rows in all images together."""
    return x.shape[0] * native.bands(*x.shape[2:], reach)


def _groups(bands: int, channels: int, rows: int) -> int:
    """How many sums the weights' gradient is made in: it depends on the problem only, so no thread changes a bit."""
    return max(1, min(bands, MOST_GRADIENTS // (rows * channels)))


def _empty(inputs: Projected, heads: int, reach: list[int]) -> tuple[Tensor, Tensor]:
    """Memory for out and lse; out lies in memory as the images do, which are then read and written in one order."""
    x, (b, _, h, w) = inputs.x, inputs.x.shape
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    out = torch.empty((b, len(inputs.to_v), h, w), dtype=x.dtype, device=x.device, memory_format=layout)
    return out, x.new_empty(b, heads, h, w)


def _flops(shapes: Projected, heads: int, reach: list[int], *, backward: bool) -> int:
    """The attention's, and one product of the matrices with every pixel; backward three."""
    (b, channels, h, w), keys = shapes.x, shapes.to_k is not None
    head = (b, heads, shapes.to_v[0] // heads, h, w)
    attention = Inputs(head, head if keys else None, head, shapes.row, shapes.col)
    product = 2 * b * h * w * channels * shapes.to_v[0] * (2 + keys)
    return attention_flops(attention, reach, backward=backward) + product * (3 if backward else 1)


_run = register(
    "native_projected_local_attention",
    Projected,
    "int heads, int[] reach",
    forward=_forward,
    backward=_backward,
    equation=_equation,
    empty=_empty,
    flops=_flops,
)
