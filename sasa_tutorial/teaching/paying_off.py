"""Learning a small task in seconds: where a mechanism pays off, and the one before it does not."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sasa_tutorial import paths
from sasa_tutorial.files import locked, written_whole

Draw = Callable[[int, int], tuple[Tensor, Tensor]]  # (images, seed) -> inputs and labels


def learn(network: nn.Module, draw: Draw, *, steps: int, batch: int = 64, rate: float = 0.01) -> nn.Module:
    """Train a network by Adam on fresh images at every step, and return it, frozen and in evaluation mode.

    Where the variable SASA_LEARNED names a folder, what was learned is kept there, and the same network is not trained
    again: the tests execute every notebook twice.

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
    folder = paths.learned_root()
    if folder is None or _watched(network):
        _train(network, draw, steps, batch, rate)
    else:
        kept = folder / f"{_fingerprint(network, draw, steps, batch, rate)}.pt"
        with locked(kept.with_suffix(".lock")):
            if kept.exists():
                network.load_state_dict(torch.load(kept, weights_only=True))
            else:
                _train(network, draw, steps, batch, rate)
                with written_whole(kept) as file:
                    torch.save(network.state_dict(), file)
    return network.eval().requires_grad_(False)


def share_right(network: nn.Module, draw: Draw, *, count: int = 1000) -> float:
    """Of so many images that `learn` has not drawn, the share that a network gives the right class."""
    inputs, labels = draw(count, 1_000_003)
    with torch.no_grad():
        return (network(inputs).argmax(dim=1) == labels).float().mean().item()


def _train(network: nn.Module, draw: Draw, steps: int, batch: int, rate: float) -> None:
    optimiser = torch.optim.Adam(network.train().parameters(), lr=rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - step / steps))
        inputs, labels = draw(batch, step)
        loss = F.cross_entropy(network(inputs), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _watched(network: nn.Module) -> bool:
    """Whether somebody looks on while it learns; a network that was only loaded would show them nothing."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def _fingerprint(network: nn.Module, draw: Draw, steps: int, batch: int, rate: float) -> str:
    """Of everything that decides what is learned. What the network computes shows in its first gradient."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inputs, labels = draw(batch, 0)
    loss = F.cross_entropy(network.train()(inputs), labels)
    learning = [p for p in network.parameters() if p.requires_grad]
    gradients = [g for g in torch.autograd.grad(loss, learning, allow_unused=True) if g is not None]
    network.load_state_dict(before)  # a batch norm has counted that batch
    tensors = [inputs, labels, *draw(batch, steps - 1), *before.values(), *gradients]
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(f"{torch.__version__} {network!r} {steps} {batch} {rate}".encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
