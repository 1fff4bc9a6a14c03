"""Positions added to the input: the two encodings that relative offsets are compared with."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from sasa_tutorial.layers.conventions import Layer
from sasa_tutorial.layers.heads import check_channels, check_images


class AbsolutePositions2d(Layer):
    """x plus a fixed code of where each pixel is: sinusoids of its row in the first half of the channels, of its column
    in the second.

    code[2t] = sin(position / 10000^(2t / m)), code[2t + 1] = cos(the same), m channels in the half

    Shapes: (b, channels, h, w) -> the same, any h and w. No parameters.

    Raises:
        ValueError: fewer than 2 channels; an input of another shape.

    Source: Vaswani et al. 2017, arXiv:1706.03762, Sec. 3.5, in each direction; "absolute" in SASA, Table 5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(f"channels must be at least 2, one half for rows and one for columns, got {channels}")
        self.channels = channels

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        check_images(x, self.channels)
        h, w = x.shape[2:]
        rows = sinusoids(h, self.channels // 2, x)
        cols = sinusoids(w, self.channels - self.channels // 2, x)
        code = torch.cat(
            (
                rearrange(rows, "h c -> c h 1").expand(-1, h, w),
                rearrange(cols, "w c -> c 1 w").expand(-1, h, w),
            )
        )
        return x + code

    def extra_repr(self) -> str:
        return str(self.channels)


class CoordinateChannels2d(Layer):
    """x with two more channels: each pixel's row and its column, from -1 (first) to 1 (last); 0 where there is one.

    Shapes: (b, c, h, w) -> (b, c + 2, h, w). No parameters.

    Raises:
        ValueError: x is not 4-D.

    Source: Liu et al. 2018, arXiv:1807.03247 (CoordConv).
    """

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        check_images(x)
        b, _, h, w = x.shape
        row = _from_minus_one_to_one(h, x)[:, None].expand(b, 1, h, w)
        col = _from_minus_one_to_one(w, x)[None, :].expand(b, 1, h, w)
        return torch.cat((x, row, col), dim=1)


def sinusoids(length: int, channels: int, like: Tensor) -> Float[Tensor, "length channels"]:
    check_channels(channels=channels)
    numbers = torch.promote_types(like.dtype, torch.float32)  # and no wider: some devices have no float64
    position = torch.arange(length, dtype=numbers, device=like.device)
    index = torch.arange(channels, device=like.device)
    rate = torch.exp(-math.log(10_000.0) * (index - index % 2) / channels)
    angle = position[:, None] * rate
    return torch.where(index % 2 == 0, angle.sin(), angle.cos()).to(like.dtype)


def _from_minus_one_to_one(length: int, like: Tensor) -> Float[Tensor, " length"]:
    if length == 1:
        return torch.zeros(1, dtype=like.dtype, device=like.device)
    return torch.linspace(-1, 1, length, dtype=like.dtype, device=like.device)
