"""Photographs that every installation has, what a network takes them for, and what reaches a layer inside."""

from pathlib import Path
from typing import BinaryIO

import matplotlib.cbook
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sasa_tutorial.datasets.class_names import CIFAR100_CLASS_NAMES

_OWN = Path(__file__).with_name("photographs")
_HOPPER = (0, 0, 512)  # top, left and side of the square around hat, face and shoulders, in pixels of the file
SUBJECTS = ("hopper", "rocket", "coffee_cup")


def photograph(size: int = 32, subject: str = "hopper") -> UInt8[Tensor, "3 size size"]:
    """A photograph, cut to a square and averaged over areas down to `size` x `size`.

    32 is the size of CIFAR-100's images, none of which may lie in this repository. All are free of rights:

    - `hopper`: Grace Hopper, by the United States Navy, 1984 (public domain), up to 512 pixels; matplotlib ships it.
      CIFAR-100 has the class "woman".
    - `rocket`: a Falcon 9 with DSCOVR before its launch, by SpaceX, 2015 (public domain), up to 384 pixels; a class.
    - `coffee_cup`: by Rachel Michetti, at Pikolo Espresso Bar (CC0), up to 384 pixels; "cup" is a class.

    Raises:
        ValueError: another subject, or a size that is not 1 to the side of the photograph.
    """
    if subject not in SUBJECTS:
        raise ValueError(f"subject must be one of {', '.join(SUBJECTS)}, got {subject!r}")
    with _file(subject) as file:
        pixels = torch.from_numpy(plt.imread(file, format="jpg").copy())
    square = rearrange(pixels, "h w c -> c h w")
    if subject == "hopper":
        top, left, side = _HOPPER
        square = square[:, top : top + side, left : left + side]
    if not 1 <= size <= square.shape[1]:
        raise ValueError(f"size must be 1 to {square.shape[1]} pixels, got {size}")
    return F.adaptive_avg_pool2d(square.float(), size).round().to(torch.uint8)


def _file(subject: str) -> BinaryIO:
    if subject == "hopper":
        return matplotlib.cbook.get_sample_data("grace_hopper.jpg")
    return (_OWN / f"{subject}.jpg").open("rb")


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
