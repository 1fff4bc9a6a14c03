"""The layer as networks use it, by whatever is fastest here, against its own lines in float64."""

import copy
from dataclasses import dataclass

import torch

from sasa_tutorial import kernels
from sasa_tutorial.layers import LocalSelfAttention2d
from sasa_tutorial.selftest.checking import TOLERANCES, Outcome, compared
from sasa_tutorial.selftest.ways import REFERENCE, Way

# Under autocast the projections, too, round: queries and keys before the logits, gradients on their way back.
AUTOCAST_TOLERANCE = 4e-2


@dataclass(frozen=True)
class LayerSetting:
    """Of a layer with 24 input channels and two heads."""

    d: int
    size: tuple[int, int]
    autocast: bool  # bfloat16, channels last: the training path on a GPU
    relative: bool = True

    def __str__(self) -> str:
        numbers = "bfloat16 autocast, channels last" if self.autocast else "float32"
        h, w = self.size
        return f"{numbers}, d {self.d}, {h} x {w}{'' if self.relative else ', no offsets'}"


def settings() -> list[LayerSetting]:
    """What is tried."""
    return [
        LayerSetting(8, (32, 32), True),
        LayerSetting(16, (32, 32), True),
        LayerSetting(16, (5, 7), False),
        LayerSetting(8, (33, 17), False, relative=False),
    ]


def check_layer(setting: LayerSetting, device: torch.device, seed: int) -> Outcome:
    """The output, and the gradients of the input and of every parameter."""
    torch.manual_seed(seed)
    layer = LocalSelfAttention2d(24, 2 * setting.d, 7, 2, relative=setting.relative)
    x, upstream = torch.randn(2, 24, *setting.size), torch.randn(2, 2 * setting.d, *setting.size)
    exact = copy.deepcopy(layer).double().to(device)
    layer.to(device)
    x, upstream = x.to(device), upstream.to(device)
    with kernels.using(REFERENCE):
        right = _results(exact, x.double(), upstream.double(), autocast=False)
    if setting.autocast:
        x = x.to(memory_format=torch.channels_last)
        layer.to(memory_format=torch.channels_last)
    # Bit for bit the kernel's own doing: the gradient of a 1x1 convolution's weights is cuDNN's, in any order it likes.
    with Way("auto").chosen(), torch.backends.cudnn.flags(deterministic=True):
        found, again = (_results(layer, x, upstream, autocast=setting.autocast) for _ in range(2))
    return compared(found, again, right, AUTOCAST_TOLERANCE if setting.autocast else 2 * TOLERANCES["float32"])


def _results(layer: LocalSelfAttention2d, x: torch.Tensor, upstream: torch.Tensor, *, autocast: bool) -> dict:
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=autocast):
        out = layer(x)
    names = ["x", *(name for name, _ in layer.named_parameters())]
    gradients = torch.autograd.grad(out, [x, *layer.parameters()], upstream.to(out.dtype))
    return {"out": out.detach(), **dict(zip(names, gradients, strict=True))}
