"""Local attention by PyTorch's FlexAttention: the same mask and offsets, written for its compiler."""

import functools

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from sasa_tutorial.devices import on_gpu
from sasa_tutorial.layers import LocalSelfAttention2d
from sasa_tutorial.layers.heads import check_images, join_heads

LEAST_HEAD_DIM = 16  # FlexAttention's on a GPU; narrower heads are filled up with zeros, which change no product


class FlexLocalSelfAttention2d(LocalSelfAttention2d):
    """`LocalSelfAttention2d` with its parameters and values, the pixels of an image being one sequence.

    The window is a mask over pairs of pixels, of which FlexAttention skips empty blocks; q·r is added to the logits
    from two tensors, one number for each query and row or column offset.

    Compiled on a GPU. On a CPU it is computed without being compiled, and PyTorch gives no gradients there.

    Source: PyTorch, torch.nn.attention.flex_attention; Dong et al. 2024, arXiv:2412.05496.
    """

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h w"]:
        check_images(x, self.in_channels)
        q, k, v = self.queries_keys_values(x)
        by_row, by_col = self.offsets.halves(q)
        h, w = x.shape[2:]
        d = q.shape[2]
        fill = max(0, LEAST_HEAD_DIM - d) if on_gpu(x.device) else 0
        q, k, v = (F.pad(rearrange(t, "b heads d h w -> b heads (h w) d"), (0, fill)) for t in (q, k, v))
        by_row, by_col = (rearrange(t, "b heads h w k -> b heads (h w) k") for t in (by_row, by_col))
        attend = _compiled() if on_gpu(x.device) else _attend
        out = attend(q, k, v, by_row, by_col, _window(h, w, self.kernel_size, x.device), w)
        return join_heads(rearrange(out[..., :d], "b heads (h w) d -> b heads d h w", h=h))


def _attend(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_col: Tensor, window: object, w: int) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    last = by_row.shape[-1] - 1

    def add_offsets(logit: Tensor, b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        # Pairs outside the window are masked afterwards; until then their offsets must not point outside the tables.
        row = (key // w - query // w + last // 2).clamp(0, last)
        col = (key % w - query % w + last // 2).clamp(0, last)
        return logit + by_row[b, head, query, row] + by_col[b, head, query, col]

    return flex_attention(q, k, v, score_mod=add_offsets, block_mask=window, scale=1.0)


@functools.cache
def _compiled() -> object:
    return torch.compile(_attend, dynamic=False)


@functools.lru_cache(maxsize=16)
def _window(h: int, w: int, kernel_size: int, device: torch.device) -> object:
    """Which blocks of pairs hold a pair that is in the window; made once for each size, as it costs (h w)² numbers."""
    from torch.nn.attention.flex_attention import create_block_mask

    reach = kernel_size // 2

    def inside(b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        rows, cols = (query // w - key // w).abs(), (query % w - key % w).abs()
        return (rows <= reach) & (cols <= reach)

    return create_block_mask(inside, None, None, h * w, h * w, device=device)
