"""What is compared: layers that turn the same input into an output of the same shape."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sasa_tutorial import kernels
from sasa_tutorial.bench.flex import FlexLocalSelfAttention2d
from sasa_tutorial.bench.setting import Setting
from sasa_tutorial.layers import LocalSelfAttention2d

Pass = Callable[[], object]


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
            yield self.build(setting).to(**setting.placement)

    def passes(self, setting: Setting, x: Tensor) -> tuple[Pass, Pass]:
        """The forward pass without a graph, and the forward and backward pass; nothing of either is kept."""
        with self.ready(setting) as layer:
            sources = [x, *layer.parameters()]
            upstream = torch.randn_like(x)

        def forward() -> None:
            with kernels.using(self.backend), torch.no_grad():
                layer(x)

        def both() -> None:
            with kernels.using(self.backend):
                torch.autograd.grad(layer(x), sources, upstream)

        return forward, both


def subjects(setting: Setting) -> dict[str, Subject]:
    """3x3 and 7x7 convolution, and local attention with relative offsets by every backend that can take the setting.

    On a GPU also by PyTorch's FlexAttention, which has no gradients on a CPU.
    """
    found = [convolution(3), convolution(7)]
    for backend in kernels.available_backends():
        if _takes(backend, setting):
            name = "attention, unfold" if backend == "reference" else f"attention, {backend}"
            found.append(attention(name, backend))
    if setting.device != "cpu":
        found.append(Subject("attention, flex", _layer_of(FlexLocalSelfAttention2d)))
    return {subject.name: subject for subject in found}


def convolution(kernel_size: int, name: str = "") -> Subject:
    """Without bias; same size of the output."""

    def build(s: Setting) -> nn.Module:
        return nn.Conv2d(s.channels, s.channels, kernel_size, padding=kernel_size // 2, bias=False)

    return Subject(name or f"convolution {kernel_size}x{kernel_size}", build)


def attention(name: str = "attention", backend: str = "auto") -> Subject:
    """The library's layer by one backend."""
    return Subject(name, _layer_of(LocalSelfAttention2d), backend)


def _layer_of(kind: Callable[..., nn.Module]) -> Callable[[Setting], nn.Module]:
    return lambda s: kind(s.channels, s.channels, s.kernel_size, s.heads)


def _takes(backend: str, setting: Setting) -> bool:
    """Asked with one small image, because only the backend knows; it says no with a ValueError."""
    d = max(2, setting.channels // setting.heads)
    placed = {"device": setting.device, "dtype": getattr(torch, setting.dtype)}
    q = torch.zeros(1, 1, d, 4, 4, **placed)
    row, col = (torch.zeros(part, setting.kernel_size, **placed) for part in (d // 2, d - d // 2))
    try:
        kernels.local_attention(q, q, q, row, col, kernel_size=setting.kernel_size, backend=backend)
    except ValueError:
        return False
    return True
