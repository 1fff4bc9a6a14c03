"""The networks of Stand-Alone Self-Attention at their full size, for 224x224 images.

A bottleneck ResNet in which the spatial layer of any group may be attention, under a stem of convolution or attention.
Everything else, and the 1x1 convolutions around the spatial layer, stays as it was (Sec. 3.1).

Source: Ramachandran et al. 2019, arXiv:1906.05909, Sec. 3 and 4.1.
"""

from collections.abc import Sequence

from torch import nn

from sasa_tutorial.layers import AttentionStem2d
from sasa_tutorial.layers.heads import check_channels
from sasa_tutorial.models.resnet import GROUPS, WITHOUT_BOTTLENECK, ResNet, convolution_stem, in_groups, scaled_channels
from sasa_tutorial.models.spatial import local_attention


def sasa_resnet(
    depth: int,
    *,
    stem: str = "conv",
    stem_values: str = "mixture",
    attention_groups: Sequence[int] = GROUPS,
    kernel_size: int = 7,
    positions: str = "relative",
    content: bool = True,
    grouped: bool = False,
    width: float = 1.0,
    num_classes: int = 1000,
) -> ResNet:
    """ResNet-26, 38 or 50 with attention where the paper's tables put it.

    Args:
        depth: 26, 38 or 50 (14 for a quick look; 101 and 152 are possible, and in no table).
        stem: "conv", 7x7 with stride 2 and a 3x3 max pool, or "attention", inside 4x4 blocks (Table 1).
        stem_values: of the attention stem: "plain", "convolution" or "mixture" (Table 7).
        attention_groups: which of the groups 1 to 4 attend; without any, under a conv stem, it is the baseline
            (Table 3).
        kernel_size: side of the windows (Table 4).
        positions: "relative", "absolute" (sinusoids added to the input of every attention layer) or "none" (Table 5).
        content: whether the logits include q·k (Table 6).
        grouped: projections as in the paper's text instead of its tables.
        width: factor on all channels (Figure 5).
        num_classes: length of the output.

    Shapes: (b, 3, h, w) -> (b, num_classes); under the attention stem, 4 divides h and w.

    Raises:
        ValueError: an argument that is none of these.
    """
    if stem not in ("conv", "attention"):
        raise ValueError(f'stem must be "conv" or "attention", got {stem!r}')
    if depth in WITHOUT_BOTTLENECK:
        raise ValueError(f"depth must be one of a network with bottlenecks, as 26, 38, 50, got {depth}")
    check_channels(num_classes=num_classes)
    channels = scaled_channels(width)
    attention = local_attention(kernel_size=kernel_size, positions=positions, content=content, grouped=grouped)
    layers = in_groups(attention, attention_groups)
    build = _attention_stem(channels, stem_values) if stem == "attention" else convolution_stem(channels)
    return ResNet(build, channels, layers, depth=depth, channels=channels, num_classes=num_classes)


def _attention_stem(channels: int, values: str) -> nn.Module:
    # Attention, batch norm and 4x4 max pool are the layer's; ReLU and max pool may trade places.
    stem = AttentionStem2d(3, channels, block=4, heads=4, mixtures=4, values=values)
    return nn.Sequential(stem, nn.ReLU(inplace=True))
