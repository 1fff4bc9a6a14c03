"""The networks against torchvision's, and against the sizes that the papers print."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet34, resnet50
from torchvision.models.resnet import Bottleneck as ReferenceBottleneck
from torchvision.models.resnet import ResNet as ReferenceResNet

from sasa_tutorial.layers import AttentionAugmentedConv2d
from sasa_tutorial.ledger import parameter_count
from sasa_tutorial.models import ResNet, cifar_models, cifar_resnet, resnet, sasa_resnet
from sasa_tutorial.models.resnet import BLOCKS, WITHOUT_BOTTLENECK, convolution_3x3, scaled_channels


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """In order of definition; every shape has to agree."""
    source_state, target_state = source.state_dict(), target.state_dict()
    assert [v.shape for v in source_state.values()] == [v.shape for v in target_state.values()]
    target.load_state_dict(dict(zip(target_state, source_state.values(), strict=True)))


def test_the_cifar_resnet_is_torchvisions_with_a_small_stem():
    ours = cifar_models()["convolution"](num_classes=100)
    reference = ReferenceResNet(ReferenceBottleneck, [1, 2, 4, 1], num_classes=100)
    reference.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    reference.maxpool = nn.Identity()
    copy_weights(reference, ours)
    x = torch.randn(2, 3, 32, 32)
    for mode in (True, False):  # batch statistics, then running ones
        assert torch.allclose(ours.train(mode)(x), reference.train(mode)(x), atol=1e-5)


def test_an_augmented_network_without_attention_is_convolutions_that_average_where_they_would_stride():
    ours = cifar_models()["augmented_convolution"](depth=14, width=0.125, kappa=0, upsilon=0).eval()

    def averaging(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        layer = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        return layer if stride == 1 else nn.Sequential(layer, nn.AvgPool2d(stride))

    reference = cifar_resnet([convolution_3x3] * 2 + [averaging] * 2, depth=14, width=0.125).eval()
    assert not any(module.to_qkv for module in ours.modules() if isinstance(module, AttentionAugmentedConv2d))
    copy_weights(reference, ours)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(x), reference(x))


def test_a_resnet_26_for_cifar_has_the_published_11_66_million_parameters_for_ten_classes():
    assert round(parameter_count(cifar_models()["convolution"](num_classes=10)) / 1e6, 2) == 11.66


def test_one_spatial_layer_in_every_block_and_the_stride_inside_it():
    calls = []

    def spatial(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        calls.append((in_channels, out_channels, stride))
        return convolution_3x3(in_channels, out_channels, stride)

    model = cifar_resnet(spatial, width=0.125)
    sides = [8] * 1 + [16] * 2 + [32] * 4 + [64] * 1
    assert calls == [(c, c, 2 if i in (1, 3, 7) else 1) for i, c in enumerate(sides)]
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 100)
    assert model(torch.randn(2, 3, 25, 40)).shape == (2, 100)


@pytest.mark.parametrize(
    ("name", "options", "first"),
    [("relative_offsets", {}, 32), ("relative_offsets", {"pooled_stem": True}, 16), ("attention_stem", {}, 16)],
)
def test_a_stem_that_halves_the_side_takes_from_the_first_group_alone(name, options, first):
    model, sides = cifar_models()[name](depth=26, width=0.125, **options), []
    for group in model.groups:
        group[-1].register_forward_hook(lambda _block, _given, made: sides.append(made.shape[-1]))
    model(torch.randn(2, 3, 32, 32))
    assert sides == [first, 16, 8, 4]


@pytest.mark.parametrize("depth", BLOCKS)
def test_depth_counts_the_convolutions_on_the_longest_path(depth):
    assert (2 if depth in WITHOUT_BOTTLENECK else 3) * sum(BLOCKS[depth]) + 2 == depth


def test_every_parameter_gets_a_gradient():
    for build in cifar_models().values():
        model = build(depth=14, width=0.125)
        model(torch.randn(4, 3, 32, 32)).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_widths_are_multiples_of_eight():
    assert [scaled_channels(w) for w in (0.01, 0.125, 0.25, 0.3, 1, 2)] == [8, 8, 16, 16, 64, 128]
    with pytest.raises(ValueError, match="got 0"):
        scaled_channels(0)


def test_what_cannot_be_built_is_named():
    with pytest.raises(ValueError, match=r"\[14, 26, 34, 38, 50, 101, 152\], got 18"):
        cifar_resnet(convolution_3x3, depth=18)
    with pytest.raises(ValueError, match="got 3"):
        ResNet(nn.Identity(), 3, [convolution_3x3] * 3)


def on_paper(build, *arguments, **options) -> nn.Module:
    with torch.device("meta"):
        return build(*arguments, **options)


# Printed digits are rounded, but for 14.1 (14.17), 16.7 (16.76) and 25.0 (25.09), which are cut off.
@pytest.mark.parametrize(
    ("published", "counted", "options"),
    [
        # Table 1: baseline; convolutional stem and attention; attention everywhere
        (13.7, 13.70, {"depth": 26, "attention_groups": ()}),
        (19.6, 19.63, {"depth": 38, "attention_groups": ()}),
        (25.6, 25.56, {"attention_groups": ()}),
        (10.3, 10.33, {"depth": 26}),
        (14.1, 14.17, {"depth": 38}),
        (18.0, 18.02, {}),
        (10.3, 10.32, {"depth": 26, "stem": "attention"}),
        (14.1, 14.17, {"depth": 38, "stem": "attention"}),
        (18.0, 18.01, {"stem": "attention"}),
        # Table 3: which groups attend
        (18.1, 18.09, {"attention_groups": (2, 3, 4)}),
        (18.5, 18.48, {"attention_groups": (3, 4)}),
        (20.8, 20.84, {"attention_groups": (4,)}),
        (25.5, 25.48, {"attention_groups": (1,)}),
        (25.0, 25.09, {"attention_groups": (1, 2)}),
        (22.7, 22.73, {"attention_groups": (1, 2, 3)}),
        # Tables 5 and 6: positions, and directions alone
        (18.0, 18.01, {"positions": "none"}),
        (18.0, 18.01, {"positions": "absolute"}),
        (16.7, 16.76, {"content": False}),
    ],
    ids=str,
)
def test_the_parameters_of_the_tables_of_sasa(published, counted, options):
    millions = parameter_count(on_paper(sasa_resnet, options.pop("depth", 50), **options)) / 1e6
    assert round(millions, 2) == counted
    assert published in (round(millions, 1), int(millions * 10) / 10)


def test_parameters_do_not_depend_on_the_extent_and_the_text_of_sasa_is_not_its_tables():
    for extent in (3, 5, 9, 11):  # Table 4
        assert round(parameter_count(on_paper(sasa_resnet, 50, kernel_size=extent)) / 1e6, 1) == 18.0
    assert round(parameter_count(on_paper(sasa_resnet, 50, grouped=True)) / 1e6, 2) == 14.71


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (lambda: sasa_resnet(50, attention_groups=()), resnet50),
        (lambda: resnet(50), resnet50),
        (lambda: resnet(34), resnet34),
    ],
    ids=["sasa 50", "50", "34"],
)
def test_the_convolutional_baselines_are_torchvisions(ours, reference):
    ours, reference = ours().eval(), reference()
    copy_weights(reference, ours)
    x = torch.randn(1, 3, 64, 64)
    assert torch.allclose(ours(x), reference.eval()(x), atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stem": "attention", "stem_values": "plain"},
        {"stem": "attention", "stem_values": "convolution"},
        {"positions": "absolute"},
        {"positions": "none", "attention_groups": (3, 4), "kernel_size": 3},
        {"content": False},
        {"grouped": True},
    ],
    ids=str,
)
def test_every_kind_of_sasa_resnet_runs_and_learns(options):
    model = sasa_resnet(14, width=0.125, num_classes=10, **options)
    y = model(torch.randn(2, 3, 32, 40))
    assert y.shape == (2, 10)
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": "patch"}, "got 'patch'"),
        ({"stem": "attention", "stem_values": "mix"}, "got 'mix'"),
        ({"attention_groups": (0, 1)}, "got 0"),
        ({"positions": "learned"}, "got 'learned'"),
        ({"kernel_size": 4}, "got 4"),
        ({"content": False, "positions": "none"}, "no logits"),
        ({"width": 0}, "got 0"),
    ],
    ids=str,
)
def test_what_is_no_sasa_resnet_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        sasa_resnet(26, **options)
