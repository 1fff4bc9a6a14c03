"""Local attention as the equation says it: gather the windows, softmax, sum. Readable, and k² times the memory."""

from collections.abc import Sequence

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from sasa_tutorial.kernels.inputs import Inputs, compute_dtype
from sasa_tutorial.windows import gather_windows, inside_image


def attend(inputs: Inputs, kernel_size: int) -> Float[Tensor, "b heads d h w"]:
    """The weighted sum of the values in each window."""
    return attend_within(inputs, (kernel_size // 2, kernel_size // 2))


def attend_within(inputs: Inputs, reach: Sequence[int]) -> Float[Tensor, "b heads d h w"]:
    """The same in windows that extend `reach` rows and columns from their middle; row and col fit them."""
    q, k, v, row, col = inputs
    attention = weights(q, k, row, col, reach).to(v.dtype)
    return einsum(attention, _windows(v, reach), "b heads h w kh kw, b heads d h w kh kw -> b heads d h w")


def weights(
    q: Float[Tensor, "b heads d h w"],
    k: Float[Tensor, "b heads d h w"] | None,
    row: Float[Tensor, "d1 kh"] | None,
    col: Float[Tensor, "d2 kw"] | None,
    reach: Sequence[int],
) -> Float[Tensor, "b heads h w kh kw"]:
    """Softmax over the window of q·k + q·r, cells outside the image excluded; in float32 at least."""
    logits = 0
    if k is not None:
        logits = einsum(q, _windows(k, reach), "b heads d h w, b heads d h w kh kw -> b heads h w kh kw")
    if row is not None and col is not None:
        by_row, by_col = offset_logits(rearrange(q, "b heads d h w -> d b heads h w"), row, col)
        logits = logits + rearrange(by_row, "kh ... -> ... kh 1") + rearrange(by_col, "kw ... -> ... 1 kw")
    logits = logits.to(compute_dtype(logits))
    inside = _part(inside_image(*q.shape[3:], 2 * max(reach) + 1, device=q.device), reach)
    logits = logits.masked_fill(~inside, float("-inf"))
    flat = torch.softmax(rearrange(logits, "... kh kw -> ... (kh kw)"), dim=-1)
    return rearrange(flat, "... (kh kw) -> ... kh kw", kh=2 * reach[0] + 1)


def offset_logits(
    q: Float[Tensor, "d ..."], row: Float[Tensor, "d1 kh"], col: Float[Tensor, "d2 kw"]
) -> tuple[Float[Tensor, "kh ..."], Float[Tensor, "kw ..."]]:
    """q·r in two summands: the first channels of a head with each row offset, the others with each column offset."""
    q_row, q_col = q.split((row.shape[0], col.shape[0]))
    by_row = einsum(q_row, row.to(q.dtype), "d ..., d kh -> kh ...")
    return by_row, einsum(q_col, col.to(q.dtype), "d ..., d kw -> kw ...")


def _windows(x: Float[Tensor, "b heads d h w"], reach: Sequence[int]) -> Float[Tensor, "b heads d h w kh kw"]:
    windows = gather_windows(rearrange(x, "b heads d h w -> b (heads d) h w"), 2 * max(reach) + 1)
    return rearrange(_part(windows, reach), "b (heads d) h w kh kw -> b heads d h w kh kw", heads=x.shape[1])


def _part(square: Tensor, reach: Sequence[int]) -> Tensor:
    """Of square windows, what lies within reach of the middle."""
    rows, cols = (slice(max(reach) - r, max(reach) + r + 1) for r in reach)
    return square[..., rows, cols]
