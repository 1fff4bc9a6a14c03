"""Spatial layers for the bottleneck: each mechanism as a callable (in_channels, out_channels, stride) -> layer.

Attention has no stride of its own. Where the network halves the image, the layer works at the input's resolution and a
2x2 average pooling follows (SASA, Sec. 4.1); on the last row or column of an odd side the pooling takes what is there.
"""

from torch import Tensor, nn

from sasa_tutorial.layers import (
    AbsolutePositions2d,
    ExternalAttention2d,
    GlobalSelfAttention2d,
    LocalSelfAttention2d,
)
from sasa_tutorial.models.resnet import SpatialLayer

HEADS = 8  # in all three papers' image networks
LEAST_HEAD_CHANNELS = 8  # the narrowest in the papers: 64 channels, 8 heads
POSITIONS = ("relative", "absolute", "absolute_qk", "none")


def head_count(channels: int, least: int = LEAST_HEAD_CHANNELS) -> int:
    """8 heads, or as many as divide the channels and leave each head `least` of them.

    Raises:
        ValueError: fewer than `least` channels.
    """
    if channels < least:
        raise ValueError(f"attention needs at least {least} channels, got {channels}")
    counts = (count for count in range(HEADS, 0, -1) if channels % count == 0)
    return next(count for count in counts if channels // count >= least)


def with_stride(layer: nn.Module, stride: int) -> nn.Module:
    """The layer, followed by average pooling where the network strides."""
    return layer if stride == 1 else nn.Sequential(layer, nn.AvgPool2d(stride, ceil_mode=True))


def global_attention(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Attention between all pixels, without positions."""
    return with_stride(GlobalSelfAttention2d(in_channels, out_channels, head_count(out_channels)), stride)


class _PositionedQueriesAndKeys(LocalSelfAttention2d):
    """Local attention whose queries and keys are made of the input plus sinusoids, and its values of the input alone.

    What is attended to may then depend on positions, and nothing of them is passed on.
    """

    def queries_keys_values(self, x: Tensor, seen: Tensor | None = None) -> tuple[Tensor, ...]:
        return super().queries_keys_values(x, AbsolutePositions2d(self.in_channels)(x))


def local_attention(
    *,
    kernel_size: int = 7,
    positions: str = "relative",
    content: bool = True,
    grouped: bool = False,
    scaled: bool = False,
    head_channels: int = LEAST_HEAD_CHANNELS,
) -> SpatialLayer:
    """Attention in a window.

    Args:
        kernel_size, content, grouped, scaled: as in `LocalSelfAttention2d`.
        positions: "relative", "absolute" (sinusoids added to the layer's input), "absolute_qk" (to the input of its
            queries and keys only) or "none".
        head_channels: of a head, at least.

    Raises:
        ValueError: other positions.
    """
    if positions not in POSITIONS:
        raise ValueError(f"positions must be {', '.join(map(repr, POSITIONS))}, got {positions!r}")

    def build(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        options = {"relative": positions == "relative", "content": content, "grouped": grouped, "scaled": scaled}
        kind = _PositionedQueriesAndKeys if positions == "absolute_qk" else LocalSelfAttention2d
        layer = kind(in_channels, out_channels, kernel_size, head_count(out_channels, head_channels), **options)
        layer = with_stride(layer, stride)
        return nn.Sequential(AbsolutePositions2d(in_channels), layer) if positions == "absolute" else layer

    return build


def external_attention(*, slots: int = 64, heads: int | None = None, normalization: str = "double") -> SpatialLayer:
    """Attention to a memory that all images share; as many heads as everywhere for None."""

    def build(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        count = heads or head_count(out_channels)
        layer = ExternalAttention2d(in_channels, out_channels, slots, count, normalization=normalization)
        return with_stride(layer, stride)

    return build
