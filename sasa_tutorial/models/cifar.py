"""The CIFAR-100 comparison: one ResNet-26 for 32x32 images, one spatial layer for each mechanism."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

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


def cifar_resnet(spatial: SpatialLayer, *, depth: int = 26, width: float = 1.0, num_classes: int = 100) -> ResNet:
    """The paper's ResNet for 32x32 images: the stem is one 3x3 convolution, without stride or pooling.

    At 224x224 the stem divides the side by 4; here the groups would then see 8, 4, 2 and 1 pixels a side and a 7x7
    window would hold the whole image. Without it they see 32, 16, 8 and 4.

    Args:
        spatial: makes the layer in the middle of every bottleneck block.
        depth: 26 (the comparison), 38, 50, or 14.
        width: factor on all channels; 1.0 is 64, 128, 256, 512 inner channels.
        num_classes: length of the output.
    """
    channels = scaled_channels(width)
    stem = nn.Sequential(convolution_3x3(3, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
    return ResNet(stem, channels, spatial, depth=depth, channels=channels, num_classes=num_classes)


def convolution(*, depth: int = 26, width: float = 1.0, num_classes: int = 100) -> ResNet:
    """The baseline: 3x3 convolutions everywhere."""
    return cifar_resnet(convolution_3x3, depth=depth, width=width, num_classes=num_classes)


def cifar_models() -> Mapping[str, Builder]:
    """The networks of the comparison by name; each builder takes `depth`, `width` and `num_classes`."""
    return MappingProxyType({"convolution": convolution})
