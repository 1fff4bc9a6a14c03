"""Local attention in C together with the 1x1 convolutions before it.

Queries, keys and values of one head of one image are made where they are used and never exist for the whole batch; the
backward pass makes them again. What is saved is the input, the output, and one number a query.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sasa_tutorial.kernels.native import operator as native
from sasa_tutorial.kernels.operators import flops, middle, or_nothing, within

# Beyond, PyTorch's own products are as fast, and the gradients of the weights, kept once for each group of images,
# would need much memory.
MOST_CHANNELS = 256
MOST_GRADIENTS = 2**21  # numbers in all copies of the weights' gradient together
WIDEST = 16  # numbers in the widest vector: rows of the weights' gradient are padded to whole ones
_INPUTS = "Tensor x, Tensor weight, Tensor? row, Tensor? col"
_OPTIONS = "int heads, bool keys, int[] reach"


def fits(x: Tensor, weight: Tensor, kernel_size: int) -> bool:
    """Whether this is a good way to compute attention on `x`, whose values are projected by `weight`."""
    return (
        x.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.float64)
        and (x.dtype == weight.dtype or torch.is_autocast_enabled("cpu"))
        and x.shape[1] <= MOST_CHANNELS
        and _groups(_bands(x, within(kernel_size, x.shape[2:])), x.shape[1], 3 * weight.shape[0]) >= _threads()
    )


@torch.compiler.assume_constant_result
def _threads() -> int:
    return torch.get_num_threads()


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
) -> Float[Tensor, "b c_out h w"]:
    """Local attention with queries to_q x, keys to_k x and values to_v x, heads as in `split_heads`.

    Computed in the numbers of the matrices; under autocast it takes and gives what a convolution would.
    """
    given = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    x = x.to(to_v.dtype)
    weight = torch.cat([matrix for matrix in (to_q, to_k, to_v) if matrix is not None])
    reach = within(kernel_size, x.shape[2:])
    row, col = middle(row, reach[0]), middle(col, reach[1])
    return _run(x, weight, row, col, heads, to_k is not None, reach)[0].to(given)


def _forward(
    x: Tensor, weight: Tensor, row: Tensor | None, col: Tensor | None, heads: int, keys: bool, reach: list[int]
) -> tuple[Tensor, Tensor]:
    tensors = {"x": x.unflatten(1, (1, -1)), "weight": weight.contiguous(), "row": row, "col": col}
    out, lse = _empty(x, weight, heads, keys)
    by_head = out.unflatten(1, (heads, -1))
    native.call(
        {**tensors, "out": by_head, "lse": lse}, by_head.shape, reach, backward=False, keys=keys, channels=x.shape[1]
    )
    return out, lse


def _backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    row: Tensor | None,
    col: Tensor | None,
    out: Tensor,
    lse: Tensor,
    heads: int,
    keys: bool,
    reach: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    channels, bands = x.shape[1], _bands(x, reach)
    groups = _groups(bands, channels, len(weight))
    width = -(-channels // WIDEST) * WIDEST
    inputs = {"x": x.unflatten(1, (1, -1)), "weight": weight.contiguous(), "row": row, "col": col, "lse": lse}
    by_head = {"grad": grad.unflatten(1, (heads, -1)), "out": out.unflatten(1, (heads, -1))}
    dx = torch.empty_like(x, memory_format=_layout(x))
    outputs = {
        "dx": dx.unflatten(1, (1, -1)),
        "dweight": x.new_zeros(groups, len(weight), width),
        **{f"d{n}": x.new_empty(bands * heads, *inputs[n].shape) for n in ("row", "col") if inputs[n] is not None},
    }
    options = {"keys": keys, "channels": channels, "width": width, "groups": groups}
    native.call({**inputs, **by_head, **outputs}, by_head["out"].shape, reach, backward=True, **options)
    dweight = outputs["dweight"].sum(dim=0)[:, :channels].contiguous()
    drow, dcol = (outputs[f"d{n}"].sum(dim=0) if f"d{n}" in outputs else or_nothing(None, x) for n in ("row", "col"))
    return dx, dweight, drow, dcol


def _bands(x: Tensor, reach: list[int]) -> int:
    """Bands of rows in all images together."""
    return x.shape[0] * native.bands(*x.shape[2:], reach)


def _groups(bands: int, channels: int, rows: int) -> int:
    """How many sums the weights' gradient is made in: it depends on the problem only, so no thread changes a bit."""
    return max(1, min(bands, MOST_GRADIENTS // (rows * channels)))


def _empty(x: Tensor, weight: Tensor, heads: int, keys: bool) -> tuple[Tensor, Tensor]:
    """Memory for out and lse."""
    images, _, h, w = x.shape
    shape = (images, len(weight) // (3 if keys else 2), h, w)
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_layout(x))
    return out, x.new_empty(images, heads, h, w)


def _layout(x: Tensor) -> torch.memory_format:
    """That of the images: what comes before and after then reads and writes memory in one order."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


_run = torch.library.custom_op(
    "sasa_tutorial::native_projected_local_attention",
    _forward,
    mutates_args=(),
    schema=f"({_INPUTS}, {_OPTIONS}) -> (Tensor, Tensor)",
)
_differentiate = torch.library.custom_op(
    "sasa_tutorial::native_projected_local_attention_backward",
    _backward,
    mutates_args=(),
    schema=f"(Tensor grad, {_INPUTS}, Tensor out, Tensor lse, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor)",
)


@_run.register_fake
def _(x, weight, row, col, heads, keys, reach):
    return _empty(x, weight, heads, keys)


@_differentiate.register_fake
def _(grad, x, weight, row, col, out, lse, heads, keys, reach):
    dx = torch.empty_like(x, memory_format=_layout(x))
    return dx, *(torch.empty_like(or_nothing(t, x)) for t in (weight, row, col))


def _keep(ctx, inputs, output):
    *tensors, ctx.heads, ctx.keys, ctx.reach = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.set_materialize_grads(False)


def _apply(ctx, grad, _):
    if grad is None:
        return (None,) * 7
    *inputs, out, lse = ctx.saved_tensors
    gradients = _differentiate(grad, *inputs, out, lse, ctx.heads, ctx.keys, ctx.reach)
    return *(None if t is None else g for t, g in zip(inputs, gradients, strict=True)), None, None, None


_run.register_autograd(_apply, setup_context=_keep)


def _flops(projections: int, passes: tuple[int, int]):
    def count(*shapes, **_) -> int:
        """The attention's, and `projections` products of the weights with every pixel."""
        (x, weight, row, col), (heads, keys, reach) = (shapes[1:5] if len(shapes) > 7 else shapes[:4]), shapes[-3:]
        images, channels, h, w = x
        head = (images, heads, weight[0] // (3 if keys else 2) // heads, h, w)
        attention = flops(*passes)(head, head if keys else None, head, row, col, reach)
        return attention + 2 * projections * images * h * w * weight[0] * channels

    return count


register_flop_formula(torch.ops.sasa_tutorial.native_projected_local_attention)(_flops(1, (1, 1)))
register_flop_formula(torch.ops.sasa_tutorial.native_projected_local_attention_backward)(_flops(3, (3, 4)))
