"""From two plain functions, forward and backward, to an operator that PyTorch knows.

Registered with `torch.library`, a backend is one step in the graph of `torch.compile`, has a gradient, a shape without
computing (fake tensors) and a FLOP count. All backends but the reference come through here.

The contract: tensors come as one tuple, a NamedTuple that also names them in the operator's schema; numbers follow.

    forward(inputs, *numbers) -> out, lse                      lse: the logarithm of each window's Σ exp(logit)
    backward(grad, inputs, out, lse, *numbers) -> gradients    the same kind of tuple, None where none was given

lse is (b, heads, h, w), in float32 at least: with it a backward pass has each weight at once, as exp(logit - lse).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sasa_tutorial.kernels.inputs import Inputs, compute_dtype


def register(
    name: str,
    kind: type[NamedTuple],
    numbers: str,
    *,
    forward: Callable[..., tuple[Tensor, Tensor]],
    backward: Callable[..., NamedTuple],
    empty: Callable[..., tuple[Tensor, Tensor]],
    flops: Callable[..., int],
) -> Callable[..., tuple[Tensor, Tensor]]:
    """The operator (*inputs, *numbers) -> out, lse.

    Args:
        name: the operators are `sasa_tutorial::{name}` and `sasa_tutorial::{name}_backward`.
        kind: the tuple of inputs.
        numbers: what follows the tensors, as in a schema: "int[] reach".
        forward, backward: as in the contract above.
        empty: memory for out and lse, from inputs and numbers.
        flops: FLOPs from the shapes of the inputs, the numbers, and whether it is the backward pass.
    """
    count = len(kind._fields)
    # Written out, because reading it from a function takes a newer PyTorch than the oldest one supported.
    hints = get_type_hints(kind)
    tensors = ", ".join(f"{'Tensor' if hints[field] is Tensor else 'Tensor?'} {field}" for field in kind._fields)

    # A backend computes in the numbers it was given, or wider ones: autocast would narrow its sums again.
    def run_forward(*arguments):
        with torch.autocast(arguments[0].device.type, enabled=False):
            return forward(kind(*arguments[:count]), *arguments[count:])

    def run_backward(grad, *arguments):
        inputs, (out, lse, *numbers) = kind(*arguments[:count]), arguments[count:]
        with torch.autocast(grad.device.type, enabled=False):
            return tuple(_or_nothing(g, grad) for g in backward(grad, inputs, out, lse, *numbers))

    run = torch.library.custom_op(
        f"sasa_tutorial::{name}",
        run_forward,
        mutates_args=(),
        schema=f"({tensors}, {numbers}) -> (Tensor, Tensor)",
    )
    differentiate = torch.library.custom_op(
        f"sasa_tutorial::{name}_backward",
        run_backward,
        mutates_args=(),
        schema=f"(Tensor grad, {tensors}, Tensor out, Tensor lse, {numbers}) -> ({', '.join(['Tensor'] * count)})",
    )

    @run.register_fake
    def _(*arguments):
        return empty(kind(*arguments[:count]), *arguments[count:])

    @differentiate.register_fake
    def _(grad, *arguments):
        return tuple(_or_nothing(None if x is None else torch.empty_like(x), grad) for x in arguments[:count])

    def keep(ctx, inputs, output):
        ctx.numbers = inputs[count:]
        ctx.save_for_backward(*inputs[:count], *output)
        ctx.set_materialize_grads(False)  # nobody differentiates lse: no zeros for it

    def apply(ctx, grad, _):
        nothing = (None,) * len(ctx.numbers)
        if grad is None:  # out was not used
            return (None,) * count + nothing
        inputs = ctx.saved_tensors[:count]
        gradients = differentiate(grad, *ctx.saved_tensors, *ctx.numbers)
        return *(None if x is None else g for x, g in zip(inputs, gradients, strict=True)), *nothing

    run.register_autograd(apply, setup_context=keep)

    @register_flop_formula(getattr(torch.ops.sasa_tutorial, name))
    def _(*shapes, **_):
        return flops(kind(*shapes[:count]), *shapes[count:], backward=False)

    @register_flop_formula(getattr(torch.ops.sasa_tutorial, f"{name}_backward"))
    def _(grad, *shapes, **_):
        return flops(kind(*shapes[:count]), *shapes[count + 2 :], backward=True)

    return run


def operator(
    name: str, forward: Callable[..., tuple[Tensor, Tensor]], backward: Callable[..., Inputs]
) -> Callable[[Inputs, int], Float[Tensor, "b heads d h w"]]:
    """The function (inputs, kernel_size) -> out of a backend.

    Its operator takes `reach` (rows, columns), how far a window extends from its middle; row and col fit it.
    """
    run = register(
        f"{name}_local_attention",
        Inputs,
        "int[] reach",
        forward=forward,
        backward=backward,
        empty=lambda inputs, reach: (torch.empty_like(inputs.v), empty_lse(inputs.q)),
        flops=attention_flops,
    )

    def attend(inputs: Inputs, kernel_size: int) -> Tensor:
        q, k, v, row, col = inputs
        reach = within(kernel_size, q.shape[3:])
        return run(q, k, v, middle(row, reach[0]), middle(col, reach[1]), reach)[0]

    return attend


def _or_nothing(x: Tensor | None, like: Tensor) -> Tensor:
    """An operator has to return tensors: an empty one stands for the gradient of what was not given."""
    return like.new_empty(0) if x is None else x


def empty_lse(q: Float[Tensor, "b heads d h w"]) -> Float[Tensor, "b heads h w"]:
    """Memory for one number a query."""
    return q.new_empty(q.shape[:2] + q.shape[3:], dtype=compute_dtype(q))


def within(kernel_size: int, sides: Sequence[int]) -> list[int]:
    """How far a window extends: beyond the image there is nothing to reach."""
    return [max(0, min(kernel_size // 2, side - 1)) for side in sides]


def middle(table: Float[Tensor, "d k"] | None, reach: int) -> Float[Tensor, "d k2"] | None:
    """The 2 reach + 1 columns in the middle of a table."""
    if table is None:
        return None
    centre = table.shape[1] // 2
    return table[:, centre - reach : centre + reach + 1].contiguous()


def attention_flops(shapes: Inputs, reach: Sequence[int], *, backward: bool) -> Any:
    """FLOPs from shapes; one multiply-add is 2: q·k or the like, and weights times values or the like, in every cell.

    The backward pass counts what it computes, the logits once more included, as PyTorch's own formula does for
    `scaled_dot_product_attention`.
    """
    dots, mixes = (3, 4) if backward else (1, 1)
    b, heads, d, h, w = shapes.q
    cells = (2 * reach[0] + 1) * (2 * reach[1] + 1)
    tables = 0 if shapes.row is None else shapes.row[0] * shapes.row[1] + shapes.col[0] * shapes.col[1]
    content = 0 if shapes.k is None else cells * d
    return 2 * b * heads * h * w * (dots * (content + tables) + mixes * cells * shapes.v[2])
