"""The list: each bug with its name, where it was seen, the layer that it lives in, and how to bring it in."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

from sasa_tutorial import kernels
from sasa_tutorial.bugs.local_attention import (
    gathering,
    inverted_mask,
    local,
    no_sum_over_d,
    offsets_summed_apart,
    one_map_for_all_heads,
    rows_and_columns_before_the_heads,
    rows_for_columns,
    scaled_logits,
    scrambled_unfold,
    zero_padded_keys,
)
from sasa_tutorial.bugs.other_layers import (
    heads_without_permute,
    missing_transpose,
    normalised_in_half_precision,
    positions_of_the_image,
    softmax_over_queries,
    softmax_over_slots_only,
    tied_memories,
    unscaled_offsets,
)
from sasa_tutorial.layers import (
    AttentionAugmentedConv2d,
    AttentionStem2d,
    ExternalAttention2d,
    GlobalSelfAttention2d,
    LocalSelfAttention2d,
    external_attention,
    local_attention,
)


@dataclass(frozen=True, kw_only=True)
class Bug:
    """A mistake that keeps the shapes, trains, and reaches an accuracy that raises no suspicion."""

    name: str
    seen_in: str
    layer: type[nn.Module]
    patch: Callable[[], AbstractContextManager]  # while it is entered, the whole library has the bug

    def build(self, *arguments: Any, **options: Any) -> nn.Module:
        """The layer with this bug, and the library around it as it was.

        Args:
            arguments, options: of the layer.
        """
        return _with_bug(self)(*arguments, **options)


def right_layer(bug: Bug, *arguments: Any, **options: Any) -> nn.Module:
    """The same layer without the bug, computed by its own lines, as the layer with the bug is."""
    return _with_bug(bug, present=False)(*arguments, **options)


def _with_bug(bug: Bug, *, present: bool = True) -> type[nn.Module]:
    """A subclass that works under the patch: the bug is there while it computes, and nowhere else."""

    def doing(action: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with kernels.using("reference"):  # a layer's own lines: the patches are of single ones
            if not present:
                return action(*arguments, **options)
            with bug.patch():
                return action(*arguments, **options)

    class Suspect(bug.layer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            doing(super().__init__, *arguments, **options)

        def forward(self, x: Tensor) -> Tensor:
            return doing(lambda: super(Suspect, self).forward(x))

    Suspect.__name__ = Suspect.__qualname__ = bug.layer.__name__
    return Suspect


BUGS = (
    Bug(
        name="no sum over d: one softmax a channel",
        seen_in="leaderj1001/Stand-Alone-Self-Attention",
        layer=LocalSelfAttention2d,
        patch=lambda: local(no_sum_over_d),
    ),
    Bug(
        name="one attention map for all heads",
        seen_in="MerHS/SASA-pytorch",
        layer=LocalSelfAttention2d,
        patch=lambda: local(one_map_for_all_heads),
    ),
    Bug(
        name="rows and columns split before the heads",
        seen_in="leaderj1001/Stand-Alone-Self-Attention",
        layer=LocalSelfAttention2d,
        patch=lambda: local(rows_and_columns_before_the_heads),
    ),
    Bug(
        name="inverted mask",
        seen_in="lucidrains/halonet-pytorch (mended 2026)",
        layer=LocalSelfAttention2d,
        patch=lambda: local(inverted_mask),
    ),
    Bug(
        name="zero-padded keys keep their share of the softmax",
        seen_in="every public SASA",
        layer=LocalSelfAttention2d,
        patch=lambda: local(zero_padded_keys),
    ),
    Bug(
        name="row offsets on columns",
        seen_in="an easy slip",
        layer=LocalSelfAttention2d,
        patch=lambda: local(rows_for_columns),
    ),
    Bug(
        name="offsets as (sum of q) times (sum of r)",
        seen_in="MartinGer/Stand-Alone-Self-Attention-in-Vision-Models",
        layer=LocalSelfAttention2d,
        patch=lambda: local(offsets_summed_apart),
    ),
    Bug(
        name="SASA's logits divided by the root of d",
        seen_in="habit; the paper has no scaling",
        layer=LocalSelfAttention2d,
        patch=lambda: local(scaled_logits),
    ),
    Bug(
        name="unfolded windows reshaped in the wrong order",
        seen_in="a relative of gupta-abhay/pytorch-vit, issue 7",
        layer=LocalSelfAttention2d,
        patch=lambda: gathering(scrambled_unfold),
    ),
    Bug(
        name="heads split by reshape, without moving the axis",
        seen_in="MartinGer/Attention-Augmented-Convolutional-Networks",
        layer=LocalSelfAttention2d,
        patch=lambda: patch.object(local_attention, "split_heads", heads_without_permute),
    ),
    Bug(
        name="missing transpose before the heads are joined",
        seen_in="leaderj1001/Attention-Augmented-Conv2d",
        layer=AttentionAugmentedConv2d,
        patch=lambda: patch.object(AttentionAugmentedConv2d, "_attend", missing_transpose),
    ),
    Bug(
        name="scaled content, unscaled offsets",
        seen_in="timm (the default of its halo attention)",
        layer=AttentionAugmentedConv2d,
        patch=lambda: patch.object(AttentionAugmentedConv2d, "_weights_and_values", unscaled_offsets),
    ),
    Bug(
        name="softmax over the queries",
        seen_in="labml, a diffusion U-Net",
        layer=GlobalSelfAttention2d,
        patch=lambda: patch.object(GlobalSelfAttention2d, "forward", softmax_over_queries),
    ),
    Bug(
        name="tied memories",
        seen_in="MenghaoGuo/EANet on a CPU",
        layer=ExternalAttention2d,
        patch=lambda: patch.object(ExternalAttention2d, "__init__", tied_memories),
    ),
    Bug(
        name="one normalization instead of two",
        seen_in="an easy slip",
        layer=ExternalAttention2d,
        patch=lambda: patch.object(external_attention, "double_normalization", softmax_over_slots_only),
    ),
    Bug(
        name="1e-9 in float16, where it is 0",
        seen_in="MenghaoGuo/EANet in pure half precision",
        layer=ExternalAttention2d,
        patch=lambda: patch.object(external_attention, "double_normalization", normalised_in_half_precision),
    ),
    Bug(
        name="stem positions counted over the image, not in the block",
        seen_in="MerHS/SASA-pytorch",
        layer=AttentionStem2d,
        patch=lambda: patch.object(AttentionStem2d, "values_in_blocks", positions_of_the_image),
    ),
)
