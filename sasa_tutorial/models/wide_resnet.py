"""The Wide-ResNet of AAConv's CIFAR-100 table: three groups of wide pre-activation blocks for 32x32 images.

Sources: Zagoruyko and Komodakis 2016, arXiv:1605.07146; Bello et al. 2019, arXiv:1904.09925, Sec. 4.1.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.layers.heads import check_channels
from sasa_tutorial.models.augmented import augmented_spatial
from sasa_tutorial.models.recalibration import Recalibration, recalibration
from sasa_tutorial.models.resnet import SpatialLayer, convolution, convolution_3x3

SHORTCUTS = ("zeros", "projection")


class WideBlock(nn.Module):
    """Norm, ReLU, spatial layer, norm, ReLU, 3x3 convolution, plus the input.

    Where the channels grow, the input is averaged over stride x stride pixels and filled up with zero channels (no
    parameters), or goes through a 1x1 convolution.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h / stride, w / stride).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        spatial: SpatialLayer,
        recalibrate: Recalibration,
        projection: bool,
    ) -> None:
        super().__init__()
        self.new_channels, self.stride = out_channels - in_channels, stride
        self.first_norm = nn.BatchNorm2d(in_channels)
        self.spatial = spatial(in_channels, out_channels, stride)
        self.second_norm = nn.BatchNorm2d(out_channels)
        self.second = convolution_3x3(out_channels, out_channels, 1)
        self.recalibrate = recalibrate(out_channels)
        self.projection = (
            convolution(in_channels, out_channels, 1, stride) if projection and self.new_channels else None
        )

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h2 w2"]:
        y = F.relu(self.first_norm(x), inplace=True)
        y = F.relu(self.second_norm(self.spatial(y)), inplace=True)
        return self.recalibrate(self.second(y)) + self._shortcut(x)

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            return self.projection(x)
        pooled = F.avg_pool2d(x, self.stride, ceil_mode=True) if self.stride > 1 else x
        return F.pad(pooled, (0, 0, 0, 0, 0, self.new_channels))


def wide_resnet(
    depth: int = 28,
    widen: int = 10,
    *,
    augmented: bool = False,
    recalibrate: str = "none",
    shortcut: str = "zeros",
    num_classes: int = 100,
    image_size: int = 32,
) -> nn.Sequential:
    """Wide-ResNet, plain or with attention in the first convolution of every block (κ = 2υ = 0.2).

    Args:
        depth: 6 n + 4, for n blocks in each of the three groups.
        widen: factor on the 16, 32 and 64 channels of the groups.
        augmented: with attention.
        recalibrate: "none", "squeeze-excitation" or "gather-excite".
        shortcut: "zeros", with the 36.3 M parameters of AAConv's table, or "projection", a 1x1 convolution of the
            block's input where the channels grow, with 36.5 M.
        num_classes: length of the output.
        image_size: the largest side the augmented network will meet.

    Shapes: (b, 3, h, w) -> (b, num_classes).

    Raises:
        ValueError: an argument that is none of these.
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth must be 6 n + 4, as 10, 16, 22, 28, got {depth}")
    if widen < 1:
        raise ValueError(f"widen must be at least 1, got {widen}")
    if shortcut not in SHORTCUTS:
        raise ValueError(f"shortcut must be one of {', '.join(map(repr, SHORTCUTS))}, got {shortcut!r}")
    check_channels(num_classes=num_classes, image_size=image_size)
    layers: list[nn.Module] = [convolution_3x3(3, 16, 1)]
    channels = 16
    for group in range(3):
        width, side = widen * 16 * 2**group, -(-image_size // 2**group)
        spatial = augmented_spatial(side=side) if augmented else convolution_3x3
        for block in range((depth - 4) // 6):
            stride = 2 if group > 0 and block == 0 else 1
            layers.append(
                WideBlock(channels, width, stride, spatial, recalibration(recalibrate), shortcut == "projection")
            )
            channels = width
    layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels, num_classes))
