"""What a network costs: parameters, and floating-point operations for one image."""

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameter_count(model: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def on_paper(model: nn.Module) -> nn.Module:
    """A copy without numbers, on the meta device, as for evaluation; the model stays as it is.

    In a network that nobody else uses, `put_on_paper` saves the copy, which takes a third of the time of a count.
    """
    return put_on_paper(copy.deepcopy(model))


def put_on_paper(model: nn.Module) -> nn.Module:
    """The model itself, without its numbers.

    Its batch norms hand on what they get: they are counted nowhere, and PyTorch takes a norm on the meta device apart
    into twenty operators, which was a third of the time.
    """
    model.to("meta").eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = _handed_on
    return model


def _handed_on(x: Tensor) -> Tensor:
    return x


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
