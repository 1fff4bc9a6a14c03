"""One factor for each channel of each image, from all of its pixels: the papers' point of comparison for attention.

    y_c = σ(e_c(z)) x_c,  z_c = mean over pixels of x_c

All pixels of a channel are multiplied by the same number: global, but not spatial. Attention gives every pixel its own.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

Recalibration = Callable[[int], nn.Module]
"""channels -> a module from (b, channels, h, w) to the same shape."""

REDUCTION = 16  # of the channels between the two matrices of squeeze-and-excitation


def squeeze_excitation(channels: int) -> nn.Module:
    """Two matrices with a ReLU between them make the factors (Hu et al. 2018, arXiv:1709.01507, r = 16).

    Parameters: 2 c² / 16 + c + c / 16, biases included.
    """
    from torchvision.ops import SqueezeExcitation  # here: torchvision takes a second to import

    return SqueezeExcitation(channels, max(1, channels // REDUCTION))


def unchanged(channels: int) -> nn.Module:
    """No recalibration."""
    return nn.Identity()


class GatherExcite(nn.Module):
    """The factor is the sigmoid of the channel's mean; no parameters (Hu et al. 2018, arXiv:1810.12348, GE-θ⁻)."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x * x.mean(dim=(2, 3), keepdim=True).sigmoid()


_KINDS: dict[str, Recalibration] = {
    "none": unchanged,
    "squeeze-excitation": squeeze_excitation,
    "gather-excite": lambda channels: GatherExcite(),
}


def recalibration(kind: str) -> Recalibration:
    """The maker of what a block applies to its output before it is added to the input.

    Raises:
        ValueError: a name that is none of "none", "squeeze-excitation", "gather-excite".
    """
    if kind not in _KINDS:
        raise ValueError(f"recalibrate must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}")
    return _KINDS[kind]
