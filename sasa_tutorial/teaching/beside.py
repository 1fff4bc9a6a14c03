"""A layer whose input goes on beside its output: what small networks of the lessons need, and a sequence has not."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Beside(nn.Module):
    """A pixel keeps what it has, and gets what a layer makes of it: [x, mix(x)], joined along the channels.

    Args:
        mix: any layer that leaves the size of the map as it is.

    Shapes: (b, c, h, w) -> (b, c + c_out of the layer, h, w).
    """

    def __init__(self, mix: nn.Module) -> None:
        super().__init__()
        self.mix = mix

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c_both h w"]:
        return torch.cat([x, self.mix(x)], dim=1)
