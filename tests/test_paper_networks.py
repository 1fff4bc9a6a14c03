"""The papers' networks: every builder learns, and each part does what its paper says, value by value."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sasa_tutorial import models
from sasa_tutorial.layers import AttentionAugmentedConv2d
from sasa_tutorial.models.augmented import StridedAugmentedConv2d
from sasa_tutorial.models.recalibration import recalibration
from sasa_tutorial.models.resnet import BasicBlock, Bottleneck, convolution_3x3
from sasa_tutorial.models.spatial import with_stride
from sasa_tutorial.models.wide_resnet import WideBlock

SMALL = {"num_classes": 5, "image_size": 64}
BUILDERS = [
    (models.resnet, 34, {"recalibrate": "squeeze-excitation", "num_classes": 5}),
    (models.attention_augmented_resnet, 34, {"kappa": 0.25, "upsilon": 0.25, **SMALL}),
    (models.attention_augmented_resnet, 50, {"positions": "sine", **SMALL}),
    (models.attention_augmented_resnet, 50, {"positions": "coordinates", **SMALL}),
    (models.attention_augmented_resnet, 50, {"kappa": 1, "upsilon": 1, **SMALL}),
    (models.wide_resnet, 10, {"widen": 2, "recalibrate": "gather-excite", "num_classes": 5}),
    (models.wide_resnet, 10, {"widen": 2, "shortcut": "projection", "num_classes": 5}),
    (models.wide_resnet, 10, {"widen": 2, "augmented": True, "num_classes": 5}),
    (models.mnasnet, 0.5, {"num_classes": 5}),
    (models.mnasnet, 0.5, {"augmented": True, **SMALL}),
]


@pytest.mark.parametrize(("build", "first", "options"), BUILDERS, ids=lambda value: getattr(value, "__name__", None))
def test_every_builder_makes_a_network_that_learns_on_images_of_any_shape(build, first, options):
    torch.manual_seed(0)
    network = build(first, **options)
    logits = network(torch.randn(3, 3, *((32, 26) if build is models.wide_resnet else (64, 50))))
    assert logits.shape == (3, 5)
    F.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_squeeze_and_excitation_and_gather_and_excite_multiply_channels_by_one_factor():
    torch.manual_seed(0)
    x = torch.randn(2, 128, 5, 7)
    for kind in ("squeeze-excitation", "gather-excite"):
        ratio = recalibration(kind)(128)(x) / x
        assert torch.allclose(ratio, ratio[..., :1, :1].expand_as(ratio), atol=1e-5)
        assert ratio.min() > 0 and ratio.max() < 1 and not torch.allclose(ratio[0], ratio[1])


def test_the_attention_of_an_augmented_convolution_sees_the_mean_of_the_pixels_it_replaces():
    layer = StridedAugmentedConv2d(
        4, 6, stride=2, key_channels=4, value_channels=4, heads=2, pool=2, side=8, positions="none"
    ).double()
    x = torch.randn(1, 4, 16, 16, dtype=torch.float64)
    y = layer(x)
    assert torch.allclose(y[:, :2], layer.conv(x)) and y.shape == (1, 6, 8, 8)
    # What has mean zero over every 4x4 square is invisible to attention, and not to convolution.
    ripple = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(8)
    moved = layer(x + ripple)
    assert torch.allclose(moved[:, 2:], y[:, 2:]) and not torch.allclose(moved[:, :2], y[:, :2])


def randomise_norms(module: nn.Module) -> nn.Module:
    """A norm that does nothing hides where it stands."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean), nn.init.uniform_(norm.running_var, 0.5, 2)
    return module.double().eval()


@pytest.mark.parametrize(("channels", "stride"), [((4, 6), 2), ((4, 6), 1), ((6, 6), 1)])
@pytest.mark.parametrize("projection", [False, True])
def test_a_wide_block_is_norm_relu_conv_norm_relu_conv_plus_its_input(channels, stride, projection):
    block = randomise_norms(WideBlock(*channels, stride, convolution_3x3, recalibration("none"), projection))
    x = torch.randn(2, channels[0], 6, 8, dtype=torch.float64)
    y = F.conv2d(block.first_norm(x).clamp(min=0), block.spatial.weight, stride=stride, padding=1)
    y = F.conv2d(block.second_norm(y).clamp(min=0), block.second.weight, padding=1)
    if projection and channels[0] != channels[1]:
        y += F.conv2d(x, block.projection.weight, stride=stride)
    else:
        y[:, : channels[0]] += F.avg_pool2d(x, stride)
    assert torch.allclose(block(x), y)


def test_squeeze_and_excitation_stands_before_the_sum():
    block = randomise_norms(Bottleneck(8, 4, 1, convolution_3x3, recalibration("squeeze-excitation")))
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    y = F.conv2d(x, block.reduce.weight)
    y = F.conv2d(block.reduce_norm(y).clamp(min=0), block.spatial.weight, padding=1)
    y = block.expand_norm(F.conv2d(block.spatial_norm(y).clamp(min=0), block.expand.weight))
    squeeze, excite = block.recalibrate.fc1, block.recalibrate.fc2
    hidden = (y.mean((2, 3)) @ squeeze.weight.flatten(1).T + squeeze.bias).clamp(min=0)
    factor = (hidden @ excite.weight.flatten(1).T + excite.bias).sigmoid()
    expected = (y * factor[:, :, None, None] + block.shortcut(x)).clamp(min=0)
    assert torch.allclose(block(x), expected)


