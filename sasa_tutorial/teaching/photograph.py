"""A photograph that every installation has, what a network takes it for, and what reaches a layer inside."""

import matplotlib.cbook
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sasa_tutorial.datasets.class_names import CIFAR100_CLASS_NAMES

_LEFT, _TOP, _SIDE = 0, 0, 512  # the square crop around hat, face and shoulders, in pixels of the file


def photograph(size: int = 32) -> UInt8[Tensor, "3 size size"]:
    """Grace Hopper, photographed by the United States Navy in 1984 (public domain); matplotlib ships the file.

    A square of 512 x 512 pixels around hat, face and shoulders, averaged over areas down to `size` x `size`. 32 is the
    size of CIFAR-100's images, none of which may lie in this repository.

    Raises:
        ValueError: size is not 1 to 512.
    """
    if not 1 <= size <= _SIDE:
        raise ValueError(f"size must be 1 to {_SIDE} pixels, got {size}")
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        pixels = torch.from_numpy(plt.imread(file, format="jpg").copy())
    square = rearrange(pixels, "h w c -> c h w")[:, _TOP : _TOP + _SIDE, _LEFT : _LEFT + _SIDE]
    return F.adaptive_avg_pool2d(square.float(), size).round().to(torch.uint8)


def best_guesses(logits: Float[Tensor, "1 classes"], count: int = 5) -> dict[str, float]:
    """The classes of CIFAR-100 that a network finds most likely for one image, and how likely."""
    best = logits.softmax(dim=1)[0].topk(count)
    return {CIFAR100_CLASS_NAMES[label]: share.item() for label, share in zip(best.indices, best.values, strict=True)}


@torch.no_grad()
def entering(network: nn.Module, layer: nn.Module, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
    """What a layer somewhere inside a network receives when the network looks at `images`.

    Raises:
        ValueError: the network does not call the layer.
    """
    caught = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    try:
        network(images)
    finally:
        handle.remove()
    if not caught:
        raise ValueError("the network did not call this layer: it belongs to another one")
    return caught[0]
