"""From two plain functions, forward and backward, to an operator that PyTorch knows.

Registered with `torch.library`, a backend is one step in the graph of `torch.compile`, has a gradient, a shape without
computing (fake tensors) and a FLOP count. All backends but the reference come through here.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

Forward = Callable[[Tensor, Tensor | None, Tensor, Tensor | None, Tensor | None, list[int]], tuple[Tensor, Tensor]]
"""(q, k, v, row, col, reach) -> out and lse; reach (rows, columns) is how far a window extends, row and col fit it.

lse is the natural logarithm of each window's Σ exp(logit), (b, heads, h, w), in float32 at least: with it a backward
pass has each weight at once, as exp(logit - lse).
"""

Backward = Callable[
    [Tensor, Tensor, Tensor | None, Tensor, Tensor | None, Tensor | None, Tensor, Tensor, list[int]],
    tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
]
"""(gradient of out, q, k, v, row, col, out, lse, reach) -> gradients of q, k, v, row, col; `nothing` for what was not
given."""


# Written out, because reading it from the annotations takes a newer PyTorch than the oldest one supported.
_INPUTS = "Tensor q, Tensor? k, Tensor v, Tensor? row, Tensor? col"


def operator(name: str, forward: Forward, backward: Backward) -> Callable[..., Float[Tensor, "b heads d h w"]]:
    """The function (q, k, v, row, col, kernel_size) -> out of a backend.

    Args:
        name: of the backend; the operators are `sasa_tutorial::{name}_local_attention` and the same with `_backward`.
        forward: the values.
        backward: the gradients.
    """
    run = torch.library.custom_op(
        f"sasa_tutorial::{name}_local_attention",
        forward,
        mutates_args=(),
        schema=f"({_INPUTS}, int[] reach) -> (Tensor, Tensor)",
    )
    differentiate = torch.library.custom_op(
        f"sasa_tutorial::{name}_local_attention_backward",
        backward,
        mutates_args=(),
        schema=f"(Tensor grad, {_INPUTS}, Tensor out, Tensor lse, int[] reach)"
        " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    )

    @run.register_fake
    def _(q, k, v, row, col, reach):
        return torch.empty_like(v), empty_lse(q)

    @differentiate.register_fake
    def _(grad, q, k, v, row, col, out, lse, reach):
        return tuple(torch.empty_like(or_nothing(x, q)) for x in (q, k, v, row, col))

    def keep(ctx, inputs, output):
        *tensors, ctx.reach = inputs
        ctx.save_for_backward(*tensors, *output)
        ctx.set_materialize_grads(False)  # nobody differentiates lse: no zeros for it

    def apply(ctx, grad, _):
        if grad is None:  # out was not used
            return (None,) * 6
        *inputs, out, lse = ctx.saved_tensors
        gradients = differentiate(grad, *inputs, out, lse, ctx.reach)
        return *(None if x is None else g for x, g in zip(inputs, gradients, strict=True)), None

    run.register_autograd(apply, setup_context=keep)
    packets = (getattr(torch.ops.sasa_tutorial, f"{name}_local_attention{end}") for end in ("", "_backward"))
    for packet, passes in zip(packets, ((1, 1), (3, 4)), strict=True):
        register_flop_formula(packet)(flops(*passes))

    def attend(q, k, v, row, col, kernel_size):
        reach = within(kernel_size, q.shape[3:])
        row, col = middle(row, reach[0]), middle(col, reach[1])
        return run(q, k, v, row, col, reach)[0]

    return attend


def or_nothing(x: Tensor | None, like: Tensor) -> Tensor:
    """An operator has to return tensors: an empty one stands for the gradient of what was not given."""
    return like.new_empty(0) if x is None else x


def compute_dtype(x: Tensor) -> torch.dtype:
    """What a backend computes in: float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)


def empty_lse(q: Float[Tensor, "b heads d h w"]) -> Float[Tensor, "b heads h w"]:
    """Memory for one number a query."""
    return q.new_empty(q.shape[:2] + q.shape[3:], dtype=compute_dtype(q))


def within(kernel_size: int, sides: Sequence[int]) -> list[int]:
    """How far a window extends: beyond the image there is nothing to reach."""
    return [min(kernel_size // 2, side - 1) for side in sides]


def middle(table: Float[Tensor, "d k"] | None, reach: int) -> Float[Tensor, "d k2"] | None:
    """The 2 reach + 1 columns in the middle of a table."""
    if table is None:
        return None
    centre = table.shape[1] // 2
    return table[:, centre - reach : centre + reach + 1].contiguous()


def flops(dots: int, mixes: int) -> Callable[..., int]:
    """The FLOPs of a pass from the shapes of its inputs.

    One multiply-add is 2: q·k or the like, and weights times values or the like, over every cell of every window.

    The backward pass counts what it computes, the logits once more included, as PyTorch's own formula does for
    `scaled_dot_product_attention`.
    """

    def count(*shapes, **_) -> int:
        # The backward pass has the gradient before them, and after them out and lse.
        (q, k, v, row, col), reach = (shapes[1:6] if len(shapes) > 6 else shapes[:5]), shapes[-1]
        b, heads, d, h, w = q
        cells = (2 * reach[0] + 1) * (2 * reach[1] + 1)
        pixels = b * heads * h * w
        tables = 0 if row is None else row[0] * row[1] + col[0] * col[1]
        content = 0 if k is None else cells * d
        return 2 * pixels * (dots * (content + tables) + mixes * cells * v[2])

    return count
