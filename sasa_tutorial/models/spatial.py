"""Spatial layers for the bottleneck: each mechanism as a callable (in_channels, out_channels, stride) -> layer.

Attention has no stride of its own. Where the network halves the image, the layer works at the input's resolution and a
2x2 average pooling follows (SASA, Sec. 4.1); on the last row or column of an odd side the pooling takes what is there.
"""

from torch import nn

from sasa_tutorial.layers import (
    AttentionAugmentedConv2d,
    ExternalAttention2d,
    GlobalSelfAttention2d,
    LocalSelfAttention2d,
)
from sasa_tutorial.models.resnet import SpatialLayer

HEADS = 8  # in all three papers' image networks
LEAST_HEAD_CHANNELS = 8  # the narrowest in the papers: 64 channels, 8 heads


def head_count(channels: int) -> int:
    """8 heads, or as many as divide the channels and leave each head 8 of them.

    Raises:
        ValueError: fewer than 8 channels.
    """
    if channels < LEAST_HEAD_CHANNELS:
        raise ValueError(f"attention needs at least {LEAST_HEAD_CHANNELS} channels, got {channels}")
    counts = (count for count in range(HEADS, 0, -1) if channels % count == 0)
    return next(count for count in counts if channels // count >= LEAST_HEAD_CHANNELS)


def with_stride(layer: nn.Module, stride: int) -> nn.Module:
    """The layer, followed by average pooling where the network strides."""
    return layer if stride == 1 else nn.Sequential(layer, nn.AvgPool2d(stride, ceil_mode=True))


def global_attention(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Attention between all pixels, without positions."""
    return with_stride(GlobalSelfAttention2d(in_channels, out_channels, head_count(out_channels)), stride)


def local_attention(*, kernel_size: int = 7, **options: bool) -> SpatialLayer:
    """Attention in a window; the options are those of `LocalSelfAttention2d`."""

    def build(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        heads = head_count(out_channels)
        return with_stride(LocalSelfAttention2d(in_channels, out_channels, kernel_size, heads, **options), stride)

    return build


def augmented_convolution(
    *, kappa: float = 0.25, upsilon: float = 0.25, max_size: tuple[int, int] = (16, 16)
) -> SpatialLayer:
    """A 3x3 convolution with a share of its channels from global attention with relative positions.

    Args:
        kappa: κ, key channels per output channel.
        upsilon: υ, value channels per output channel.
        max_size: the largest image the layer will meet.
    """

    def build(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        keys, values = (max(8, round(share * out_channels / 8) * 8) for share in (kappa, upsilon))
        layer = AttentionAugmentedConv2d(
            in_channels,
            out_channels,
            key_channels=keys,
            value_channels=values,
            heads=min(head_count(keys), head_count(values)),
            max_size=max_size,
        )
        return with_stride(layer, stride)

    return build


def external_attention(*, slots: int = 64) -> SpatialLayer:
    """Attention to a memory that all images share."""

    def build(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        return with_stride(ExternalAttention2d(in_channels, out_channels, slots, head_count(out_channels)), stride)

    return build
