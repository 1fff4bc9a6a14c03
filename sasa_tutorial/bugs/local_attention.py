"""Local attention as public implementations get it wrong: functions of q, k, v and the tables, in place of it.

Each differs from `equation` in one step. Shapes: q, k, v (b, heads, d, h, w), row and col (d/2, k) -> like v.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor

from sasa_tutorial.kernels import dispatch, reference
from sasa_tutorial.layers import LocalSelfAttention2d, local_attention
from sasa_tutorial.layers.heads import join_heads
from sasa_tutorial.windows import gather_windows, inside_image


def windows(x, kernel_size):
    flat = gather_windows(rearrange(x, "b heads d h w -> b (heads d) h w"), kernel_size)
    return rearrange(flat, "b (heads d) h w kh kw -> b heads d h w kh kw", heads=x.shape[1])


def softmax_over_window(logits, kernel_size):
    return torch.softmax(logits.flatten(-2), dim=-1).unflatten(-1, (kernel_size, kernel_size))


def offset_logits(q, row, col):
    if row is None:
        return 0
    q_row, q_col = q.split((len(row), len(col)), dim=2)
    by_row = einsum(q_row, row, "b heads d h w, d kh -> b heads h w kh")
    by_col = einsum(q_col, col, "b heads d h w, d kw -> b heads h w kw")
    return by_row[..., :, None] + by_col[..., None, :]


def attend(logits, v, kernel_size, seen=None):
    seen = inside_image(*v.shape[3:], kernel_size) if seen is None else seen
    weights = softmax_over_window(logits.masked_fill(~seen, -1e30), kernel_size)
    return einsum(weights, windows(v, kernel_size), "b heads h w kh kw, b heads d h w kh kw -> b heads d h w")


def content(q, k, kernel_size):
    return (
        0
        if k is None
        else einsum(q, windows(k, kernel_size), "b heads d h w, b heads d h w kh kw -> b heads h w kh kw")
    )


def equation(q, k, v, row, col, kernel_size):
    """As it should be: softmax(q·k + q·r) over the window, times the values."""
    return attend(content(q, k, kernel_size) + offset_logits(q, row, col), v, kernel_size)


def no_sum_over_d(q, k, v, row, col, kernel_size):
    keys = 0 if k is None else windows(k, kernel_size)
    if row is not None:  # r of every cell: a row's half of the channels, then a column's
        columns = col[:, None].expand(-1, kernel_size, -1)
        keys = keys + torch.cat((row[:, :, None].expand(-1, -1, kernel_size), columns))[:, None, None]
    logits = q[..., None, None] * keys
    logits = logits.masked_fill(~inside_image(*q.shape[3:], kernel_size), -1e30)
    return (softmax_over_window(logits, kernel_size) * windows(v, kernel_size)).sum(dim=(-2, -1))


def one_map_for_all_heads(q, k, v, row, col, kernel_size):
    logits = content(q, k, kernel_size) + offset_logits(q, row, col)
    return attend(logits.sum(dim=1, keepdim=True).expand_as(logits), v, kernel_size)


def rows_and_columns_before_the_heads(q, k, v, row, col, kernel_size):
    q_row, q_col = q.split((len(row), len(col)), dim=2)
    by_row = einsum(q_row, row, "b heads d h w, d kh -> b heads h w kh")[..., :, None]
    by_col = einsum(q_col, col, "b heads d h w, d kw -> b heads h w kw")[..., None, :]
    half = q.shape[1] // 2  # the first half of all channels: the first half of the heads
    by_row, by_col = by_row.expand(-1, -1, -1, -1, -1, kernel_size), by_col.expand(-1, -1, -1, -1, kernel_size, -1)
    return attend(content(q, k, kernel_size) + torch.cat((by_row[:, :half], by_col[:, half:]), dim=1), v, kernel_size)


def inverted_mask(q, k, v, row, col, kernel_size):
    outside = ~inside_image(*v.shape[3:], kernel_size)
    return attend(content(q, k, kernel_size) + offset_logits(q, row, col), v, kernel_size, seen=outside)


def zero_padded_keys(q, k, v, row, col, kernel_size):
    everywhere = torch.ones(kernel_size, kernel_size, dtype=torch.bool)
    return attend(content(q, k, kernel_size) + offset_logits(q, row, col), v, kernel_size, seen=everywhere)


def rows_for_columns(q, k, v, row, col, kernel_size):
    return attend(content(q, k, kernel_size) + offset_logits(q, col, row), v, kernel_size)


def offsets_summed_apart(q, k, v, row, col, kernel_size):
    r = row.sum(dim=0)[:, None] + col.sum(dim=0)[None, :]
    return attend(content(q, k, kernel_size) + q.sum(dim=2)[..., None, None] * r, v, kernel_size)


def scaled_logits(q, k, v, row, col, kernel_size):
    logits = content(q, k, kernel_size) + offset_logits(q, row, col)
    return attend(logits * q.shape[2] ** -0.5, v, kernel_size)


def scrambled_unfold(x, kernel_size):
    b, c, h, w = x.shape
    return F.unfold(x, kernel_size, padding=kernel_size // 2).reshape(b, c, h, w, kernel_size, kernel_size)


@contextmanager
def local(function: Callable[..., Tensor]) -> Iterator[None]:
    """Local attention by `function(q, k, v, row, col, kernel_size)`, as a layer and as every backend."""

    def forward(self, x):
        tables = (None, None) if self.offsets is None else (self.offsets.row, self.offsets.col)
        return join_heads(function(*self.queries_keys_values(x), *tables, self.kernel_size))

    with ExitStack() as patches:
        patches.enter_context(patch.object(LocalSelfAttention2d, "forward", forward))
        for module in dispatch.BACKENDS.values():
            patches.enter_context(patch.object(module, "attend", lambda inputs, k: function(*inputs, k)))
        yield


@contextmanager
def gathering(function: Callable[[Tensor, int], Tensor]) -> Iterator[None]:
    """Windows gathered by `function(x, kernel_size)`, in the layer and in the reference."""
    with ExitStack() as patches:
        for module in (local_attention, reference):
            patches.enter_context(patch.object(module, "gather_windows", function))
        yield
