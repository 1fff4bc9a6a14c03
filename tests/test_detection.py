"""The detector against torchvision's, and against the sizes that SASA and AAConv print for COCO."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import Bottleneck as ReferenceBottleneck
from torchvision.models.resnet import ResNet as ReferenceResNet
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from sasa_tutorial.layers import LocalSelfAttention2d
from sasa_tutorial.models import sasa_resnet
from sasa_tutorial.models.cost import flops_per_image, parameter_count
from sasa_tutorial.models.detection import Pyramid, RawOutputs, retinanet
from sasa_tutorial.models.resnet import BLOCKS

BASELINE = {"attention_groups": ()}
ATTENTION = {}
FULL_ATTENTION = {"stem": "attention"}


def on_paper(backbone: dict, **options) -> RetinaNet:
    with torch.device("meta"):
        return retinanet(sasa_resnet(50, **backbone), **options)


def small(backbone: dict = ATTENTION, **options) -> RetinaNet:
    torch.manual_seed(0)
    sizes = {"num_classes": 5, "kernel_size": 3, "channels": 16, "image_size": 64}
    return retinanet(sasa_resnet(14, width=0.125, **backbone), **sizes | options)


def two_images() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Of different sizes, with one and two objects, of the first and the last class."""
    images = [torch.rand(3, 64, 48), torch.rand(3, 40, 64)]
    boxes = [[[4.0, 4.0, 40.0, 44.0]], [[0.0, 0.0, 30.0, 33.0], [20.0, 2.0, 60.0, 38.0]]]
    labels = [[4], [0, 4]]
    return images, [
        {"boxes": torch.tensor(b), "labels": torch.tensor(label)} for b, label in zip(boxes, labels, strict=True)
    ]


@pytest.mark.parametrize(
    ("backbone", "attentional_heads", "millions", "exact"),
    [
        (BASELINE, False, 33.4, 33_417_844),
        (ATTENTION, False, 25.9, 25_876_316),
        (FULL_ATTENTION, False, 25.9, 25_868_364),
        (ATTENTION, True, 22.0, 21_968_924),
        (FULL_ATTENTION, True, 22.0, 21_960_972),
    ],
    ids=str,
)
def test_the_parameters_of_sasa_table_2(backbone, attentional_heads, millions, exact):
    count = parameter_count(on_paper(backbone, attentional_heads=attentional_heads))
    assert count == exact
    assert round(count / 1e6, 1) == millions


# Three of the published numbers differ; why is in the module's docstring.
@pytest.mark.parametrize(
    ("backbone", "attentional_heads", "published", "counted"),
    [
        (BASELINE, False, 182, 182.3),
        (ATTENTION, False, 173, 171.1),
        (FULL_ATTENTION, False, 173, 172.4),
        (ATTENTION, True, 111, 109.1),
        (FULL_ATTENTION, True, 110, 110.4),
    ],
    ids=str,
)
def test_the_flops_of_sasa_table_2(backbone, attentional_heads, published, counted):
    model = on_paper(backbone, attentional_heads=attentional_heads)
    gflops = flops_per_image(RawOutputs(model), size=640) / 1e9
    assert round(gflops, 1) == counted
    assert abs(gflops - published) < 2


def test_the_baselines_of_table_4_of_attention_augmented_convolution(monkeypatch):
    monkeypatch.setitem(BLOCKS, 101, (3, 4, 23, 3))
    with torch.device("meta"):
        model = retinanet(sasa_resnet(101, **BASELINE))
    assert round(parameter_count(model) / 1e6, 1) == 52.4
    assert round(flops_per_image(RawOutputs(model), size=640) / 1e9) == 243


def test_attention_heads_save_the_published_62_gflops():
    convolution, attention = (
        flops_per_image(RawOutputs(on_paper(ATTENTION, attentional_heads=kind)), size=640) for kind in (False, True)
    )
    assert round((convolution - attention) / 1e9) == 173 - 111


