"""From two plain functions, forward and backward, to an operator that PyTorch knows.

Registered with `torch.library`, a backend is one step in the graph of `torch.compile`, has a gradient, a shape without
computing (fake tensors) and a FLOP count. All backends but the reference come through here.

The contract: tensors come as one tuple, a NamedTuple that also names them in the operator's schema; numbers follow.

    forward(inputs, *numbers) -> out, lse                      lse: the logarithm of each window's Σ exp(logit)
    backward(grad, inputs, out, lse, *numbers) -> gradients    the same kind of tuple, None where none was given

lse is (b, heads, h, w), in float32 at least: with it a backward pass has each weight at once, as exp(logit - lse).

The backward pass is an operator too. Its own derivative, the second of the forward pass, is that of the equation in
plain lines: `equation(inputs, *numbers) -> out`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sasa_tutorial.kernels import reference
from sasa_tutorial.kernels.inputs import Inputs, compute_dtype
from sasa_tutorial.kernels.modes import transforming


def register(
    name: str,
    kind: type[NamedTuple],
    numbers: str,
    *,
    forward: Callable[..., tuple[Tensor, Tensor]],
    backward: Callable[..., NamedTuple],
    equation: Callable[..., Tensor],
    empty: Callable[..., tuple[Tensor, Tensor]],
    flops: Callable[..., int],
) -> Callable[..., tuple[Tensor, Tensor]]:
    """The operator (*inputs, *numbers) -> out, lse.

    Args:
        name: the operators are `sasa_tutorial::{name}` and `sasa_tutorial::{name}_backward`.
        kind: the tuple of inputs.
        numbers: what follows the tensors, as in a schema: "int[] reach".
        forward, backward, equation: as in the contract above.
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
        if transforming():  # as with is_grads_batched: a batch of gradients is not the operator's
            gradients = _through_the_equation(equation, kind(*inputs), ctx.numbers, grad)
        else:
            gradients = differentiate(grad, *ctx.saved_tensors, *ctx.numbers)
        return *(None if x is None else g for x, g in zip(inputs, gradients, strict=True)), *nothing

    run.register_autograd(apply, setup_context=keep)

    def keep_for_the_second(ctx, inputs, output):
        ctx.numbers = inputs[count + 3 :]
        ctx.save_for_backward(*inputs[: count + 1])
        ctx.set_materialize_grads(False)

    def apply_twice(ctx, *upstream):
        grad, *inputs = ctx.saved_tensors
        needed = ctx.needs_input_grad[: count + 1]
        found = _second_derivative(equation, grad, kind(*inputs), ctx.numbers, upstream, needed)
        return *found, *(None,) * (2 + len(ctx.numbers))  # out and lse follow from the inputs

    differentiate.register_autograd(apply_twice, setup_context=keep_for_the_second)

    @register_flop_formula(getattr(torch.ops.sasa_tutorial, name))
    def _(*shapes, **_):
        return flops(kind(*shapes[:count]), *shapes[count:], backward=False)

    @register_flop_formula(getattr(torch.ops.sasa_tutorial, f"{name}_backward"))
    def _(grad, *shapes, **_):
        return flops(kind(*shapes[:count]), *shapes[count + 2 :], backward=True)

    return run


def _through_the_equation(equation, inputs, numbers, grad) -> list[Tensor | None]:
    """The first derivative, by autograd."""
    with _differentiable(grad, *inputs) as (grad, *leaves):
        out = equation(type(inputs)(*leaves), *numbers)
        given = [x for x in leaves if x is not None]
        found = iter(torch.autograd.grad(out, given, grad, create_graph=True, allow_unused=True))
    return [None if x is None else next(found) for x in leaves]


def _second_derivative(equation, grad, inputs, numbers, upstream, needed) -> list[Tensor | None]:
    """The gradients of grad and the inputs, from the gradients `upstream` of their gradients."""
    create = torch.is_grad_enabled()  # a third derivative may follow
    with _differentiable(grad, *inputs) as leaves:
        first = _through_the_equation(equation, type(inputs)(*leaves[1:]), numbers, leaves[0])
        used = [(f, up) for f, up in zip(first, upstream, strict=True) if f is not None and up is not None]
        wanted = [x for x, need in zip(leaves, needed, strict=True) if need]
        firsts, ups = zip(*used, strict=True) if used else ((), ())
        found = torch.autograd.grad(firsts, wanted, ups, create_graph=create, allow_unused=True) if used else ()
    found = iter(found or [None] * len(wanted))
    return [next(found) if need else None for need in needed]


@contextmanager
def _differentiable(*tensors: Tensor | None) -> Iterator[list[Tensor | None]]:
    """The tensors as something that autograd can be asked for, and with what led to them still behind them."""
    with torch.enable_grad(), torch.autocast(tensors[0].device.type, enabled=False):
        yield [None if x is None else x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in tensors]


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
        equation=_equation,
        empty=lambda inputs, reach: (torch.empty_like(inputs.v), empty_lse(inputs.q)),
        flops=attention_flops,
    )

    def attend(inputs: Inputs, kernel_size: int) -> Tensor:
        q, k, v, row, col = inputs
        reach = within(kernel_size, q.shape[3:])
        return run(q, k, v, middle(row, reach[0]), middle(col, reach[1]), reach)[0]

    return attend


def _equation(inputs: Inputs, reach: Sequence[int]) -> Tensor:
    wide = Inputs(*(None if x is None else x.to(compute_dtype(x)) for x in inputs))
    return reference.attend_within(wide, reach).to(inputs.v.dtype)


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
