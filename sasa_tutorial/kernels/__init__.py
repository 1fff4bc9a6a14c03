"""One function, `local_attention`, and the ways it is computed.

    out_ij = Σ_{(a,b) in the window of ij} softmax_ab(q_ij · k_ab + q_ij · r_{a-i,b-j}) v_ab

Every backend gives the same values and gradients; they differ in time, memory, and in what they can take.
"""

from sasa_tutorial.kernels.dispatch import (
    available_backends,
    fastest_backend,
    local_attention,
    using,
    why_unavailable,
)
from sasa_tutorial.kernels.layer import fast_local_attention

__all__ = [
    "available_backends",
    "fast_local_attention",
    "fastest_backend",
    "local_attention",
    "using",
    "why_unavailable",
]