def test_what_the_published_sizes_exclude():
    """Each alternative that the papers' words would allow misses a printed number."""
    for alternative in ({"num_classes": 80}, {"scales": 3}):
        assert round(parameter_count(on_paper(BASELINE, **alternative)) / 1e6, 1) != 33.4
    # 91 outputs, one for the background, as torchvision counts: the parameters hide it, the FLOPs do not.
    assert round(flops_per_image(RawOutputs(on_paper(BASELINE, num_classes=91)), size=640) / 1e9) == 183
    with_pyramid = on_paper(ATTENTION, attentional_heads=True, attentional_fpn=True)
    assert round(parameter_count(with_pyramid) / 1e6, 1) == 20.8
    assert round(flops_per_image(RawOutputs(with_pyramid), size=640) / 1e9) == 103


def test_the_pyramid_is_torchvisions_over_the_same_resnet():
    backbone = sasa_resnet(14, **BASELINE)
    ours = Pyramid(backbone, 32).eval()
    theirs = BackboneWithFPN(
        ReferenceResNet(ReferenceBottleneck, [1, 1, 1, 1]),
        {"layer2": "p3", "layer3": "p4", "layer4": "p5"},
        [512, 1024, 2048],
        32,
        LastLevelP6P7(32, 32),
    ).eval()
    state = theirs.state_dict()
    assert [v.shape for v in state.values()] == [v.shape for v in ours.state_dict().values()]
    ours.load_state_dict(dict(zip(ours.state_dict(), state.values(), strict=True)))
    x = torch.randn(1, 3, 64, 96)
    expected = theirs(x)
    assert list(ours(x)) == list(expected) == ["p3", "p4", "p5", "p6", "p7"]
    for level, features in ours(x).items():
        assert torch.allclose(features, expected[level], atol=1e-4), level
    assert [tuple(features.shape[2:]) for features in expected.values()] == [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]


KINDS = [
    (BASELINE, {}),
    (ATTENTION, {}),
    (FULL_ATTENTION, {}),
    (ATTENTION, {"attentional_heads": True}),
    (FULL_ATTENTION, {"attentional_heads": True, "attentional_fpn": True}),
]


@pytest.mark.parametrize(("backbone", "options"), KINDS, ids=str)
def test_every_kind_learns(backbone, options):
    model = small(backbone, **options).train()
    losses = model(*two_images())
    assert set(losses) == {"classification", "bbox_regression"}
    assert all(loss > 0 and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    towers = (model.head.class_tower, model.head.box_tower)
    layers = [*model.backbone.stem.parameters(), *(p for tower in towers for p in tower.layers.parameters())]
    assert all(p.grad.abs().sum() > 0 for p in layers)


def test_attention_heads_learn_two_images_by_heart():
    model = small(attentional_heads=True).train()
    images, targets = two_images()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    history = []
    for _ in range(25):
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert min(history) < 0.75 * history[0]


@pytest.mark.parametrize(("backbone", "options"), KINDS, ids=str)
def test_every_kind_detects(backbone, options):
    model = small(backbone, **options).eval()
    model.score_thresh = 0.0  # untrained, everything scores about 1 %
    images, _ = two_images()
    with torch.no_grad():
        detections = model(images)
    for image, found in zip(images, detections, strict=True):
        boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
        assert boxes.shape == (len(scores), 4) and labels.shape == scores.shape and 0 < len(scores) <= 300
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= torch.tensor([image.shape[2], image.shape[1]])).all()
        assert set(labels.tolist()) <= set(range(5))


def test_attention_takes_the_place_of_every_3x3_convolution_of_the_heads():
    model = on_paper(ATTENTION, attentional_heads=True, attentional_fpn=True, kernel_size=5)
    for tower in (model.head.class_tower, model.head.box_tower):
        layers = [*tower.layers, tower.last]
        assert len(layers) == 5
        assert all(isinstance(layer, LocalSelfAttention2d) for layer in layers)
        assert {(layer.heads, layer.kernel_size) for layer in layers} == {(8, 5)}
    assert [m.kernel_size for m in model.head.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)] == []
    assert [layer.kernel_size for layer in model.backbone.fpn.layer_blocks] == [5] * 3
    assert all(isinstance(layer, LocalSelfAttention2d) for layer in model.backbone.fpn.layer_blocks)
    plain = on_paper(ATTENTION)
    assert not any(isinstance(m, LocalSelfAttention2d) for m in [*plain.head.modules(), *plain.backbone.fpn.modules()])


