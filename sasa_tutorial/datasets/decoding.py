"""Images from files: decoded, cropped and mirrored by worker processes, normalised on the device.

A crop depends on (seed, epoch, image) alone, and the order of the images on (seed, epoch): a resumed run sees what the
uninterrupted one saw, with any number of workers, and with any number of processes, each of which decodes only its own
share.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from sasa_tutorial.datasets.archive import DatasetError
from sasa_tutorial.datasets.folder import FolderImages
from sasa_tutorial.datasets.images import Batch, normalise
from sasa_tutorial.devices import on_gpu

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SCORED_AT_ONCE = 100  # images of 224x224: as many pixels as 4900 of CIFAR-100


@dataclass(frozen=True, kw_only=True)
class FolderTrainingImages:
    """A training set in files.

    Args:
        images: which files.
        device: where the batches go.
        size: of the crops, in pixels.
        least_area: of an image that a crop shows; a crop is a random rectangle, stretched to a square.
        flip: "random" (half of the images are mirrored) or "none".
        seed: decides every epoch.
        workers: processes that decode; 0 for none but this one.
    """

    images: FolderImages
    device: torch.device
    size: int = 224
    least_area: float = 0.08
    flip: str = "random"
    seed: int = 0
    workers: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def order(self, epoch: int) -> Int64[Tensor, " n"]:
        """In which order an epoch sees the images."""
        generator = torch.Generator().manual_seed(_seed(self.seed, epoch))
        return torch.randperm(len(self), generator=generator)

    def batches(self, epoch: int, steps: range, batch_size: int, share: slice) -> Iterator[Batch]:
        """As `TrainingSet` says.

        Raises:
            DatasetError: a file cannot be read.
        """
        order = self.order(epoch)
        mine = [order[batch_size * step :][share].tolist() for step in steps]
        from torchvision.transforms import v2  # here: torchvision takes a second to import

        crop = v2.Compose(
            [
                v2.RandomResizedCrop(self.size, scale=(self.least_area, 1.0), antialias=True),
                v2.RandomHorizontalFlip(0.5 if self.flip == "random" else 0.0),
                v2.PILToTensor(),
            ]
        )
        return _decoded(_Prepared(self.images, crop, (self.seed, epoch)), mine, self.device, self.workers)


@dataclass(frozen=True, kw_only=True)
class FolderScoredImages:
    """A validation or test set in files: the shorter side to `resize` pixels, and of that the middle square."""

    images: FolderImages
    size: int = 224
    resize: int = 256
    workers: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Int64[Tensor, " m"]) -> "FolderScoredImages":
        """The images at these indices, in this order."""
        images = self.images.subset(indices)
        return FolderScoredImages(images=images, size=self.size, resize=self.resize, workers=self.workers)

    def batches(self, device: torch.device, batch_size: int | None = None) -> Iterator[Batch]:
        """As `ImageSet` says.

        Raises:
            DatasetError: a file cannot be read.
        """
        from torchvision.transforms import v2  # here: torchvision takes a second to import

        starts, n = range(0, len(self), batch_size or SCORED_AT_ONCE), len(self)
        every = [range(start, min(start + starts.step, n)) for start in starts]
        middle = v2.Compose([v2.Resize(self.resize, antialias=True), v2.CenterCrop(self.size), v2.PILToTensor()])
        return _decoded(_Prepared(self.images, middle), every, device, self.workers)


@dataclass(frozen=True)
class _Prepared(Dataset):
    """Images of one size, by their index; one that cannot be read is the error that says so."""

    images: FolderImages
    transform: Callable[[Any], Tensor]
    seed: tuple[int, ...] = ()

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 h w"], int] | DatasetError:
        try:
            image = self.images.read(index)
        except DatasetError as error:
            return error  # raised in a worker, its message would be a traceback
        with torch.random.fork_rng(devices=()):  # torchvision draws from the global generator, and so does the network
            torch.default_generator.manual_seed(_seed(*self.seed, index))
            return self.transform(image), int(self.images.labels[index])


def _decoded(
    images: _Prepared, batches: Sequence[Sequence[int]], device: torch.device, workers: int
) -> Iterator[Batch]:
    loader = DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_together,
        pin_memory=on_gpu(device),
        worker_init_fn=_leave_stopping_to_the_run,
        generator=torch.Generator(),  # its own: a loader draws a number, and a resumed run makes one loader more
    )
    for batch in loader:
        if isinstance(batch, DatasetError):
            raise batch
        pixels, labels = (part.to(device, non_blocking=True) for part in batch)
        yield normalise(pixels, IMAGENET_MEAN, IMAGENET_STD), labels


def _together(samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, DatasetError)), None) or default_collate(samples)


def _leave_stopping_to_the_run(_worker: int) -> None:
    """Ctrl-C and torchrun's kill reach every process of the group; the run still needs images to end its step.

    A group of its own rather than ignored signals, because the run ends its workers by a signal, too.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def _seed(*parts: int) -> int:
    # Hashed, because neighbouring seeds must not give related crops.
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])
