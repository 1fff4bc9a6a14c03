"""Convolution, twice: as the loops of its definition, and as windows times a matrix.

    y_ij = Σ_{a,b} W_ab x_{i + a - k//2, j + b - k//2}                                  (stride 1, zeros outside)

Written as deep learning writes it: the kernel is not flipped, so this is the cross-correlation that `F.conv2d`
computes. SASA (Sec. 2) indexes the same sum by the pixel, W_{i-a, j-b}, over the neighbourhood N_k(i, j).

Cost: h·w·k²·c_in·c_out multiply-adds, k²·c_in·c_out parameters. Both grow with the square of the extent; local
attention keeps the second constant.

The networks use `torch.nn.Conv2d`. These two functions are what it is checked against, and what attention is built
from.

Source: Ramachandran et al. 2019, arXiv:1906.05909, Sec. 2.
"""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from sasa_tutorial.windows import check_kernel_size, gather_windows


def conv2d_loops(
    x: Float[Tensor, "b c_in h w"], weight: Float[Tensor, "c_out c_in kh kw"]
) -> Float[Tensor, "b c_out h w"]:
    """The definition, one output number at a time. Equal to `F.conv2d(x, weight, padding="same")`, and slow.

    Shapes: x (b, c_in, h, w), weight (c_out, c_in, k, k) -> (b, c_out, h, w).

    Raises:
        ValueError: shapes that do not fit, or an even k.
    """
    kernel_size = _square_kernel(x, weight)
    (batch, _, height, width), out_channels = x.shape, weight.shape[0]
    reach = kernel_size // 2
    y = x.new_zeros(batch, out_channels, height, width)
    for image in range(batch):
        for channel in range(out_channels):
            for i in range(height):
                for j in range(width):
                    for a in range(kernel_size):
                        for b in range(kernel_size):
                            row, col = i + a - reach, j + b - reach
                            if 0 <= row < height and 0 <= col < width:
                                y[image, channel, i, j] += torch.dot(weight[channel, :, a, b], x[image, :, row, col])
    return y


def conv2d_windows(
    x: Float[Tensor, "b c_in h w"], weight: Float[Tensor, "c_out c_in kh kw"]
) -> Float[Tensor, "b c_out h w"]:
    """Gather every window, then one matrix product: the window's k²·c_in numbers with each output channel's weights.

    Shapes: x (b, c_in, h, w), weight (c_out, c_in, k, k) -> (b, c_out, h, w).
    Memory: the product needs the windows side by side, k² times the input.

    Raises:
        ValueError: shapes that do not fit, or an even k.
    """
    windows = gather_windows(x, _square_kernel(x, weight))
    return einsum(windows, weight, "b c_in h w kh kw, c_out c_in kh kw -> b c_out h w")


def _square_kernel(x: Tensor, weight: Tensor) -> int:
    if x.ndim != 4:
        raise ValueError(f"expected a 4-D input (b, c, h, w), got {x.ndim}-D of shape {tuple(x.shape)}")
    if weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        raise ValueError(f"expected a weight of shape (c_out, c_in, k, k), got {tuple(weight.shape)}")
    if weight.shape[1] != x.shape[1]:
        raise ValueError(f"the weight reads {weight.shape[1]} channels, the input has {x.shape[1]}")
    check_kernel_size(weight.shape[2])
    return weight.shape[2]
