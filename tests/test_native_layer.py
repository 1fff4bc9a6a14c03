"""Projections and attention in one step: the same numbers as one after the other, and less in memory."""

import copy
from unittest.mock import patch

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sasa_tutorial import kernels
from sasa_tutorial.kernels.native import operator as native
from sasa_tutorial.kernels.native import projected
from sasa_tutorial.layers import LocalSelfAttention2d

pytestmark = pytest.mark.skipif(
    "native" not in kernels.available_backends(), reason=kernels.why_unavailable("native") or "native runs here"
)


def in_one_step(layer, x):
    with patch.object(projected, "attend", wraps=projected.attend) as attend:
        y = layer(x)
    attend.assert_called_once()
    return y


def one_after_the_other(layer, x):
    with patch.object(projected, "fits", lambda *_: False):
        return layer(x)


def results(function, layer, x, upstream):
    y = function(layer, x)
    return y, *torch.autograd.grad(y, [x, *layer.parameters()], upstream)


@pytest.mark.parametrize(
    ("shape", "out", "k", "heads", "options"),
    [
        ((2, 6, 5, 6), 8, 3, 2, {}),
        ((3, 16, 32, 32), 16, 7, 2, {}),
        ((1, 1, 1, 1), 2, 3, 1, {}),
        ((4, 5, 9, 17), 24, 5, 3, {"content": False}),
        ((2, 20, 8, 8), 16, 3, 1, {"relative": False}),
        ((2, 7, 2, 30), 13, 7, 1, {}),
        ((2, 40, 3, 3), 32, 11, 2, {}),
    ],
    ids=str,
)
def test_values_and_gradients_are_those_of_two_steps(shape, out, k, heads, options):
    layer = LocalSelfAttention2d(shape[1], out, k, heads, **options).double()
    x = torch.randn(shape, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(shape[0], out, *shape[2:], dtype=torch.float64)
    expected = results(one_after_the_other, layer, x, upstream)
    for images in (x, x.detach().to(memory_format=torch.channels_last).requires_grad_()):
        for found, wanted in zip(results(in_one_step, layer, images, upstream), expected, strict=True):
            assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("step", [one_after_the_other, in_one_step])
@pytest.mark.parametrize(
    ("shape", "k", "rows", "options"),
    [
        ((2, 6, 13, 5), 3, 4, {}),  # bands of 4, 4 and 5 rows
        ((1, 6, 40, 20), 5, 8, {}),
        ((1, 4, 29, 3), 7, 14, {"content": False}),  # 3 rows seen on either side
        ((3, 4, 9, 33), 1, 1, {"relative": False}),  # nothing seen beside the band
        ((1, 4, 16, 2), 5, 8, {}),
    ],
    ids=str,
)
def test_bands_of_rows_change_nothing(monkeypatch, step, shape, k, rows, options):
    layer = LocalSelfAttention2d(shape[1], 8, k, 2, **options).double()
    x = torch.randn(shape, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(shape[0], 8, *shape[2:], dtype=torch.float64)
    expected = results(one_after_the_other, layer, x, upstream)
    monkeypatch.setattr(native, "_BAND", rows * shape[3])
    assert native.bands(*shape[2:], [k // 2, k // 2]) == shape[2] // rows > 1
    for images in (x, x.detach().to(memory_format=torch.channels_last).requires_grad_()):
        for found, wanted in zip(results(step, layer, images, upstream), expected, strict=True):
            assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_some_channels_of_wider_images_are_read_and_no_others():
    layer = LocalSelfAttention2d(10, 8, 3, 2).double()
    wide = torch.full((2, 16, 5, 4), torch.nan, dtype=torch.float64).to(memory_format=torch.channels_last)
    wide[:, 6:] = torch.randn(2, 10, 5, 4, dtype=torch.float64)
    upstream = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    expected = results(one_after_the_other, layer, wide[:, 6:].clone().requires_grad_(), upstream)
    for found, wanted in zip(
        results(in_one_step, layer, wide[:, 6:].requires_grad_(), upstream), expected, strict=True
    ):
        assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 6, 3, 0), (2, 6, 0, 3), (0, 6, 3, 3)], ids=str)
def test_no_pixels_are_no_trouble(shape):
    layer, x = LocalSelfAttention2d(6, 8, 3, 2), torch.empty(shape, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_output_and_its_gradient_lie_in_memory_as_the_input_does(layout):
    layer, x = LocalSelfAttention2d(6, 8, 3, 2), torch.randn(2, 6, 5, 4).to(memory_format=layout).requires_grad_()
    y = in_one_step(layer, x)
    y.square().sum().backward()
    assert y.is_contiguous(memory_format=layout) and x.grad.is_contiguous(memory_format=layout)


def test_gradients_are_those_of_finite_differences():
    layer = LocalSelfAttention2d(3, 4, 3, heads=2).double()
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: in_one_step(layer, x), [x, *layer.parameters()])


def test_a_gradient_that_is_one_number_everywhere_is_taken():
    layer, x = LocalSelfAttention2d(4, 8, 3, heads=2), torch.randn(3, 4, 5, 5, requires_grad=True)
    (found,) = torch.autograd.grad(layer(x).sum(), x)
    (expected,) = torch.autograd.grad(layer(x), x, torch.ones(3, 8, 5, 5))
    assert torch.equal(found, expected)


def test_threads_do_not_change_a_bit():
    layer, x = LocalSelfAttention2d(8, 16, 5, heads=2), torch.randn(5, 8, 9, 11, requires_grad=True)
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append(results(in_one_step, layer, x, torch.ones(5, 16, 9, 11)))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_queries_keys_and_values_are_not_kept_for_the_backward_pass():
    layer, x = LocalSelfAttention2d(8, 8, 3, heads=2), torch.randn(2, 8, 16, 16, requires_grad=True)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.data_ptr(), t.numel()) and t, lambda t: t
    ):
        in_one_step(layer, x)
    images = x.numel()
    assert sum(kept.values()) < 2.5 * images  # the input, the output, a number for each query of two heads; weights


