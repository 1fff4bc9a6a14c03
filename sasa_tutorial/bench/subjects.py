"""What is compared: layers that turn the same input into an output of the same shape."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sasa_tutorial import kernels
from sasa_tutorial.layers import LocalSelfAttention2d


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of comparison. The defaults are the point the papers' complaint is usually shown at."""

    batch: int = 32  # images
    channels: int = 64  # in and out
    size: int = 32  # pixels, both sides
    kernel_size: int = 7  # of attention
    heads: int = 8
    device: str = "cpu"

    def input(self) -> Tensor:
        """Random images that need a gradient."""
        x = torch.randn(self.batch, self.channels, self.size, self.size, device=self.device)
        return x.requires_grad_()

    @property
    def layer_bytes(self) -> int:
        """Bytes of q, k, v and the output in float32."""
        return 4 * 4 * self.batch * self.channels * self.size**2


@dataclass(frozen=True)
class Subject:
    """A layer under test."""

    name: str
    build: Callable[[Setting], nn.Module]
    backend: str = "auto"  # of local attention

    @contextmanager
    def ready(self, setting: Setting) -> Iterator[nn.Module]:
        """The layer, with its backend in force for as long as the block lasts."""
        torch.manual_seed(0)
        with kernels.using(self.backend):
            yield self.build(setting).to(setting.device)


def subjects(device: str = "cpu") -> dict[str, Subject]:
    """3x3 and 7x7 convolution, and local attention with relative offsets by every backend that runs on the device."""
    found = [
        Subject("convolution 3x3", lambda s: nn.Conv2d(s.channels, s.channels, 3, padding=1, bias=False)),
        Subject("convolution 7x7", lambda s: nn.Conv2d(s.channels, s.channels, 7, padding=3, bias=False)),
    ]
    for backend in kernels.available_backends(device):
        name = "attention, unfold" if backend == "reference" else f"attention, {backend}"
        found.append(Subject(name, _attention, backend))
    return {subject.name: subject for subject in found}


def _attention(setting: Setting) -> nn.Module:
    return LocalSelfAttention2d(setting.channels, setting.channels, setting.kernel_size, setting.heads)
