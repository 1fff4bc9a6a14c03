"""The ResNet, built from a callable that makes the spatial layer.

Every network of the comparison is this one, and most of those of the papers. A bottleneck block narrows the channels
with a 1x1 convolution, mixes pixels, widens again and adds its input; only the middle layer knows about space, so
replacing it is the whole of "replacing convolution by attention" (SASA, Sec. 3.1). The stride sits in that middle
layer, which is where the papers' 8.2 GFLOPs for ResNet-50 come from. ResNet-34, without bottlenecks, has two spatial
layers in a block; the callable makes the first.

Sources: He et al. 2015, arXiv:1512.03385; Ramachandran et al. 2019, arXiv:1906.05909, Sec. 3.1 and 4.1 (depths 26, 38).
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.layers.conventions import Layer
from sasa_tutorial.layers.heads import check_channels
from sasa_tutorial.models.recalibration import Recalibration, recalibration, unchanged

SpatialLayer = Callable[[int, int, int], nn.Module]
"""(in_channels, out_channels, stride) -> a layer from (b, in, h, w) to (b, out, h / stride, w / stride)."""

BLOCKS = {
    14: (1, 1, 1, 1),
    26: (1, 2, 4, 1),
    34: (3, 4, 6, 3),
    38: (2, 3, 5, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Blocks in each of the four groups, by depth. 26 and 38 are ResNet-50 less two or one in every group; 14 is the
smallest of the kind, for machines without a GPU."""

WITHOUT_BOTTLENECK = (34,)
GROUPS = (1, 2, 3, 4)
STRIDES = (1, 2, 2, 2)  # of the first block of each group
EXPANSION = 4


def scaled_channels(width: float, base: int = 64) -> int:
    """`base` channels times `width`, as a multiple of 8 (so that 8 heads divide it) and at least 8.

    Raises:
        ValueError: width is not positive.
    """
    if width <= 0:
        raise ValueError(f"width must be positive, got {width}")
    return max(8, 8 * round(base * width / 8))


class FanOutConv2d(Layer, nn.Conv2d):
    """`nn.Conv2d` with weights N(0, 2 / (k² c_out)), as ResNets draw them."""

    def reset_parameters(self) -> None:
        super().reset_parameters()  # for nothing, but seeds keep the bits that they have always given
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def _get_name(self) -> str:
        return "Conv2d"  # it prints as the convolution that it is


def convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution as ResNets use it: "same" padding, no bias (a norm follows)."""
    padding = kernel_size // 2
    return FanOutConv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False)


def convolution_3x3(in_channels: int, out_channels: int, stride: int) -> nn.Conv2d:
    """The spatial layer of the original ResNet."""
    return convolution(in_channels, out_channels, 3, stride)


def in_groups(layer: SpatialLayer, groups: Sequence[int]) -> list[SpatialLayer]:
    """The layer in these of the groups 1 to 4, 3x3 convolutions in the others.

    Raises:
        ValueError: there is no such group.
    """
    if wrong := sorted(set(groups) - set(GROUPS)):
        raise ValueError(f"attention_groups are among 1, 2, 3, 4, got {wrong[0]!r}")
    return [layer if group in groups else convolution_3x3 for group in GROUPS]


def convolution_stem(channels: int) -> nn.Sequential:
    """The stem for large images: 7x7 with stride 2, then a 3x3 max pool with stride 2. (b, 3, h, w) -> h / 4, w / 4."""
    return nn.Sequential(
        convolution(3, channels, 7, stride=2),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


class Bottleneck(nn.Module):
    """1x1 down, spatial layer, 1x1 up, plus the input.

    Shapes: (b, in_channels, h, w) -> (b, 4 channels, h / stride, w / stride).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        spatial: SpatialLayer,
        recalibrate: Recalibration = unchanged,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels = EXPANSION * channels
        self.reduce = convolution(in_channels, channels, 1)
        self.reduce_norm = nn.BatchNorm2d(channels)
        self.spatial = spatial(channels, channels, stride)
        self.spatial_norm = nn.BatchNorm2d(channels)
        self.expand = convolution(channels, out_channels, 1)
        self.expand_norm = nn.BatchNorm2d(out_channels)
        self.recalibrate = recalibrate(out_channels)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h2 w2"]:
        y = F.relu(self.reduce_norm(self.reduce(x)), inplace=True)
        y = F.relu(self.spatial_norm(self.spatial(y)), inplace=True)
        y = self.recalibrate(self.expand_norm(self.expand(y)))
        return F.relu(y + self.shortcut(x), inplace=True)


