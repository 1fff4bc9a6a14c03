"""One function, `local_attention`, and the ways it is computed; and PyTorch's `global_attention` with all derivatives.

    out_ij = Σ_{(a,b) in the window of ij} softmax_ab(q_ij · k_ab + q_ij · r_{a-i,b-j}) v_ab

Every backend gives the same values and gradients; they differ in time, memory, and in what they can take.
Forward mode, the transforms of `torch.func` and second derivatives go through the plain lines, "reference".
"""

from sasa_tutorial.kernels.dispatch import (
    available_backends,
    fastest_backend,
    local_attention,
    using,
    why_unavailable,
)
from sasa_tutorial.kernels.global_attention import global_attention
from sasa_tutorial.kernels.layer import fast_local_attention

__all__ = [
    "available_backends",
    "fast_local_attention",
    "fastest_backend",
    "global_attention",
    "local_attention",
    "using",
    "why_unavailable",
]
