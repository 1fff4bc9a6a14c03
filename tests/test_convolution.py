"""Windows and convolutions against indices written out by hand, and against PyTorch."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from sasa_tutorial.layers import conv2d_loops, conv2d_windows, gather_windows, inside_image

shapes = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
odd = st.sampled_from((1, 3, 5, 7))


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@given(shapes, odd)
@settings(deadline=None, max_examples=30)
def test_a_window_holds_the_pixels_around_its_centre(shape, kernel_size):
    x = random(*shape)
    windows = gather_windows(x, kernel_size)
    batch, channels, height, width = shape
    assert windows.shape == (*shape, kernel_size, kernel_size)
    for i, j, a, b in itertools.product(range(height), range(width), range(kernel_size), range(kernel_size)):
        row, col = i + a - kernel_size // 2, j + b - kernel_size // 2
        inside = 0 <= row < height and 0 <= col < width
        expected = x[:, :, row, col] if inside else torch.zeros(batch, channels, dtype=x.dtype)
        assert torch.equal(windows[:, :, i, j, a, b], expected)
        assert inside_image(height, width, kernel_size)[i, j, a, b] == inside


@given(shapes, st.integers(1, 4), odd)
@settings(deadline=None, max_examples=30)
def test_both_convolutions_are_pytorchs(shape, out_channels, kernel_size):
    x, weight = random(*shape), random(out_channels, shape[1], kernel_size, kernel_size)
    expected = F.conv2d(x, weight, padding="same")
    assert torch.allclose(conv2d_loops(x, weight), expected, rtol=1e-12, atol=1e-12)
    assert torch.allclose(conv2d_windows(x, weight), expected, rtol=1e-12, atol=1e-12)


def test_gradients():
    x, weight = random(1, 2, 3, 4).requires_grad_(), random(2, 2, 3, 3).requires_grad_()
    assert gradcheck(conv2d_windows, (x, weight))
    assert gradcheck(conv2d_loops, (x, weight))


def test_gathering_costs_one_padded_copy_and_not_k_squared():
    x = torch.randn(2, 8, 32, 32)
    windows = gather_windows(x, 7)
    assert windows.untyped_storage().nbytes() <= 2 * x.nbytes


@pytest.mark.parametrize("kernel_size", [0, 2, -3])
def test_windows_without_a_centre_are_refused(kernel_size):
    with pytest.raises(ValueError, match=f"odd number, got {kernel_size}"):
        gather_windows(random(1, 1, 4, 4), kernel_size)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"4-D input \(b, c, h, w\), got 3-D of shape \(1, 4, 4\)"):
        gather_windows(random(1, 4, 4), 3)
    for convolve in (conv2d_loops, conv2d_windows):
        with pytest.raises(ValueError, match="the weight reads 3 channels, the input has 2"):
            convolve(random(1, 2, 4, 4), random(1, 3, 3, 3))
        with pytest.raises(ValueError, match=r"\(c_out, c_in, k, k\), got \(1, 2, 3, 5\)"):
            convolve(random(1, 2, 4, 4), random(1, 2, 3, 5))
        with pytest.raises(ValueError, match="got 2"):
            convolve(random(1, 2, 4, 4), random(1, 2, 2, 2))
        with pytest.raises(ValueError, match="4-D input"):
            convolve(random(2, 4, 4), random(1, 2, 3, 3))
