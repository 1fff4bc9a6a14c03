"""One training step: what the loop does again and again, and what the benchmark of networks measures."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sasa_tutorial.devices import computing


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pixels: Float[Tensor, "b 3 h w"],
    labels: Int64[Tensor, " b"],
    *,
    label_smoothing: float = 0.0,
    bfloat16: bool = False,
) -> Float[Tensor, "3"]:
    """Forward, loss, backward, update.

    Args:
        model: in training mode.
        optimizer: of its parameters, with the learning rates of this step.
        pixels: normalised images, on the device of the model.
        labels: their classes.
        label_smoothing: probability mass spread over all classes.
        bfloat16: compute in it on a CPU that has it, too.

    Returns:
        The loss before the update in nats, the number of images whose label came first, the Euclidean norm of all
        gradients: on the device, so that no step has to wait for the one before.
    """
    with computing(pixels.device, bfloat16=bfloat16):
        logits = model(pixels.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    with torch.no_grad():  # before the update: the optimizer may change gradients in place
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        correct = (logits.argmax(dim=1) == labels).sum()
        numbers = torch.stack((loss.detach().float(), correct.float(), norm.float()))
    optimizer.step()
    return numbers
