"""Learning a small task in seconds: where a mechanism pays off, and the one before it does not."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Draw = Callable[[int, int], tuple[Tensor, Tensor]]  # (images, seed) -> inputs and labels


def learn(network: nn.Module, draw: Draw, *, steps: int, batch: int = 64, rate: float = 0.01) -> nn.Module:
    """Train a network by Adam on fresh images at every step, and return it, frozen and in evaluation mode.

    Args:
        network: gives the logits of the classes; trained in place.
        draw: called as `draw(batch, step)`; the same arguments give the same images and labels.
        steps: so many batches.
        batch: images in each.
        rate: the learning rate, which falls to zero along a line in the second half.

    Raises:
        ValueError: steps or batch below 1.
    """
    if steps < 1 or batch < 1:
        raise ValueError(f"steps and batch must be at least 1, got {steps} and {batch}")
    optimiser = torch.optim.Adam(network.train().parameters(), lr=rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - step / steps))
        inputs, labels = draw(batch, step)
        loss = F.cross_entropy(network(inputs), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval().requires_grad_(False)


def share_right(network: nn.Module, draw: Draw, *, count: int = 1000) -> float:
    """Of so many images that `learn` has not drawn, the share that a network gives the right class."""
    inputs, labels = draw(count, 1_000_003)
    with torch.no_grad():
        return (network(inputs).argmax(dim=1) == labels).float().mean().item()