class BasicBlock(nn.Module):
    """Spatial layer, 3x3 convolution, plus the input.

    Shapes: (b, in_channels, h, w) -> (b, channels, h / stride, w / stride).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        spatial: SpatialLayer,
        recalibrate: Recalibration = unchanged,
    ) -> None:
        super().__init__()
        self.out_channels = channels
        self.spatial = spatial(in_channels, channels, stride)
        self.spatial_norm = nn.BatchNorm2d(channels)
        self.second = convolution_3x3(channels, channels, 1)
        self.second_norm = nn.BatchNorm2d(channels)
        self.recalibrate = recalibrate(channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c h2 w2"]:
        y = F.relu(self.spatial_norm(self.spatial(x)), inplace=True)
        y = self.recalibrate(self.second_norm(self.second(y)))
        return F.relu(y + self.shortcut(x), inplace=True)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class ResNet(nn.Module):
    """Stem, four groups of blocks, the mean over the pixels, a linear classifier.

    Args:
        stem: from images (b, 3, h, w) to (b, stem_channels, h', w').
        stem_channels: channels the stem hands to the first group.
        spatial: one callable for all four groups, or one for each.
        depth: 14, 26, 38, 50, 101, 152, or 34 (without bottlenecks).
        channels: inner channels of the first group; each later group has twice as many.
        strides: of the first block of each group; 2 halves the side.
        num_classes: length of the output.
        recalibrate: what follows the last norm of every block: "none", "squeeze-excitation" or "gather-excite".
        zero_residual: start the scale of that norm at 0, so that every block begins as its shortcut (Goyal et al.
            2017, arXiv:1706.02677, Sec. 5.1).
        query_gain: factor on the first weights of what makes queries and keys.

    Shapes: (b, 3, h, w) -> logits (b, num_classes).

    Raises:
        ValueError: an unknown depth or recalibration, or not four spatial callables or strides.
    """

    def __init__(
        self,
        stem: nn.Module,
        stem_channels: int,
        spatial: SpatialLayer | Sequence[SpatialLayer],
        *,
        depth: int = 26,
        channels: int = 64,
        strides: Sequence[int] = STRIDES,
        num_classes: int = 1000,
        recalibrate: str = "none",
        zero_residual: bool = False,
        query_gain: float = 1.0,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth must be one of {sorted(BLOCKS)}, got {depth}")
        layers = [spatial] * 4 if callable(spatial) else list(spatial)
        if len(layers) != 4:
            raise ValueError(f"expected one spatial layer for each of the 4 groups, got {len(layers)}")
        check_channels(num_classes=num_classes, channels=channels)
        self.stem = stem
        block_type = BasicBlock if depth in WITHOUT_BOTTLENECK else Bottleneck
        rescale = recalibration(recalibrate)
        groups = []
        in_channels = stem_channels
        for group, (count, layer, first) in enumerate(zip(BLOCKS[depth], layers, strides, strict=True)):
            width = channels * 2**group
            blocks = []
            for block in range(count):
                stride = first if block == 0 else 1
                blocks.append(block_type(in_channels, width, stride, layer, rescale))
                in_channels = blocks[-1].out_channels
            groups.append(nn.Sequential(*blocks))
        self.groups = nn.Sequential(*groups)
        self.classifier = nn.Linear(in_channels, num_classes)
        self.zero_residual, self.query_gain = zero_residual, query_gain
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """What the network changes of the weights that its parts have drawn: after theirs, as `apply` does it."""
        for block in (block for group in self.groups for block in group if self.zero_residual):
            nn.init.zeros_((block.expand_norm if isinstance(block, Bottleneck) else block.second_norm).weight)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith(("to_q.weight", "to_k.weight", "to_qkv.weight")):
                    parameter.mul_(self.query_gain)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        return self.classifier(self.groups(self.stem(images)).mean(dim=(2, 3)))


def resnet(depth: int, *, recalibrate: str = "none", num_classes: int = 1000) -> ResNet:
    """The convolutional ResNet for 224x224 images that the papers compare with (34, 50, 101, 152; also 26 and 38).

    Args:
        depth: see `ResNet`.
        recalibrate: "none", "squeeze-excitation" (Hu et al. 2018) or "gather-excite" (Hu et al. 2018b).
        num_classes: length of the output.

    Raises:
        ValueError: an unknown depth or recalibration.
    """
    return ResNet(
        convolution_stem(64), 64, convolution_3x3, depth=depth, num_classes=num_classes, recalibrate=recalibrate
    )