@pytest.mark.parametrize("block_type", [Bottleneck, BasicBlock])
def test_what_is_recalibrated_to_nothing_leaves_the_input(block_type):
    class Nothing(nn.Module):
        def forward(self, x):
            return 0 * x

    block = block_type(8, 8, 2, convolution_3x3, lambda channels: Nothing())
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(block(x), block.shortcut(x).clamp(min=0))


def test_gather_and_excite_is_the_sigmoid_of_the_mean():
    x = torch.randn(2, 3, 5, 7)
    assert torch.allclose(recalibration("gather-excite")(3)(x), x / (1 + torch.exp(-x.mean((2, 3), keepdim=True))))


def test_where_a_network_halves_the_image_attention_is_averaged():
    x = torch.randn(1, 3, 6, 8)
    assert torch.equal(with_stride(nn.Identity(), 2)(x), F.avg_pool2d(x, 2))


def test_the_attention_stem_ends_in_a_relu():
    stem = models.sasa_resnet(14, stem="attention", width=0.25).stem
    assert stem(torch.randn(2, 3, 32, 32)).min() == 0


def pixels_differ(layer: nn.Module, channels: int) -> bool:
    """Whether a layer tells the pixels of an image apart that is the same everywhere: only positions can."""
    y = layer.eval()(torch.full((1, channels, 2, 2), 0.3))
    return not torch.allclose(y, y[..., :1, :1].expand_as(y), atol=1e-6)


@pytest.mark.parametrize("positions", ["none", "absolute"])
def test_positions_are_told_to_local_attention_and_otherwise_not_known(positions):
    network = models.sasa_resnet(14, width=0.25, positions=positions, num_classes=5)
    assert pixels_differ(network.groups[0][0].spatial, 16) == (positions != "none")


@pytest.mark.parametrize("positions", ["none", "sine", "coordinates"])
def test_positions_are_told_to_augmented_convolution_and_otherwise_not_known(positions):
    options = {"kappa": 1, "upsilon": 1, "num_classes": 5, "image_size": 64}
    network = models.attention_augmented_resnet(50, positions=positions, **options)
    assert pixels_differ(network.groups[3][1].spatial, 512) == (positions != "none")


def test_a_smaller_attention_map_comes_back_by_bilinear_interpolation():
    layer = StridedAugmentedConv2d(4, 4, key_channels=4, value_channels=4, heads=2, pool=2, side=8)
    x = torch.randn(1, 4, 8, 8)
    small = layer.attention(F.avg_pool2d(x, 2))
    expected = F.interpolate(small, size=(8, 8), mode="bilinear", align_corners=False)
    assert torch.allclose(layer(x), expected)


def test_the_last_thirteen_bottlenecks_of_mnasnet_are_augmented():
    network = models.mnasnet(1.0, augmented=True)
    augmented = [m for m in network.modules() if isinstance(m, StridedAugmentedConv2d)]
    inputs = [m.conv.in_channels for m in augmented]
    assert inputs == [24] + [40] * 3 + [80] * 3 + [96] * 2 + [192] * 4  # of 16, all but the first three
    assert sum(isinstance(m, AttentionAugmentedConv2d) for m in network.modules()) == 13


@pytest.mark.parametrize("size", [33, 47, 61, 65, 75, 99])
def test_augmented_networks_take_images_of_the_size_they_were_built_for(size):
    images = torch.randn(1, 3, size, size)
    for network in (
        models.mnasnet(0.25, augmented=True, num_classes=3, image_size=size),
        models.wide_resnet(10, 1, augmented=True, num_classes=3, image_size=size) if size < 48 else nn.Flatten(),
        models.attention_augmented_resnet(34, num_classes=3, image_size=size),
    ):
        assert network.eval()(images).isfinite().all()


def test_the_performer_survives_half_precision():
    layer = models.TokenPerformer(8, 16).eval()
    nn.init.normal_(layer.to_kqv.weight, std=2)
    x = torch.randn(2, 50, 8)
    exact = layer(x)
    with torch.autocast("cpu", torch.float16):
        half = layer(x)
    assert half.isfinite().all() and (half - exact).abs().max() < 0.1 * exact.abs().max()


def test_a_detector_stands_on_a_resnet_without_bottlenecks():
    detector = models.retinanet(models.resnet(34), image_size=64).eval()
    (found,) = detector([torch.rand(3, 64, 64)])
    assert set(found) == {"boxes", "scores", "labels"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.resnet(18), "got 18"),
        (lambda: models.resnet(50, recalibrate="se"), "got 'se'"),
        (lambda: models.attention_augmented_resnet(50, kappa=0), "kappa must be positive, got 0"),
        (lambda: models.attention_augmented_resnet(50, upsilon=1.5), "got 1.5"),
        (lambda: models.attention_augmented_resnet(50, positions="learned"), "got 'learned'"),
        (lambda: models.wide_resnet(27), "got 27"),
        (lambda: models.wide_resnet(widen=0), "got 0"),
        (lambda: models.wide_resnet(shortcut="none"), "got 'none'"),
        (lambda: models.mnasnet(0), "got 0"),
        (lambda: models.mnasnet(image_size=0), "image_size must be at least 1, got 0"),
        (lambda: models.attention_augmented_resnet(50, least_key_channels=-1), "got -1"),
        (lambda: models.resnet(50, num_classes=0), "num_classes must be at least 1, got 0"),
        (lambda: models.sasa_resnet(34), "got 34"),
    ],
)
def test_what_cannot_be_built_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_image_larger_than_the_relative_positions_is_an_error():
    network = models.attention_augmented_resnet(50, image_size=64).eval()
    with pytest.raises(ValueError, match="larger than max_size"):
        network(torch.randn(1, 3, 128, 128))
