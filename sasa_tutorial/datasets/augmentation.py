"""Training images on the device: uint8 all the time, cropped, mirrored and normalised a batch at a time by one gather.

CIFAR-100 is 150 MB as uint8, so it fits beside the network, and nothing is left for worker processes to do. Which
image, which crop and which mirror image a step sees depends on (seed, epoch) alone: a resumed run sees what the
uninterrupted one saw, on any device and with any number of processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64
from torch import Tensor

from sasa_tutorial.datasets.images import Batch, LabelledImages, normalise


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
        self.mean, self.std = images.mean, images.std
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
        return normalise(crops, self.mean, self.std), self.labels[which]
