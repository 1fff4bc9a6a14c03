"""Tables of offsets for another window or image: what must stay, stays."""

import pytest
import torch
import torch.nn.functional as F

from sasa_tutorial import layers
from sasa_tutorial.layers import fit_offsets, resize_offsets
from sasa_tutorial.layers.augmented_convolution import AddedOffsets2d
from sasa_tutorial.models import cifar_models

D = torch.float64


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scale", [None, 1, 1.0])
def test_the_same_size_is_the_same_bits(dtype, scale):
    table = torch.randn(5, 7).to(dtype)
    assert torch.equal(resize_offsets(table, 7, scale=scale), table)
    assert torch.equal(resize_offsets(table.T, 7, dim=0, scale=scale), table.T)
    layer = layers.LocalSelfAttention2d(4, 4, 5, 2)
    fitted = fit_offsets(layer.state_dict(), layer)
    assert all(torch.equal(fitted[key], tensor) for key, tensor in layer.state_dict().items())


@pytest.mark.parametrize("sizes", [(7, 11), (11, 7), (3, 9), (31, 63), (5, 1)], ids=str)
def test_a_line_stays_a_line_and_the_middle_the_middle(sizes):
    old, new = sizes
    offsets = torch.arange(old, dtype=D) - old // 2
    table = torch.stack((2 * offsets + 3, torch.full((old,), 5.0)))
    slope = 2 * (old // 2) / max(1, new // 2)
    wanted = torch.stack((slope * (torch.arange(new, dtype=D) - new // 2) + 3, torch.full((new,), 5.0)))
    assert torch.allclose(resize_offsets(table, new), wanted)


def test_with_scale_one_pixels_stay_pixels():
    table = torch.randn(2, 7)
    assert torch.equal(resize_offsets(table, 11, scale=1)[:, 2:-2], table)
    assert torch.equal(resize_offsets(table, 11, scale=1)[:, :2], table[:, :1].expand(-1, 2))
    assert torch.equal(resize_offsets(table, 3, scale=1), table[:, 2:-2])
    twice = resize_offsets(table, 13, scale=2)
    assert torch.equal(twice[:, ::2], table) and torch.allclose(twice[:, 1], (table[:, 0] + table[:, 1]) / 2)


def test_what_is_no_table_is_named():
    for arguments, message in (((torch.zeros(2, 4), 5), "got 4"), ((torch.zeros(2, 5), 4), "size .* got 4")):
        with pytest.raises(ValueError, match=message):
            resize_offsets(*arguments)
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        resize_offsets(torch.zeros(2, 5), 7, scale=0)


def smooth(side):
    """The same picture in any number of pixels."""
    y, x = torch.meshgrid(*[(torch.arange(side, dtype=D) + 0.5) / side] * 2, indexing="ij")
    return torch.stack([(a * y + b * x).sin() for a, b in ((3, 1), (-2, 5), (4, 4), (1, -6))])[None]


def test_more_pixels_of_the_same_picture_change_little_where_tables_follow():
    def build(side):
        return AddedOffsets2d(4, (side, side)).to(D)

    trained, larger = build(8), build(16)
    with torch.no_grad():  # tables as training leaves them: neighbours are alike
        for table in (trained.row, trained.col):
            table.copy_(torch.linspace(-1, 1, 15, dtype=D)[:, None].mul(torch.tensor([3.0, 1, 2, -1])).sin())

    def output(layer, side):
        q = smooth(side)[:, None]
        weights = layer(q).softmax(dim=-1)
        return (weights @ smooth(side).flatten(2).mT[:, None]).mT.unflatten(-1, (side, side))[:, 0]

    few = output(trained, 8)
    errors = {}
    for scale in (2, None, 1):
        larger.load_state_dict(fit_offsets(trained.state_dict(), larger, scale=scale))
        errors[scale] = (F.avg_pool2d(output(larger, 16), 2) - few).abs().max().item()
    assert errors[2] < 0.02 and errors[None] < 0.1 and errors[1] > 3 * errors[2], errors


def test_a_wider_window_on_more_pixels_of_the_same_picture_changes_little():
    trained = layers.LocalSelfAttention2d(4, 4, 5, 2).to(D)
    larger = layers.LocalSelfAttention2d(4, 4, 9, 2).to(D)
    larger.load_state_dict(fit_offsets(trained.state_dict(), larger))
    few, many = trained(smooth(16)), F.avg_pool2d(larger(smooth(32)), 2)
    inside = (..., slice(3, -3), slice(3, -3))
    assert (few - many)[inside].abs().max() < 0.1 * few.abs().max()


def test_networks_take_other_windows_and_larger_images():
    build = cifar_models()["augmented_convolution"]
    trained, larger = build(depth=14, width=0.125).eval(), build(depth=14, width=0.125, image_size=64).eval()
    larger.load_state_dict(fit_offsets(trained.state_dict(), larger, scale=1))
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(larger(x), trained(x), atol=1e-6), "the middle of the tables is what it was"
    assert larger(torch.randn(1, 3, 64, 48)).isfinite().all()
    with pytest.raises(ValueError, match="larger than max_size"):
        trained(torch.randn(1, 3, 64, 64))
    build = cifar_models()["relative_offsets"]
    trained, larger = build(depth=14, width=0.125), build(depth=14, width=0.125, kernel_size=11)
    with pytest.raises(RuntimeError, match="size mismatch"):
        larger.load_state_dict(trained.state_dict())
    state = trained.state_dict()
    larger.load_state_dict(fit_offsets(state, larger))
    assert all(torch.equal(tensor, trained.state_dict()[key]) for key, tensor in state.items()), (
        "the state is as it was"
    )
    assert larger(x).isfinite().all()
