"""What users expect of a layer besides its equation, because `nn.Conv2d` does it: the machinery, in one place.

`device` and `dtype` at construction, weights that can be drawn again, and one node in a graph that `torch.fx` traces.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy


class Layer(nn.Module):
    """A module that `torch.fx` does not look into.

    A layer looks at the shape of its input and asks which kernel to take, neither of which a symbolic trace can
    follow. So in a graph (`torch.fx.symbolic_trace`, torchvision's `create_feature_extractor`) it is one node, as the
    modules of `torch.nn` are.

    A layer that holds parameters of its own has `reset_parameters()`, which draws them as at construction;
    `network.apply(lambda m: hasattr(m, "reset_parameters") and m.reset_parameters())` draws all of them.

    Raises:
        ValueError: the layer itself is to be traced, and not a network that holds it.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        traced = next((x for x in args if isinstance(x, Proxy)), None)
        if traced is None:
            return super().__call__(*args, **kwargs)
        tracer = traced.tracer
        node = ("call_module", tracer.path_of_module(self))
        return tracer.call_module(self, lambda *a, **k: tracer.create_proxy(*node, a, k), args, kwargs)


def draw_normal(parameter: Tensor, std: float = 1.0) -> None:
    """N(0, std²), in place. Drawn, then scaled, and not in one step: seeds keep the bits of `torch.randn(…) * std`."""
    with torch.no_grad():
        nn.init.normal_(parameter).mul_(std)
