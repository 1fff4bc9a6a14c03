"""Local attention as the equation says it: gather the windows, softmax, sum. Readable, and k² times the memory."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from sasa_tutorial.windows import gather_windows, inside_image


def weights(
    q: Float[Tensor, "b heads d h w"],
    k: Float[Tensor, "b heads d h w"] | None,
    row: Float[Tensor, "d1 kh"] | None,
    col: Float[Tensor, "d2 kw"] | None,
    kernel_size: int,
) -> Float[Tensor, "b heads h w kh kw"]:
    """Softmax over the window of q·k + q·r, cells outside the image excluded; in float32 at least."""
    h, w = q.shape[3:]
    logits = 0
    if k is not None:
        logits = einsum(q, _windows(k, kernel_size), "b heads d h w, b heads d h w kh kw -> b heads h w kh kw")
    if row is not None and col is not None:
        q_row, q_col = q.split((row.shape[0], col.shape[0]), dim=2)
        by_row = einsum(q_row, row, "b heads d h w, d kh -> b heads h w kh")
        by_col = einsum(q_col, col, "b heads d h w, d kw -> b heads h w kw")
        logits = logits + rearrange(by_row, "... kh -> ... kh 1") + rearrange(by_col, "... kw -> ... 1 kw")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits = logits.masked_fill(~inside_image(h, w, kernel_size, device=q.device), float("-inf"))
    flat = torch.softmax(rearrange(logits, "... kh kw -> ... (kh kw)"), dim=-1)
    return rearrange(flat, "... (kh kw) -> ... kh kw", kh=kernel_size)


def attend(
    q: Float[Tensor, "b heads d h w"],
    k: Float[Tensor, "b heads d h w"] | None,
    v: Float[Tensor, "b heads d h w"],
    row: Float[Tensor, "d1 kh"] | None,
    col: Float[Tensor, "d2 kw"] | None,
    kernel_size: int,
) -> Float[Tensor, "b heads d h w"]:
    """The weighted sum of the values in each window."""
    attention = weights(q, k, row, col, kernel_size).to(v.dtype)
    return einsum(attention, _windows(v, kernel_size), "b heads h w kh kw, b heads d h w kh kw -> b heads d h w")


def _windows(x: Float[Tensor, "b heads d h w"], kernel_size: int) -> Float[Tensor, "b heads d h w kh kw"]:
    windows = gather_windows(rearrange(x, "b heads d h w -> b (heads d) h w"), kernel_size)
    return rearrange(windows, "b (heads d) h w kh kw -> b heads d h w kh kw", heads=x.shape[1])