def test_the_heads_begin_as_the_papers_say():
    """Values ~ N(0, 0.01) in every attention layer, queries as ever, and 1 % as every class's score."""
    model = retinanet(sasa_resnet(14, width=0.125), attentional_heads=True)
    layers = [m for m in model.head.modules() if isinstance(m, LocalSelfAttention2d)]
    assert len(layers) == 10
    for layer in layers:
        assert layer.to_v.weight.std().item() == pytest.approx(0.01, rel=0.03)
        assert abs(layer.to_v.weight.mean().item()) < 2e-4
        assert layer.to_q.weight.std() > 0.03
    head = model.head.classification_head
    assert torch.allclose(head.cls_logits.bias.sigmoid(), torch.tensor(0.01))
    assert head.cls_logits.weight.std().item() == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize("attentional_heads", [False, True])
def test_levels_share_layers_and_not_batch_norms(attentional_heads):
    tower = small(attentional_heads=attentional_heads).head.class_tower.eval()
    x = torch.randn(1, 16, 4, 4)
    before = tower([x] * 5)
    assert all(torch.equal(y, before[0]) for y in before)
    with torch.no_grad():
        tower.norms[3][0].bias.add_(1.0)
    changed = [not torch.equal(y, z) for y, z in zip(before, tower([x] * 5), strict=True)]
    assert changed == [False, False, False, True, False]


@pytest.mark.parametrize("attentional_heads", [False, True])
def test_relu_follows_every_norm_and_not_the_fifth_attention(attentional_heads):
    tower = small(attentional_heads=attentional_heads).head.box_tower
    inputs = []
    for layer in [*tower.layers[1:], tower.last]:
        layer.register_forward_hook(lambda _, arguments, __: inputs.append(arguments[0]))
    levels = tower([torch.randn(2, 16, 4, 4)] * 5)
    assert len(inputs) == 4 * 5
    assert all((x >= 0).all() and (x == 0).any() for x in inputs)
    assert (levels[0] < 0).any() == attentional_heads


def test_anchors_are_the_papers():
    model = small(scales=2)
    assert model.anchor_generator.num_anchors_per_location() == [6] * 5
    for side, cell in zip((32, 64, 128, 256, 512), model.anchor_generator.cell_anchors, strict=True):
        areas = (cell[:, 2] - cell[:, 0]) * (cell[:, 3] - cell[:, 1])
        expected = torch.tensor([side**2, 2 * side**2] * 3)  # half an octave apart in side, one in area
        assert torch.allclose(areas, expected.float(), rtol=0.06)
        ratios = (cell[:, 3] - cell[:, 1]) / (cell[:, 2] - cell[:, 0])
        assert torch.allclose(ratios, torch.tensor([0.5, 0.5, 1, 1, 2, 2]), rtol=0.06)


def test_images_are_resized_to_the_longer_side():
    images, _ = small(image_size=96).transform([torch.rand(3, 50, 100), torch.rand(3, 30, 20)])
    assert images.image_sizes == [(48, 96), (96, 64)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"scales": 0}, "scales must be at least 1, got 0"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"image_size": -1}, "image_size must be at least 1, got -1"),
        ({"kernel_size": 4}, "kernel_size must be a positive odd number, got 4"),
        ({"channels": 4, "attentional_heads": True}, "at least 8 channels, got 4"),
    ],
    ids=str,
)
def test_what_is_no_retinanet_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_a_backbone_of_another_kind_is_named():
    with pytest.raises(ValueError, match="got Linear"):
        retinanet(nn.Linear(3, 3))
