"""The mechanisms of the series, one small file each, in the order of the notebooks."""
# ruff: noqa: I001, RUF022

from sasa_tutorial.windows import gather_windows, inside_image
from sasa_tutorial.layers.convolution import conv2d_loops, conv2d_windows
from sasa_tutorial.layers.global_attention import GlobalSelfAttention2d
from sasa_tutorial.layers.local_attention import LocalSelfAttention2d
from sasa_tutorial.layers.relative_offsets import RelativeOffsets2d, relative_to_absolute
from sasa_tutorial.layers.attention_stem import AttentionStem2d
from sasa_tutorial.layers.augmented_convolution import AttentionAugmentedConv2d
from sasa_tutorial.layers.external_attention import ExternalAttention2d
from sasa_tutorial.layers.resizing import fit_offsets, resize_offsets
from sasa_tutorial.layers.position_encodings import AbsolutePositions2d, CoordinateChannels2d

__all__ = [
    "gather_windows",
    "inside_image",
    "conv2d_loops",
    "conv2d_windows",
    "GlobalSelfAttention2d",
    "LocalSelfAttention2d",
    "RelativeOffsets2d",
    "relative_to_absolute",
    "AttentionStem2d",
    "AttentionAugmentedConv2d",
    "ExternalAttention2d",
    "AbsolutePositions2d",
    "CoordinateChannels2d",
    "fit_offsets",
    "resize_offsets",
]
