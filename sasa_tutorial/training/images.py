"""Training images on the device: uint8 all the time, cropped, mirrored and normalised a batch at a time by one gather.

CIFAR-100 is 150 MB as uint8, so it fits beside the network, and nothing is left for worker processes to do. Which
image, which crop and which mirror image a step sees depends on (seed, epoch) alone: a resumed run sees what the
uninterrupted one saw, on any device and with any number of processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sasa_tutorial.datasets import CIFAR100_MEAN, CIFAR100_STD, LabelledImages

Batch = tuple[Float[Tensor, "b 3 h w"], Int64[Tensor, " b"]]
"""Normalised images on the device that computes, and their labels."""


class TrainingSet(Protocol):
    """What the loop trains on: `TrainingImages`, or the files of `training.folder`."""

    def __len__(self) -> int: ...

    def batches(self, epoch: int, steps: range, batch_size: int, share: slice) -> Iterator[Batch]:
        """This process's `share` of the batch of each of the `steps` of an epoch; the same whenever it is asked."""
        ...


class ScoredImages(Protocol):
    """What a network is scored on where that is not `LabelledImages`."""

    def __len__(self) -> int: ...

    def subset(self, indices: Int64[Tensor, " m"]) -> Self: ...

    def batches(self, device: torch.device, batch_size: int | None = None) -> Iterator[Batch]:
        """All of them once, in order; by default in batches of a size that suits their images."""
        ...


@dataclass(frozen=True, kw_only=True)
class RunImages:
    """The images of one run."""

    train: TrainingSet
    validation: LabelledImages | ScoredImages
    test: LabelledImages | ScoredImages
    classes: int


def normalise(
    images: Tensor, mean: Sequence[float] = CIFAR100_MEAN, std: Sequence[float] = CIFAR100_STD
) -> Float[Tensor, "b 3 h w"]:
    """From uint8, 0 to 255, to zero mean and unit standard deviation in each channel of CIFAR-100, as float32."""
    std = torch.tensor(std, device=images.device)[:, None, None]
    mean = torch.tensor(mean, device=images.device)[:, None, None]
    return images.float() * (1 / (255 * std)) - mean / std


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """What each image of an epoch goes through, in the order in which the images are seen."""

    order: Int64[Tensor, " n"]  # which image
    top: Int64[Tensor, " n"]  # first row of its crop, in the padded image
    left: Int64[Tensor, " n"]  # first column
    mirrored: Bool[Tensor, " n"]


class TrainingImages:
    """A training set on a device.

    Args:
        images: what to train on.
        device: where it lies from now on.
        padding: pixels added on each side before the crop back; 0 for none.
        padding_mode: "reflect" or "zeros" (a black border).
        flip: "random", "alternating" or "none", as in `Recipe`.
        seed: decides every epoch.
    """

    def __init__(
        self,
        images: LabelledImages,
        device: torch.device,
        *,
        padding: int = 4,
        padding_mode: str = "reflect",
        flip: str = "random",
        seed: int = 0,
    ) -> None:
        self.size = images.images.shape[-1]
        self.offsets = 2 * padding + 1
        self.flip = flip
        self.seed = seed
        # Alternating: over two epochs every image is seen from both sides (Jordan 2024, arXiv:2404.00498).
        self.mirrored_first = torch.rand(len(images), generator=torch.Generator().manual_seed(seed)) < 0.5
        self.labels = images.labels.to(device)
        mode = "constant" if padding_mode == "zeros" else padding_mode
        border = (padding, padding, padding, padding)
        # Padded once, as uint8: 1.6 times the memory, and a crop is then only a matter of where to read.
        self.padded = F.pad(images.images.to(device), border, mode=mode) if padding else images.images.to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def plan(self, epoch: int) -> EpochPlan:
        """The order, crops and mirrorings of an epoch."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        n, device = len(self), self.labels.device
        order = torch.randperm(n, generator=generator)
        top, left = torch.randint(self.offsets, (2, n), generator=generator)
        if self.flip == "alternating":
            mirrored = self.mirrored_first[order] ^ bool(epoch % 2)
        else:
            mirrored = (torch.rand(n, generator=generator) < 0.5) & (self.flip == "random")
        return EpochPlan(order=order.to(device), top=top.to(device), left=left.to(device), mirrored=mirrored.to(device))

    def batches(self, epoch: int, steps: range, batch_size: int, share: slice) -> Iterator[Batch]:
        """As `TrainingSet` says."""
        plan = self.plan(epoch)
        for step in steps:
            yield self.batch(plan, step * batch_size + share.start, step * batch_size + share.stop)

    def batch(self, plan: EpochPlan, start: int, stop: int) -> Batch:
        """Images start … stop-1 of the epoch, normalised, and their labels."""
        which = plan.order[start:stop]
        pixel = torch.arange(self.size, device=which.device)
        rows = plan.top[start:stop, None] + pixel
        across = torch.where(plan.mirrored[start:stop, None], pixel.flip(0), pixel)
        cols = plan.left[start:stop, None] + across
        channels = torch.arange(3, device=which.device)
        crops = self.padded[
            which[:, None, None, None], channels[:, None, None], rows[:, None, :, None], cols[:, None, None, :]
        ]
        return normalise(crops), self.labels[which]


def evaluation_batches(
    images: LabelledImages | ScoredImages, device: torch.device, batch_size: int | None = None
) -> Iterator[Batch]:
    """All images once, in order, unchanged but for the normalisation."""
    if not isinstance(images, LabelledImages):
        yield from images.batches(device, batch_size)
        return
    # A CPU is three times as fast when a batch's activations stay in its caches; a GPU wants to be filled.
    batch_size = batch_size or (100 if device.type == "cpu" else 1000)
    for start in range(0, len(images), batch_size):
        stop = start + batch_size
        yield normalise(images.images[start:stop].to(device)), images.labels[start:stop].to(device)
