"""Identities: what a right layer must do and a wrong one need not. Each takes a layer and images and says yes or no.

They may change the layer's weights: whoever asks builds a new layer for each question. Images are (b, c, h, w).
"""

import torch
import torch.nn.functional as F
from einops import einsum
from torch import Tensor, nn


def has_the_right_shape(layer: nn.Module, x: Tensor) -> bool:
    """What most tests look at."""
    return layer(x).shape == x.shape


def stays_within_reach(layer: nn.Module, x: Tensor) -> bool:
    """A pixel is seen by the windows that hold it, and by no other."""
    other, far = x.clone(), layer.kernel_size // 2 + 1
    other[:, :, 0, 0] += 1
    changed = (layer(other) - layer(x)).abs() > 1e-9
    return not changed[:, :, far:].any() and not changed[:, :, :, far:].any()


def averages_with_zero_queries(layer: nn.Module, x: Tensor) -> bool:
    """Zero queries like all pixels alike: what comes out is the mean of the values inside the image."""
    nn.init.zeros_(layer.to_q.weight)
    size = layer.kernel_size
    mean = F.avg_pool2d(layer.to_v(x), size, stride=1, padding=size // 2, count_include_pad=False)
    return torch.allclose(layer(x), mean)


def keeps_heads_apart(layer: nn.Module, x: Tensor) -> bool:
    """With grouped projections, what the first head reads is no business of the others."""
    other, d = x.clone(), x.shape[1] // layer.heads
    other[:, :d] += 1
    return torch.equal(layer(other)[:, d:], layer(x)[:, d:])


def hears_both_tables(layer: nn.Module, x: Tensor) -> bool:
    """Every head changes its output when the row offsets change, and when the column offsets do."""
    for table in (layer.offsets.row, layer.offsets.col):
        before = layer(x)
        nn.init.zeros_(table)
        changed = (layer(x) - before).abs().amax(dim=(0, 2, 3))  # a number for each channel
        if (changed.view(layer.heads, -1).amax(dim=1) < 1e-9).any():
            return False
    return True


def does_not_care_about_axes(layer: nn.Module, x: Tensor) -> bool:
    """Dot products stay the same when queries, keys and offsets turn together."""
    before, half = layer(x), len(layer.offsets.row)
    turn = torch.linalg.qr(torch.randn(half, half, dtype=x.dtype))[0]
    for project in (layer.to_q, layer.to_k):
        halves = project.weight.data.view(layer.heads, 2, half, -1)
        halves.copy_(turn @ halves)
    for table in (layer.offsets.row, layer.offsets.col):
        table.data.copy_(turn @ table)
    return torch.allclose(layer(x), before)


def is_the_equation(layer: nn.Module, x: Tensor) -> bool:
    """The layer against loops over its windows, from the equation: slow, and it sees everything.

    Of the layer it takes parameters only, so that no step of the layer's can be wrong on both sides.
    """
    projections = (layer.to_q, layer.to_k, layer.to_v)
    q, k, v = (project(x).unflatten(1, (layer.heads, -1)) for project in projections)  # b heads d h w
    row, col, size = layer.offsets.row, layer.offsets.col, layer.kernel_size
    r = torch.cat((row[:, :, None].expand(-1, -1, size), col[:, None].expand(-1, size, -1)))  # d kh kw
    y, (h, w), reach = torch.empty_like(q), x.shape[2:], size // 2
    for i in range(h):
        for j in range(w):
            rows, cols = (slice(max(0, at - reach), min(end, at + reach + 1)) for at, end in ((i, h), (j, w)))
            offsets = r[
                :, rows.start - i + reach : rows.stop - i + reach, cols.start - j + reach : cols.stop - j + reach
            ]
            logits = einsum(q[..., i, j], k[..., rows, cols] + offsets, "b heads d, b heads d kh kw -> b heads kh kw")
            weights = logits.flatten(2).softmax(dim=-1).view_as(logits)
            y[..., i, j] = einsum(weights, v[..., rows, cols], "b heads kh kw, b heads d kh kw -> b heads d")
    return torch.allclose(layer(x), y.flatten(1, 2))


def does_not_know_where_pixels_are(layer: nn.Module, x: Tensor) -> bool:
    """Without positions, shuffling the pixels shuffles the output, and does nothing else."""
    order = torch.randperm(x.shape[2] * x.shape[3])

    def shuffled(images: Tensor) -> Tensor:
        return images.flatten(2)[:, :, order].reshape(images.shape)

    return torch.allclose(layer(shuffled(x)), shuffled(layer(x)))


def hands_a_constant_on(layer: nn.Module, x: Tensor) -> bool:
    """Where all values are 1, a weighted mean is 1, whatever the weights."""
    x = x.clone()
    x[:, 0] = 1  # a channel that is 1 everywhere, and values that read it alone
    nn.init.zeros_(layer.to_v.weight)
    layer.to_v.weight.data[:, 0] = 1
    nn.init.dirac_(layer.to_out.weight)  # hands on what it gets
    return torch.allclose(layer(x), torch.ones_like(x))


def stays_finite_in_half(layer: nn.Module, x: Tensor) -> bool:
    """Large logits in float16 still give numbers."""
    return bool(layer.half()(50 * x.half()).isfinite().all())
