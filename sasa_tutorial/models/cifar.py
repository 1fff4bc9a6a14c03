"""The CIFAR-100 comparison: one ResNet-26 for 32x32 images, one spatial layer for each mechanism.

Three networks change every block: plain and relative local attention, and the same under an attention stem. The other
three change the blocks of the last two groups, whose inputs are 16x16 and 8x8: between all pixels of a 32x32 image
there are a million weights a head, which no profile of this series could pay for (AAConv, too, starts "from the last
layer until we hit memory constraints"); external attention could, and follows them so that the three compare.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import nn

from sasa_tutorial.layers import AttentionStem2d
from sasa_tutorial.models import spatial
from sasa_tutorial.models.augmented import narrow_augmented_spatial
from sasa_tutorial.models.resnet import (
    GROUPS,
    STRIDES,
    ResNet,
    SpatialLayer,
    convolution_3x3,
    in_groups,
    scaled_channels,
)

Builder = Callable[..., nn.Module]
LAST_TWO = (3, 4)  # groups


def cifar_resnet(
    spatial: SpatialLayer | Sequence[SpatialLayer],
    *,
    stem: nn.Module | None = None,
    stem_halves: bool = False,
    depth: int = 26,
    width: float = 1.0,
    num_classes: int = 100,
    recalibrate: str = "none",
    zero_residual: bool = False,
    query_gain: float = 1.0,
) -> ResNet:
    """The paper's ResNet for 32x32 images: the stem is one 3x3 convolution, without stride or pooling.

    At 224x224 the stem divides the side by 4; here the groups would then see 8, 4, 2 and 1 pixels a side and a 7x7
    window would hold the whole image. Without it they see 32, 16, 8 and 4. After a stem that halves the side the second
    group keeps it: 16, 16, 8 and 4, so that only the first group sees less than in the other networks.

    Args:
        spatial: makes the layer in the middle of every bottleneck block; four of them, one for each group.
        stem: from (b, 3, h, w) to (b, scaled_channels(width), h', w'); None for the convolution.
        stem_halves: h' is h / 2, and w' is w / 2.
        depth: 26 (the comparison), 38, 50, or 14.
        width: factor on all channels; 1.0 is 64, 128, 256, 512 inner channels.
        num_classes: length of the output.
        recalibrate, zero_residual: as in `ResNet`.
        query_gain: factor on the first weights of what makes queries and keys. PyTorch draws a convolution's weights so
            that its output has a third of the variance of its input; √3 leaves the variance what it is.
    """
    channels = scaled_channels(width)
    options = {"num_classes": num_classes, "recalibrate": recalibrate, "zero_residual": zero_residual}
    options |= {"depth": depth, "channels": channels, "query_gain": query_gain}
    options["strides"] = (1, 1, 2, 2) if stem_halves else STRIDES
    return ResNet(stem or _stem(channels), channels, spatial, **options)


def _stem(channels: int) -> nn.Sequential:
    return nn.Sequential(convolution_3x3(3, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def convolution(*, recalibrate: str = "none", **size: float) -> ResNet:
    """The baseline: 3x3 convolutions everywhere; `recalibrate` as in `ResNet`."""
    return cifar_resnet(convolution_3x3, recalibrate=recalibrate, **size)


def global_attention(**size: float) -> ResNet:
    """Attention between all pixels in the last two groups, without positions."""
    return cifar_resnet(in_groups(spatial.global_attention, LAST_TWO), **size)


def local_attention(**size: float) -> ResNet:
    """Attention in 7x7 windows everywhere, content only; a convolution as stem."""
    return cifar_resnet(spatial.local_attention(positions="none"), **size)


def relative_offsets(
    *,
    kernel_size: int = 7,
    positions: str = "relative",
    content: bool = True,
    attention_groups: Sequence[int] = GROUPS,
    pooled_stem: bool = False,
    scaled: bool = False,
    head_channels: int = spatial.LEAST_HEAD_CHANNELS,
    **size: float,
) -> ResNet:
    """The same with relative offsets: the paper's "conv-stem + attention".

    Args:
        kernel_size, positions, content, scaled, head_channels: as in `spatial.local_attention`.
        attention_groups: as in `sasa_resnet`.
        pooled_stem: a 3x3 max pool with stride 2 ends the stem, and the groups see what they see in `attention_stem`.
        size: as in `cifar_resnet`.
    """
    layer = spatial.local_attention(
        kernel_size=kernel_size, positions=positions, content=content, scaled=scaled, head_channels=head_channels
    )
    stem = _stem(scaled_channels(size.get("width", 1.0)))
    if pooled_stem:
        stem.append(nn.MaxPool2d(3, stride=2, padding=1))
    return cifar_resnet(in_groups(layer, attention_groups), stem=stem, stem_halves=pooled_stem, **size)


def attention_stem(*, stem_values: str = "mixture", **size: float) -> ResNet:
    """Attention everywhere: the paper's "full attention"; `stem_values` as in `sasa_resnet`.

    The stem's blocks are 2x2 here: the paper's 4x4, made for 224x224 images, would leave 8x8 for the first group. As
    the stem halves the side, the second group keeps it (`cifar_resnet`).
    """
    channels = scaled_channels(size.get("width", 1.0))
    stem = AttentionStem2d(3, channels, block=2, heads=min(4, spatial.head_count(channels)), values=stem_values)
    stem = nn.Sequential(stem, nn.ReLU(inplace=True))
    return cifar_resnet(spatial.local_attention(), stem=stem, stem_halves=True, **size)


def augmented_convolution(
    *,
    kappa: float = 0.25,
    upsilon: float = 0.25,
    positions: str = "relative",
    image_size: int = 32,
    **size: float,
) -> ResNet:
    """A quarter of the channels from attention with relative positions, κ = υ = 0.25, in the last two groups.

    Args:
        kappa, upsilon, positions: as in `attention_augmented_resnet`.
        image_size: the largest side the network will meet; its relative positions reach that far.
        size: as in `cifar_resnet`.
    """
    layer = narrow_augmented_spatial(kappa=kappa, upsilon=upsilon, positions=positions, side=-(-image_size // 2))
    return cifar_resnet(in_groups(layer, LAST_TWO), **size)


def external_attention(
    *, slots: int = 64, heads: int | None = None, normalization: str = "double", **size: float
) -> ResNet:
    """64 memory slots in the last two groups.

    Args:
        slots, heads, normalization: as in `ExternalAttention2d`; heads: as many as in the other networks for None.
        size: as in `cifar_resnet`.
    """
    layer = spatial.external_attention(slots=slots, heads=heads, normalization=normalization)
    return cifar_resnet(in_groups(layer, LAST_TWO), **size)


def cifar_models() -> Mapping[str, Builder]:
    """The networks of the comparison by name.

    Each builder takes `depth`, `width` and `num_classes`, and the options of its mechanism that the ablations vary.
    """
    lessons = (
        convolution,
        global_attention,
        local_attention,
        relative_offsets,
        attention_stem,
        augmented_convolution,
        external_attention,
    )
    return MappingProxyType({build.__name__: build for build in lessons})
