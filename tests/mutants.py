"""Bugs that public implementations of these layers really have, as patches, and the test that notices each.

Every one of them keeps the shapes, trains, and reaches an accuracy that raises no suspicion. A test suite is worth what
it kills, so each patch is applied and its killer has to fail.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
import torch.nn.functional as F
from einops import einsum, rearrange

from sasa_tutorial import kernels
from sasa_tutorial.kernels import dispatch, reference
from sasa_tutorial.layers import (
    AttentionAugmentedConv2d,
    AttentionStem2d,
    ExternalAttention2d,
    GlobalSelfAttention2d,
    LocalSelfAttention2d,
    external_attention,
    local_attention,
)
from sasa_tutorial.layers.heads import join_heads, split_heads
from sasa_tutorial.windows import gather_windows, inside_image
from tests import test_attention_layers as tests


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A bug, where it was seen, how to bring it into this library, and what notices."""

    name: str
    seen_in: str
    patch: Callable[[], AbstractContextManager]
    killer: str  # a function of test_attention_layers
    arguments: tuple = ()  # of a parametrised killer, or one example of a hypothesis test

    def kill(self) -> None:
        """Run the killer: it passes on the library, and raises AssertionError on the mutant."""
        test = getattr(tests, self.killer)
        if hasattr(test, "hypothesis"):
            test = test.hypothesis.inner_test
        torch.manual_seed(0)
        with kernels.using("reference"):  # a layer's own lines: the patches are of single ones
            test(*self.arguments)


# Local attention: the window as (b, heads, d, h, w, k, k), and what may go wrong between there and the output.


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


def attend(logits, v, kernel_size):
    inside = inside_image(*v.shape[3:], kernel_size)
    weights = softmax_over_window(logits.masked_fill(~inside, -1e30), kernel_size)
    return einsum(weights, windows(v, kernel_size), "b heads h w kh kw, b heads d h w kh kw -> b heads d h w")


def content(q, k, kernel_size):
    return (
        0
        if k is None
        else einsum(q, windows(k, kernel_size), "b heads d h w, b heads d h w kh kw -> b heads h w kh kw")
    )


def no_sum_over_d(q, k, v, row, col, kernel_size):
    logits = q[..., None, None] * windows(k, kernel_size) + offset_logits(q, row, col).unsqueeze(2)
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


def inverted_mask(*shape, device):
    return ~inside_image(*shape, device=device)


def zero_padded_keys(*shape, device):
    return torch.ones_like(inside_image(*shape, device=device))


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


# The other layers.


def missing_transpose(self, x):
    weights, v = self._weights_and_values(x)
    y = einsum(weights, v, "b heads i j, b heads d j -> b heads i d")
    return self.to_out(y.reshape(x.shape[0], -1, *x.shape[2:]))


def heads_without_permute(x, heads):
    b, c, *pixels = x.shape
    return x.reshape(b, heads, *pixels, c // heads).movedim(-1, 2)


def softmax_over_queries(self, x):
    q, k, v = (self._tokens(project(x)) for project in (self.to_q, self.to_k, self.to_v))
    weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-2)
    return self.to_out(rearrange(weights @ v, "b heads (h w) d -> b (heads d) h w", h=x.shape[2]))


def unscaled_offsets(self, x):
    q, k, v = self.to_qkv(x).split((self.key_channels, self.key_channels, self.value_channels), dim=1)
    q = rearrange(q, "b (heads d) h w -> b heads d h w", heads=self.heads)
    k, v = (rearrange(t, "b (heads d) h w -> b heads d (h w)", heads=self.heads) for t in (k, v))
    logits = q.flatten(3).transpose(-1, -2) @ k * q.shape[2] ** -0.5 + self.offsets(q)
    return torch.softmax(logits, dim=-1), v


def tied_memories(self, *arguments, **options):
    ORIGINAL_INIT(self, *arguments, **options)
    self.memory_v = torch.nn.Parameter(self.memory_k.data)


ORIGINAL_INIT = ExternalAttention2d.__init__


def softmax_over_slots_only(logits):
    return torch.softmax(logits, dim=-1)


def normalised_in_half_precision(logits):
    over_pixels = torch.softmax(logits, dim=-2)
    return over_pixels / (1e-9 + over_pixels.sum(dim=-1, keepdim=True))


