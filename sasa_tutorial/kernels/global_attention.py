"""Attention between all tokens by PyTorch's kernels, with the derivatives that those lack."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sasa_tutorial.kernels.modes import leaving, transforming

FEW_WEIGHTS = 256**2  # a head


def global_attention(
    q: Float[Tensor, "*batch n d"], k: Float[Tensor, "*batch m d"], v: Float[Tensor, "*batch m e"], scale: float
) -> Float[Tensor, "*batch n e"]:
    """`F.scaled_dot_product_attention(q, k, v, scale=scale)`, which can also be differentiated twice and forwards.

    PyTorch's fused kernels keep no n x m weights, and raise for second derivatives and for forward mode. For those the
    weights are made after all: n · m numbers a head. cuDNN's kernel is left out: on H100 and H200 its backward pass
    gives nan where the logits of a query lie below -88 and 64 keys are left of every 128 (PyTorch issue 196678).

    Shapes: (…, n, d), (…, m, d), (…, m, e) -> (…, n, e).
    """
    if transforming() or _slow_on_a_cpu(q, k):
        return by_the_equation(q, k, v, scale)
    inside = torch.compiler.is_compiling() or leaving()  # a compiled backward pass has no second one in any case
    with _without_cudnn() if _has_cudnn(q) and not inside else nullcontext():
        y = F.scaled_dot_product_attention(q, k, v, scale=scale)
    if inside or not torch.is_grad_enabled() or not y.requires_grad:
        return y
    return _TwiceDifferentiable.apply(y, q, k, v, scale)


def _slow_on_a_cpu(q: Tensor, k: Tensor) -> bool:
    """In bfloat16 PyTorch's kernel for CPUs takes 6 times as long as the equation for 64 tokens, as long for 256."""
    few = q.shape[-2] * k.shape[-2] < FEW_WEIGHTS
    return few and q.device.type == "cpu" and q.dtype == torch.bfloat16 and not torch.compiler.is_compiling()


def _has_cudnn(q: Tensor) -> bool:
    return q.is_cuda


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """Another of PyTorch's kernels, where the process allows another."""
    flags = torch.backends.cuda
    allowed = flags.cudnn_sdp_enabled()
    others = flags.flash_sdp_enabled() or flags.mem_efficient_sdp_enabled() or flags.math_sdp_enabled()
    flags.enable_cudnn_sdp(allowed and not others)
    try:
        yield
    finally:
        flags.enable_cudnn_sdp(allowed)


def by_the_equation(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """softmax(scale · q kᵀ) v, with the softmax in float32 at least."""
    logits = (q @ k.transpose(-1, -2)) * scale
    weights = torch.softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    return weights.to(v.dtype) @ v


class _TwiceDifferentiable(torch.autograd.Function):
    """y, which is `by_the_equation(q, k, v)`: a switch for the gradient.

    Usually it goes on to y, that is, to the kernel. With `create_graph=True` it goes to q, k and v through the
    equation instead, and nothing goes to y.
    """

    @staticmethod
    def forward(ctx, y, q, k, v, scale):
        ctx.scale = scale
        ctx.save_for_backward(q, k, v)  # as the kernel does: one copy in memory
        return y.view_as(y)

    @staticmethod
    def backward(ctx, grad):
        if not torch.is_grad_enabled() and not transforming():
            return grad, None, None, None, None
        given = [x.view_as(x) if x.requires_grad else x for x in ctx.saved_tensors]
        create = torch.is_grad_enabled()
        with torch.enable_grad():
            y = by_the_equation(*given, ctx.scale)
        wanted = [x for x in given if x.requires_grad]
        found = iter(torch.autograd.grad(y, wanted, grad, create_graph=create))
        return None, *(next(found) if x.requires_grad else None for x in given), None