def test_the_operator_passes_pytorchs_own_check():
    layer, x = LocalSelfAttention2d(3, 4, 3, heads=2), torch.randn(2, 3, 4, 5, requires_grad=True)
    q, k, v = matrices(layer)
    tables = (layer.offsets.row, layer.offsets.col)
    operator = torch.ops.sasa_tutorial.native_projected_local_attention.default
    for given in ((q, k, v, *tables), (q, None, v, *tables), (q, k, v, None, None)):
        torch.library.opcheck(operator, (x, *given, 2, [1, 1]), raise_exception=True)


def matrices(layer):
    return [None if p is None else p.weight.flatten(1) for p in (layer.to_q, layer.to_k, layer.to_v)]


@pytest.mark.parametrize("options", [{}, {"content": False}, {"relative": False}], ids=str)
def test_flops_are_counted_as_in_two_steps(options):
    layer, x = LocalSelfAttention2d(6, 8, 3, heads=2, **options), torch.randn(2, 6, 5, 7, requires_grad=True)
    tables = (None, None) if layer.offsets is None else (layer.offsets.row, layer.offsets.col)
    sizes = {"heads": 2, "kernel_size": 3}

    def in_two_steps(x):
        return kernels.local_attention(*layer.queries_keys_values(x), *tables, kernel_size=3)

    counts = []
    for function in (in_two_steps, lambda x: projected.attend(x, *matrices(layer), *tables, **sizes)):
        with FlopCounterMode(display=False) as forward:
            y = function(x)
        with FlopCounterMode(display=False) as backward:
            y.sum().backward()
        counts.append((forward.get_total_flops(), backward.get_total_flops()))
    assert counts[0][0] == counts[1][0]
    projections = 2 * 2 * 5 * 7 * 6 * 8 * (2 if "content" in options else 3)
    assert counts[1][1] == counts[0][1] + projections, "made once more"


def fits(layer, x):
    given = projected.Projected(x, *matrices(layer), layer.offsets.row, layer.offsets.col)
    return projected.fits(given, layer.kernel_size)


def test_what_it_cannot_do_goes_the_other_way():
    layer, x = LocalSelfAttention2d(4, 8, 3, heads=2), torch.randn(2, 4, 5, 5)
    assert fits(layer, x)
    assert not fits(layer, x.double()) and not fits(layer, x.bfloat16())
    assert not fits(copy.deepcopy(layer).bfloat16(), x.bfloat16())
    assert not fits(copy.deepcopy(layer).to("meta"), x.to("meta"))
    many = projected.MOST_CHANNELS + 1
    assert not fits(LocalSelfAttention2d(many, 8, 3, heads=2), torch.empty(2, many, 1, 1))
    with kernels.using("streaming"), patch.object(projected, "attend", side_effect=AssertionError):
        layer(x)
    assert LocalSelfAttention2d(4, 8, 3, heads=2, grouped=True)(x).shape == (2, 8, 5, 5)


def test_under_autocast_it_takes_and_gives_what_a_convolution_does_and_computes_in_float32():
    layer, x = LocalSelfAttention2d(4, 8, 3, heads=2), torch.randn(2, 4, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, of_narrow = in_one_step(layer, x), in_one_step(layer, x.bfloat16())
        wide = in_one_step(layer.double(), x.double())
        assert not fits(layer, x), "autocast leaves float64 alone: a convolution refuses these two together"
    assert found.dtype == of_narrow.dtype == torch.bfloat16 and wide.dtype == torch.float64
    assert torch.equal(layer.float()(x).bfloat16(), found)
