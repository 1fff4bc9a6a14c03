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
from sasa_tutorial.models.resnet import ResNet, SpatialLayer, convolution_3x3

Builder = Callable[..., nn.Module]


def scaled_channels(width: float, base: int = 64) -> int:
    """`base` channels times `width`, as a multiple of 8 (so that 8 heads divide it) and at least 8.

    Raises:
        ValueError: width is not positive.
    """
    if width <= 0:
        raise ValueError(f"width must be positive, got {width}")
    return max(8, 8 * round(base * width / 8))


def cifar_resnet(
    spatial: SpatialLayer | Sequence[SpatialLayer],
    *,
    stem: nn.Module | None = None,
    depth: int = 26,
    width: float = 1.0,
    num_classes: int = 100,
) -> ResNet:
    """The paper's ResNet for 32x32 images: the stem is one 3x3 convolution, without stride or pooling.

    At 224x224 the stem divides the side by 4; here the groups would then see 8, 4, 2 and 1 pixels a side and a 7x7
    window would hold the whole image. Without it they see 32, 16, 8 and 4.

    Args:
        spatial: makes the layer in the middle of every bottleneck block; four of them, one for each group.
        stem: from (b, 3, h, w) to (b, scaled_channels(width), h', w'); None for the convolution.
        depth: 26 (the comparison), 38, 50, or 14.
        width: factor on all channels; 1.0 is 64, 128, 256, 512 inner channels.
        num_classes: length of the output.
    """
    channels = scaled_channels(width)
    if stem is None:
        stem = nn.Sequential(convolution_3x3(3, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
    return ResNet(stem, channels, spatial, depth=depth, channels=channels, num_classes=num_classes)


def convolution(**size: float) -> ResNet:
    """The baseline: 3x3 convolutions everywhere."""
    return cifar_resnet(convolution_3x3, **size)


def global_attention(**size: float) -> ResNet:
    """Attention between all pixels in the last two groups, without positions."""
    return cifar_resnet(_in_the_last_two_groups(spatial.global_attention), **size)


def local_attention(**size: float) -> ResNet:
    """Attention in 7x7 windows everywhere, content only; a convolution as stem."""
    return cifar_resnet(spatial.local_attention(relative=False), **size)


def relative_offsets(**size: float) -> ResNet:
    """The same with relative offsets: the paper's "conv-stem + attention"."""
    return cifar_resnet(spatial.local_attention(), **size)


def attention_stem(**size: float) -> ResNet:
    """Attention everywhere: the paper's "full attention".

    The stem's blocks are 2x2 here: the paper's 4x4, made for 224x224 images, would leave 8x8 for the first group.
    """
    channels = scaled_channels(size.get("width", 1.0))
    stem = AttentionStem2d(3, channels, block=2, heads=min(4, spatial.head_count(channels)))
    return cifar_resnet(spatial.local_attention(), stem=nn.Sequential(stem, nn.ReLU(inplace=True)), **size)


def augmented_convolution(**size: float) -> ResNet:
    """A quarter of the channels from attention with relative positions, κ = υ = 0.25, in the last two groups."""
    return cifar_resnet(_in_the_last_two_groups(spatial.augmented_convolution()), **size)


def external_attention(**size: float) -> ResNet:
    """64 memory slots in the last two groups."""
    return cifar_resnet(_in_the_last_two_groups(spatial.external_attention()), **size)


def _in_the_last_two_groups(layer: SpatialLayer) -> list[SpatialLayer]:
    return [convolution_3x3, convolution_3x3, layer, layer]


def cifar_models() -> Mapping[str, Builder]:
    """The networks of the comparison by name; each builder takes `depth`, `width` and `num_classes`."""
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
