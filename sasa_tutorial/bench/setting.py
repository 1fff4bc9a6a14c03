"""One point of comparison of layers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sasa_tutorial.devices import bfloat16_in_hardware, on_gpu
from sasa_tutorial.layers.heads import check_heads
from sasa_tutorial.windows import check_kernel_size

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every layer of one comparison gets. The defaults are the point the papers' complaint is usually shown at.

    Raises:
        ValueError: another dtype than those in DTYPES, heads that do not divide the channels, an even window.
    """

    batch: int = 32  # images
    channels: int = 64  # in and out
    size: int = 32  # pixels, both sides
    kernel_size: int = 7  # of attention
    heads: int = 8
    dtype: str = "float32"  # of the layer and its input
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be {', '.join(DTYPES)}, got {self.dtype!r}")
        check_heads(self.channels, self.heads, "channels")
        check_kernel_size(self.kernel_size)

    def input(self) -> Tensor:
        """Random images that need a gradient."""
        x = torch.randn(self.batch, self.channels, self.size, self.size).to(**self.placement)
        return x.requires_grad_()

    @property
    def placement(self) -> dict[str, object]:
        """Where and how tensors lie. On a GPU with channels last, as in training: tensor cores read them so."""
        cpu = self.device == "cpu"
        layout = torch.contiguous_format if cpu else torch.channels_last
        return {"device": self.device, "dtype": getattr(torch, self.dtype), "memory_format": layout}

    @property
    def pixels(self) -> int:
        """Of all images together."""
        return self.batch * self.size**2

    @property
    def layer_bytes(self) -> int:
        """Bytes of q, k, v and the output."""
        return 4 * self.channels * self.pixels * getattr(torch, self.dtype).itemsize


def default_setting(device: torch.device, **given: int | str | None) -> Setting:
    """The setting for a device; what is given and not None replaces its defaults.

    A GPU that computes in bfloat16 gets that and 256 images, another GPU 64 in float32: with fewer, launching a kernel
    takes longer than the kernel; with more, the gathered windows of the unfold form do not fit.
    """
    chosen: dict[str, int | str] = {"device": str(device)}
    if on_gpu(device):
        half = bfloat16_in_hardware(device)
        chosen |= {"batch": 256 if half else 64, "dtype": "bfloat16" if half else "float32"}
    return Setting(**chosen | {name: value for name, value in given.items() if value is not None})
