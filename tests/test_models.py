"""The networks against torchvision's, and against the sizes that the papers print."""

import pytest
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck as ReferenceBottleneck
from torchvision.models.resnet import ResNet as ReferenceResNet

from sasa_tutorial.models import ResNet, cifar_models, cifar_resnet
from sasa_tutorial.models.cifar import scaled_channels
from sasa_tutorial.models.resnet import BLOCKS, convolution_3x3
from sasa_tutorial.training.cost import flops_per_image, parameter_count


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


# ResNet-38's FLOPs are printed as 6.5; the network whose 19.6 M parameters are right counts 6.43.
@pytest.mark.parametrize(("depth", "millions", "gflops"), [(26, 13.7, 4.7), (38, 19.6, 6.4), (50, 25.6, 8.2)])
def test_the_baselines_of_sasa_table_1(depth, millions, gflops):
    stem = nn.Sequential(
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    )
    model = ResNet(stem, 64, convolution_3x3, depth=depth)
    assert round(parameter_count(model) / 1e6, 1) == millions
    assert round(flops_per_image(model, size=224) / 1e9, 1) == gflops


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


@pytest.mark.parametrize("depth", BLOCKS)
def test_depth_counts_the_convolutions_on_the_longest_path(depth):
    assert 3 * sum(BLOCKS[depth]) + 2 == depth


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
    with pytest.raises(ValueError, match=r"\[14, 26, 38, 50\], got 34"):
        cifar_resnet(convolution_3x3, depth=34)
    with pytest.raises(ValueError, match="got 3"):
        ResNet(nn.Identity(), 3, [convolution_3x3] * 3)
