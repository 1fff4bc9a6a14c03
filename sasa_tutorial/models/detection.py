"""Object detection: torchvision's RetinaNet over the networks of this library, with heads of convolution or attention.

Pyramid, anchors, losses and the selection of boxes are torchvision's; only what the papers changed is put in its place.
SASA's Table 2 against the defaults here, at 640x640, one multiply-add being 2 FLOPs (the first row is AAConv's, too):

    heads        backbone                  published            counted
    convolution  convolution               182 G, 33.4 M        182.3 G, 33.42 M
    convolution  conv stem and attention   173 G, 25.9 M        171.1 G, 25.88 M
    convolution  attention everywhere      173 G, 25.9 M        172.4 G, 25.87 M
    attention    conv stem and attention   111 G, 22.0 M        109.1 G, 21.97 M
    attention    attention everywhere      110 G, 22.0 M        110.4 G, 21.96 M

The parameters and the first row fix what the papers leave open: 90 classes, 2 scales x 3 ratios of anchors, P6 from P5,
a pyramid that stays convolutional and, by a margin of 0.02 M, batch norms for every level. The FLOPs that differ:

- Both rows under the conv stem lack 1.4 to 2.4 G. q·r for each of the k² cells of a window, instead of for its k rows
  and k columns, would be 1.3 G in the backbone and 1.8 G in the heads: 172.4, and too much, 112.2.
- At 640x640 the attention stem costs 1.3 G more than the convolution (0.16 G at 224x224, 0.2 in Table 1). By Table 2 it
  costs nothing.

Sources: Ramachandran et al. 2019, arXiv:1906.05909, Sec. 4.2; Bello et al. 2019, arXiv:1904.09925, Table 4; Lin et al.
2017, arXiv:1708.02002 (RetinaNet); what is not in the papers after github.com/tensorflow/tpu, models/official.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from sasa_tutorial.layers.heads import check_channels
from sasa_tutorial.models.resnet import ResNet
from sasa_tutorial.models.spatial import local_attention
from sasa_tutorial.windows import check_kernel_size

ANCHOR_SIDES = (32, 64, 128, 256, 512)  # pixels, on the levels P3 to P7
ASPECT_RATIOS = (0.5, 1.0, 2.0)
HEAD_STD = 0.01  # of RetinaNet's convolutions in the heads, and of W_V ~ N(0, 0.01) in SASA's


def retinanet(
    backbone: ResNet,
    *,
    attentional_heads: bool = False,
    attentional_fpn: bool = False,
    num_classes: int = 90,
    kernel_size: int = 7,
    scales: int = 2,
    channels: int = 256,
    image_size: int = 640,
) -> RetinaNet:
    """RetinaNet over `backbone`, whose stem and groups become part of it; its classifier is left out.

    Args:
        backbone: such as `sasa_resnet(50)`; groups 2, 3 and 4 feed the pyramid's levels P3, P4 and P5.
        attentional_heads: local attention with 8 heads for all five 3x3 convolutions of the class and of the box head,
            then a pointwise convolution to the outputs, "to mix the heads".
        attentional_fpn: the same for the pyramid's three 3x3 output convolutions. The paper's text has it, its sizes do
            not: they would be 20.8 M and 103 G.
        num_classes: labels are 0 to num_classes - 1, none is the background. COCO's ids go from 1 to 90; subtract 1.
        kernel_size: side of the attention windows, odd.
        scales: anchor sizes in an octave, each with three aspect ratios. The papers' sizes belong to 2; RetinaNet's
            own 3 take 0.65 M parameters and 11 G more.
        channels: of all pyramid levels and heads.
        image_size: images are resized until their longer side has this many pixels.

    Shapes: as torchvision's. Takes a list of images (3, h, w) in [0, 1], and in training a list of targets
        {"boxes": (n, 4) in pixels x1 y1 x2 y2, "labels": (n,)}; returns the two losses, or in evaluation for each image
        {"boxes": (n, 4), "scores": (n,), "labels": (n,)}.
    Cost: in the table above; `RawOutputs` makes it countable.

    Raises:
        ValueError: a backbone that is no `ResNet`, an even kernel_size, a number that is not positive, fewer than 8
            channels for attention.

    Source: Ramachandran et al. 2019, arXiv:1906.05909, Sec. 4.2 and Table 2.
    """
    if not isinstance(backbone, ResNet):
        raise ValueError(f"backbone must be a ResNet of this library, got {type(backbone).__name__}")
    check_channels(num_classes=num_classes, scales=scales, channels=channels, image_size=image_size)
    check_kernel_size(kernel_size)
    sides = tuple(tuple(side * 2 ** (i / scales) for i in range(scales)) for side in ANCHOR_SIDES)
    anchors = AnchorGenerator(sides, (ASPECT_RATIOS,) * len(sides))
    pyramid = Pyramid(backbone, channels, window=kernel_size if attentional_fpn else None)
    window = kernel_size if attentional_heads else None
    head = Heads(channels, scales * len(ASPECT_RATIOS), num_classes, window=window)
    return RetinaNet(
        pyramid, num_classes, min_size=image_size, max_size=image_size, anchor_generator=anchors, head=head
    )


class Pyramid(nn.Module):
    """From images to the levels P3 to P7, each with half the side of the one before.

    Shapes: (b, 3, h, w) -> five maps (b, channels, h / 2^level, w / 2^level), rounded up.
    """

    def __init__(self, backbone: ResNet, channels: int, *, window: int | None = None) -> None:
        super().__init__()
        self.stem, self.groups = backbone.stem, backbone.groups
        widths = [group[-1].out_channels for group in backbone.groups[1:]]
        # P6 from P5, which has fewer channels than the network's last group: 4.1 M parameters less.
        self.fpn = FeaturePyramidNetwork(widths, channels, LastLevelP6P7(channels, channels))
        if window is not None:
            attention = local_attention(kernel_size=window)
            self.fpn.layer_blocks = nn.ModuleList(attention(channels, channels, 1) for _ in widths)
        self.out_channels = channels  # RetinaNet asks for it

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Tensor]:
        x, features = self.stem(images), OrderedDict()
        for level, group in enumerate(self.groups, start=2):
            x = group(x)
            features[f"p{level}"] = x
        features.pop("p2")
        return self.fpn(features)


class Heads(RetinaNetHead):
    """The class and the box head: towers of 3x3 convolutions, or of attention in windows of side `window`."""

    def __init__(self, channels: int, anchors: int, num_classes: int, *, window: int | None = None) -> None:
        super().__init__(channels, anchors, num_classes)
        classes, boxes = self.classification_head, self.regression_head
        towers = [Tower([block[0] for block in head.conv], channels) for head in (classes, boxes)]
        if window is not None:
            towers = [_attentional_tower(channels, window) for _ in towers]
            classes.cls_logits, boxes.bbox_reg = _pointwise(classes.cls_logits), _pointwise(boxes.bbox_reg)
        # Towers need to know the level, which torchvision's heads do not tell their layers.
        classes.conv = boxes.conv = nn.Identity()
        self.class_tower, self.box_tower = towers

    def forward(self, levels: list[Tensor]) -> dict[str, Tensor]:
        return {
            "cls_logits": self.classification_head(self.class_tower(levels)),
            "bbox_regression": self.regression_head(self.box_tower(levels)),
        }


class Tower(nn.Module):
    """Layers shared by all levels, each followed by batch norm and ReLU; `last` by neither.

    Every level has batch norms of its own, as its statistics are not those of the others. Where P7 is one pixel, up to
    128x128, they cannot train on a batch of one.
    """

    def __init__(self, layers: Sequence[nn.Module], channels: int, last: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.ModuleList(nn.BatchNorm2d(channels) for _ in layers) for _ in ANCHOR_SIDES)
        self.last = nn.Identity() if last is None else last

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        return [self._level(x, norms) for x, norms in zip(levels, self.norms, strict=True)]

    def _level(self, x: Float[Tensor, "b c h w"], norms: nn.ModuleList) -> Float[Tensor, "b c h w"]:
        for layer, norm in zip(self.layers, norms, strict=True):
            x = F.relu(norm(layer(x)), inplace=True)
        return self.last(x)


class RawOutputs(nn.Module):
    """What a RetinaNet computes before it selects boxes: the part whose FLOPs the papers count.

    Shapes: (b, 3, h, w) -> {"cls_logits": (b, anchors, classes), "bbox_regression": (b, anchors, 4)}.
    """

    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Tensor]:
        return self.head(list(self.backbone(images).values()))


def _attentional_tower(channels: int, window: int) -> Tower:
    # The fifth stands where the predictor was, which has no norm and no ReLU either.
    layers = [local_attention(kernel_size=window)(channels, channels, 1) for _ in range(5)]
    for layer in layers:
        nn.init.normal_(layer.to_v.weight, std=HEAD_STD)
    return Tower(layers[:4], channels, last=layers[4])


def _pointwise(predictor: nn.Conv2d) -> nn.Conv2d:
    conv = nn.Conv2d(predictor.in_channels, predictor.out_channels, 1)
    nn.init.normal_(conv.weight, std=HEAD_STD)
    conv.bias = predictor.bias  # for the classes it holds RetinaNet's prior: nearly everything is background
    return conv
