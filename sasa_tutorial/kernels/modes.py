"""What goes on around a call that a kernel, one opaque step, could not follow: there the plain lines are taken.

A kernel has the first derivative that autograd asks for, and autograd can differentiate that again. It has no tangents
(forward mode) and no rule for the transforms of `torch.func`; PyTorch would drop a tangent without a word.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch.autograd import forward_ad

Function = TypeVar("Function", bound=Callable)


def constant_when_compiled(function: Function) -> Function:
    """Mark a function whose answer `torch.compile` may write into a graph, as `torch.compiler.assume_constant_result`
    does, which imports the whole compiler first: a second, also for those who never compile."""
    function._dynamo_marked_constant = True
    return function


@constant_when_compiled
def transforming() -> bool:
    """Whether tensors may carry more than numbers: a transform of `torch.func` (grad, vjp, jvp, vmap and what is made
    of them) is at work, or a level of forward mode is open.

    PyTorch has no public question for either. The first is the one that `torch.autograd.Function` asks itself; the
    second is what `forward_ad.unpack_dual` looks at first. `torch.compile` guards both, so a compiled call stays right.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


@constant_when_compiled
def leaving() -> bool:
    """Whether the call is written down to run elsewhere, where there are no kernels of ours: `torch.export`, and with
    it `torch.onnx.export`, or `torch.jit.trace`. PyTorch 2.6 cannot say the first; there it is always False."""
    exporting = getattr(torch.compiler, "is_exporting", None)
    return torch.jit.is_tracing() or (exporting is not None and exporting())