def positions_of_the_image(self, x):
    v = rearrange(self.to_v(x), "b (m c) h w -> b m c h w", m=self.mixtures)
    p = self.value_mixture()
    row, col = (torch.arange(side) // 2 % self.block for side in x.shape[2:])  # no longer the place in the block
    mixed = einsum(v, p[:, row][:, :, col], "b m c h w, m h w -> b c h w")
    return self._in_blocks(split_heads(mixed, self.heads))


@contextmanager
def local(function):
    """Local attention by `function`, as a layer and as every backend."""

    def forward(self, x):
        tables = (None, None) if self.offsets is None else (self.offsets.row, self.offsets.col)
        return join_heads(function(*self.queries_keys_values(x), *tables, self.kernel_size))

    with ExitStack() as patches:
        patches.enter_context(patch.object(LocalSelfAttention2d, "forward", forward))
        for module in dispatch.BACKENDS.values():
            patches.enter_context(patch.object(module, "attend", lambda inputs, k: function(*inputs, k)))
        yield


EQUATION = "test_every_backend_is_the_equation"
EXAMPLE = ((2, 4, 5), (3, 4), 3, True, True)  # b h w, heads d, k, content, relative
MUTANTS = (
    Mutant(
        name="no sum over d: one softmax a channel",
        seen_in="leaderj1001/Stand-Alone-Self-Attention",
        patch=lambda: local(no_sum_over_d),
        killer=EQUATION,
        arguments=EXAMPLE,
    ),
    Mutant(
        name="one attention map for all heads",
        seen_in="MerHS/SASA-pytorch",
        patch=lambda: local(one_map_for_all_heads),
        killer="test_a_head_sees_its_own_channels_only",
    ),
    Mutant(
        name="rows and columns split before the heads",
        seen_in="leaderj1001/Stand-Alone-Self-Attention",
        patch=lambda: local(rows_and_columns_before_the_heads),
        killer="test_every_head_learns_rows_and_columns",
    ),
    Mutant(
        name="inverted mask",
        seen_in="lucidrains/halonet-pytorch (mended 2026)",
        patch=lambda: patch.object(local_attention, "inside_image", inverted_mask),
        killer="test_zero_queries_average_the_pixels_inside",
    ),
    Mutant(
        name="zero-padded keys keep their share of the softmax",
        seen_in="every public SASA",
        patch=lambda: patch.object(local_attention, "inside_image", zero_padded_keys),
        killer="test_zero_queries_average_the_pixels_inside",
    ),
    Mutant(
        name="row offsets on columns",
        seen_in="an easy slip",
        patch=lambda: local(rows_for_columns),
        killer=EQUATION,
        arguments=EXAMPLE,
    ),
    Mutant(
        name="offsets as (sum of q) times (sum of r)",
        seen_in="MartinGer/Stand-Alone-Self-Attention",
        patch=lambda: local(offsets_summed_apart),
        killer=EQUATION,
        arguments=EXAMPLE,
    ),
    Mutant(
        name="SASA's logits divided by the root of d",
        seen_in="habit; the paper has no scaling",
        patch=lambda: local(scaled_logits),
        killer="test_a_window_as_large_as_the_image_is_global_attention",
    ),
    Mutant(
        name="unfolded windows reshaped in the wrong order",
        seen_in="MartinGer/Stand-Alone-Self-Attention",
        patch=lambda: patch.object(reference, "gather_windows", scrambled_unfold),
        killer=EQUATION,
        arguments=EXAMPLE,
    ),
    Mutant(
        name="heads split by reshape, without moving the axis",
        seen_in="MartinGer/Attention-Augmented-Convolution",
        patch=lambda: patch.object(local_attention, "split_heads", heads_without_permute),
        killer="test_the_local_layer_is_projections_and_the_equation",
        arguments=({}, "reference"),
    ),
    Mutant(
        name="missing transpose before the heads are joined",
        seen_in="leaderj1001/Attention-Augmented-Conv2d",
        patch=lambda: patch.object(AttentionAugmentedConv2d, "_attend", missing_transpose),
        killer="test_augmented_convolution_without_positions_does_not_know_where_pixels_are",
    ),
    Mutant(
        name="scaled content, unscaled offsets",
        seen_in="timm (the default of its halo attention)",
        patch=lambda: patch.object(AttentionAugmentedConv2d, "_weights_and_values", unscaled_offsets),
        killer="test_augmented_convolution_is_convolution_and_attention_with_added_offsets",
        arguments=(12, (4, 5)),
    ),
    Mutant(
        name="softmax over the queries",
        seen_in="labml, a diffusion U-Net",
        patch=lambda: patch.object(GlobalSelfAttention2d, "forward", softmax_over_queries),
        killer="test_global_attention_is_pytorchs_multi_head_attention",
    ),
    Mutant(
        name="tied memories",
        seen_in="MenghaoGuo/EANet on a CPU",
        patch=lambda: patch.object(ExternalAttention2d, "__init__", tied_memories),
        killer="test_the_memories_are_two",
    ),
    Mutant(
        name="one normalization instead of two",
        seen_in="an easy slip",
        patch=lambda: patch.object(external_attention, "double_normalization", softmax_over_slots_only),
        killer="test_external_attention_is_two_normalizations",
        arguments=((2, 3, 4), 2, 5),
    ),
    Mutant(
        name="1e-9 in float16, where it is 0",
        seen_in="MenghaoGuo/EANet under mixed precision",
        patch=lambda: patch.object(tests, "double_normalization", normalised_in_half_precision),
        killer="test_double_normalization_sums_to_one_and_forgets_a_constant_per_slot",
    ),
    Mutant(
        name="stem positions counted over the image, not in the block",
        seen_in="MerHS/SASA-pytorch",
        patch=lambda: patch.object(AttentionStem2d, "values_in_blocks", positions_of_the_image),
        killer="test_shares_of_the_mixture_sum_to_one_and_belong_to_places_in_the_block",
    ),
)


def table() -> str:
    """The mutants as a Markdown table, for CONTRIBUTING.md and the end of a test run."""
    lines = ["| bug | seen in | killed by |", "|---|---|---|"]
    lines += [f"| {mutant.name} | {mutant.seen_in} | `{mutant.killer}` |" for mutant in MUTANTS]
    return "\n".join(lines)
