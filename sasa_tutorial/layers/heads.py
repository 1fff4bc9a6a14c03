"""Heads: contiguous groups of channels, channel = head · d + i. The only place in the layers that splits or joins them.

A channel axis reshaped by hand is where public implementations went wrong: the shape is right and the values are mixed
over heads and pixels. Here it is one einops string in each direction.
"""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def split_heads(x: Float[Tensor, "b c *pixels"], heads: int) -> Float[Tensor, "b heads d *pixels"]:
    """Channels into heads; pixels stay where they are.

    Raises:
        ValueError: heads do not divide the channels.
    """
    check_heads(x.shape[1], heads, "channels")
    return rearrange(x, "b (heads d) ... -> b heads d ...", heads=heads)


def join_heads(x: Float[Tensor, "b heads d *pixels"]) -> Float[Tensor, "b c *pixels"]:
    """The reverse of `split_heads`."""
    return rearrange(x, "b heads d ... -> b (heads d) ...")


def check_heads(channels: int, heads: int, name: str = "out_channels") -> int:
    """Channels of one head.

    Raises:
        ValueError: heads is not positive, or does not divide the channels.
    """
    if heads < 1:
        raise ValueError(f"heads must be at least 1, got {heads}")
    if channels < heads or channels % heads:
        raise ValueError(f"{name} must be a multiple of heads, got {channels} channels and {heads} heads")
    return channels // heads


def check_channels(**channels: int) -> None:
    """Refuse numbers of channels that cannot be.

    Raises:
        ValueError: one is not positive; its name is in the message.
    """
    for name, value in channels.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def check_images(x: Tensor, channels: int | None = None) -> None:
    """Refuse what is no batch of images.

    Raises:
        ValueError: x is not 4-D, or has another number of channels.
    """
    if x.ndim != 4:
        raise ValueError(f"expected a 4-D input (b, c, h, w), got {x.ndim}-D of shape {tuple(x.shape)}")
    if channels is not None and x.shape[1] != channels:
        raise ValueError(f"expected {channels} channels, got {x.shape[1]} in an input of shape {tuple(x.shape)}")
