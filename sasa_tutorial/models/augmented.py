"""Attention-augmented networks: some channels of a convolution made by global attention, where memory allows.

Source: Bello et al. 2019, arXiv:1904.09925, Sec. 3.3 and 4.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.layers import AbsolutePositions2d, AttentionAugmentedConv2d, CoordinateChannels2d
from sasa_tutorial.layers.conventions import Layer
from sasa_tutorial.layers.heads import check_channels
from sasa_tutorial.models.resnet import ResNet, SpatialLayer, convolution, convolution_3x3, convolution_stem
from sasa_tutorial.models.spatial import HEADS, head_count, with_stride

LEAST_KEY_CHANNELS = 20  # of a head (Sec. 4)
POSITIONS = ("relative", "none", "sine", "coordinates")


class StridedAugmentedConv2d(Layer):
    """A convolution with any stride, beside attention on a smaller map.

    The attention channels are those of an `AttentionAugmentedConv2d` without convolution. Its input is averaged over
    squares of `stride * pool` pixels, its output brought to the size of the convolution's by bilinear interpolation.

    Args:
        in_channels, out_channels, kernel_size, stride: of the convolution.
        key_channels, value_channels, heads: of the attention; value_channels = out_channels leaves no convolution.
        pool: how much smaller than the output the map of the attention is.
        side: of the output, at most.
        positions: "relative", "none", "sine" (added to the attention's input) or "coordinates" (two more channels).

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h / stride, w / stride), convolution first.

    Raises:
        ValueError: arguments that do not fit; an input larger than it was built for.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        key_channels: int,
        value_channels: int,
        heads: int = HEADS,
        pool: int = 1,
        side: int,
        positions: str = "relative",
    ) -> None:
        super().__init__()
        if positions not in POSITIONS:
            raise ValueError(f"positions must be one of {', '.join(map(repr, POSITIONS))}, got {positions!r}")
        if not 0 < value_channels <= out_channels:
            raise ValueError(f"value_channels must be 1 to out_channels {out_channels}, got {value_channels}")
        self.stride, self.pool = stride, pool
        convolved = out_channels - value_channels
        self.conv = convolution(in_channels, convolved, kernel_size, stride) if convolved else None
        self.encode = {"sine": AbsolutePositions2d(in_channels), "coordinates": CoordinateChannels2d()}.get(
            positions, nn.Identity()
        )
        side = -(-side // pool)
        self.attention = AttentionAugmentedConv2d(
            in_channels + 2 * (positions == "coordinates"),
            value_channels,
            key_channels=key_channels,
            value_channels=value_channels,
            heads=heads,
            max_size=(side, side),
            positions="relative" if positions == "relative" else "none",
        )

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h2 w2"]:
        size = [-(-side // self.stride) for side in x.shape[2:]]
        small = F.avg_pool2d(x, self.stride * self.pool, ceil_mode=True)
        attended = self.attention(self.encode(small))
        if self.pool > 1:
            attended = F.interpolate(attended, size=size, mode="bilinear", align_corners=False)
        return attended if self.conv is None else torch.cat([self.conv(x), attended], dim=1)


def augmented_channels(
    out_channels: int, kappa: float, upsilon: float, least: int, heads: int = HEADS
) -> dict[str, int]:
    """Key and value channels for the ratios κ and υ: multiples of the heads, `least` key channels a head or more.

    Raises:
        ValueError: kappa is not positive, upsilon not in (0, 1], or least negative.
    """
    if kappa <= 0:
        raise ValueError(f"kappa must be positive, got {kappa}")
    if least < 0:
        raise ValueError(f"least_key_channels must not be negative, got {least}")
    if not 0 < upsilon <= 1:
        raise ValueError(f"upsilon must be above 0 and at most 1, got {upsilon}")
    keys, values = (heads * round(share * out_channels / heads) for share in (kappa, upsilon))
    return {"key_channels": max(keys, heads * max(1, least)), "value_channels": max(values, heads)}


def augmented_spatial(
    *,
    kappa: float = 0.2,
    upsilon: float = 0.1,
    least_key_channels: int = LEAST_KEY_CHANNELS,
    side: int,
    pool: int = 1,
    positions: str = "relative",
) -> SpatialLayer:
    """A 3x3 convolution with a share υ of its channels from attention; `side` is that of its output."""

    def build(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        channels = augmented_channels(out_channels, kappa, upsilon, least_key_channels)
        return StridedAugmentedConv2d(
            in_channels, out_channels, stride=stride, pool=pool, side=side, positions=positions, **channels
        )

    return build


def narrow_augmented_spatial(
    *, kappa: float = 0.25, upsilon: float = 0.25, positions: str = "relative", side: int
) -> SpatialLayer:
    """The lesson's layer, for networks narrower than the paper's: where channels are few there are fewer heads, of 8
    channels each. Strides are average pooling, and `side` is that of the layer's input. With κ = υ = 0 nothing attends,
    and the rest of the layer, its pooling included, is left: the control of what attention adds."""

    def build(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        keys, values = (share and max(8, round(share * out_channels / 8) * 8) for share in (kappa, upsilon))
        heads = min(head_count(keys), head_count(values)) if keys or values else 1
        channels = {"key_channels": keys, "value_channels": values, "heads": heads}
        if positions in ("relative", "none"):
            sizes = {"max_size": (side, side), "positions": positions}
            return with_stride(AttentionAugmentedConv2d(in_channels, out_channels, **channels, **sizes), stride)
        layer = StridedAugmentedConv2d(in_channels, out_channels, side=side, positions=positions, **channels)
        if layer.conv is not None:
            # Drawn as in the lesson's layer: nothing but the positions differs.
            layer.conv = nn.Conv2d(in_channels, layer.conv.out_channels, 3, padding=1, bias=False)
        return with_stride(layer, stride)

    return build


def attention_augmented_resnet(
    depth: int,
    *,
    kappa: float = 0.2,
    upsilon: float = 0.1,
    least_key_channels: int = LEAST_KEY_CHANNELS,
    positions: str = "relative",
    num_classes: int = 1000,
    image_size: int = 224,
) -> ResNet:
    """ResNet-34, 50, 101 or 152 whose last three groups are augmented; at 28x28 the attention works on 14x14.

    In a bottleneck the 3x3 convolution is augmented, in ResNet-34 the first of two. With κ = υ = 0.25 that gives the
    20.7 M parameters printed for it. κ = υ = 1 is fully attentional in those groups. How pooling, stride and
    interpolation combine was not seen in the paper; here see `StridedAugmentedConv2d`.

    Args:
        depth: see `ResNet`.
        kappa, upsilon: key and value channels per output channel.
        least_key_channels: of a head, whatever kappa says.
        positions: "relative", "none", "sine" or "coordinates" (Table 7).
        num_classes: length of the output.
        image_size: the largest side the network will meet; its relative positions reach that far.

    Raises:
        ValueError: an argument that is none of these.
    """
    check_channels(num_classes=num_classes, image_size=image_size)
    sides = [-(-image_size // factor) for factor in (4, 8, 16, 32)]
    options = {"kappa": kappa, "upsilon": upsilon, "least_key_channels": least_key_channels, "positions": positions}
    layers = [convolution_3x3] + [
        augmented_spatial(side=side, pool=pool, **options) for side, pool in zip(sides[1:], (2, 1, 1), strict=True)
    ]
    return ResNet(convolution_stem(64), 64, layers, depth=depth, num_classes=num_classes)


def mnasnet(
    width: float = 1.0, *, augmented: bool = False, num_classes: int = 1000, image_size: int = 224
) -> nn.Module:
    """torchvision's MnasNet; augmented, the 1x1 expansions of its last 13 inverted bottlenecks make some channels by
    attention: κ = 2υ = 0.1, 4 heads, on maps of 14x14 at most for 224x224 images.

    Which blocks, κ and heads is from memory of the paper; the size of the maps is this library's choice.

    Args:
        width: factor on all channels: 0.75, 1.0, 1.25 and 1.4 in Table 5.
        augmented: with attention.
        num_classes: length of the output.
        image_size: the largest side the network will meet.

    Raises:
        ValueError: width is not positive.
    """
    if width <= 0:
        raise ValueError(f"width must be positive, got {width}")
    from torchvision.models import MNASNet  # here: torchvision takes a second to import

    network = MNASNet(width, num_classes=num_classes)
    check_channels(num_classes=num_classes, image_size=image_size)
    if augmented:
        side = -(-image_size // 4)
        for stack in list(network.layers)[9:14]:  # those that begin by halving 56x56, and all after them
            for block in stack:
                block.layers[0] = _augmented_expansion(block.layers[0], side, max(1, round(16 * side / image_size)))
                side = -(-side // block.layers[3].stride[0])
    return network


def _augmented_expansion(expansion: nn.Conv2d, side: int, pool: int) -> nn.Module:
    channels = augmented_channels(expansion.out_channels, kappa=0.1, upsilon=0.05, least=0, heads=4)
    return StridedAugmentedConv2d(
        expansion.in_channels, expansion.out_channels, 1, heads=4, pool=pool, side=side, **channels
    )
