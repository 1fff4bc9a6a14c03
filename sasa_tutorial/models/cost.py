"""What a network costs: parameters, and floating-point operations for one image."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameter_count(model: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def on_paper(model: nn.Module) -> nn.Module:
    """A copy without numbers, on the meta device, as for evaluation; the model stays as it is."""
    return copy.deepcopy(model).to("meta").eval()


def flops_per_image(model: nn.Module, size: int = 32) -> int:
    """FLOPs of one forward pass over one image of `size` x `size` pixels; one multiply-add is 2.

    Convolutions and matrix products are counted, as in the papers' tables; norms, activations and sums are not. Counted
    on the meta device, so nothing is computed and a network of any size takes milliseconds.
    """
    return flops_on_paper(on_paper(model), size)


def flops_on_paper(model: nn.Module, size: int) -> int:
    """The same for a network that is on the meta device already."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops()
