"""Labelled images as plain tensors, in memory, eight bits a value; and what a network is trained and scored on."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

# Red, green, blue, with images scaled to [0, 1]: over all pixels of CIFAR-100's 50,000 training images.
CIFAR100_MEAN = (0.50708, 0.48655, 0.44092)
CIFAR100_STD = (0.26733, 0.25644, 0.27615)

Batch = tuple[Float[Tensor, "b 3 h w"], Int64[Tensor, " b"]]
"""Normalised images on the device that computes, and their labels."""


class ImageSet(Protocol):
    """What a network is scored on: `LabelledImages`, or files."""

    def __len__(self) -> int: ...

    def subset(self, indices: Int64[Tensor, " m"]) -> Self: ...

    def batches(self, device: torch.device, batch_size: int | None = None) -> Iterator[Batch]:
        """All of them once, in order; by default in batches of a size that suits images and device."""
        ...


class TrainingSet(Protocol):
    """What a network is trained on: `TrainingImages`, or files."""

    def __len__(self) -> int: ...

    def batches(self, epoch: int, steps: range, batch_size: int, share: slice) -> Iterator[Batch]:
        """This process's `share` of the batch of each of the `steps` of an epoch; the same whenever it is asked."""
        ...


def normalise(
    images: Tensor, mean: Sequence[float] = CIFAR100_MEAN, std: Sequence[float] = CIFAR100_STD
) -> Float[Tensor, "b 3 h w"]:
    """From uint8, 0 to 255, to zero mean and unit standard deviation in each channel of the data set, as float32."""
    factor, shift = _affine(tuple(mean), tuple(std), images.device)
    return images.float() * factor - shift


@functools.cache
def _affine(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """What `normalise` multiplies by and subtracts. Kept: bringing numbers to a GPU would make every step wait."""
    deviation = torch.tensor(std, device=device)[:, None, None]
    return 1 / (255 * deviation), torch.tensor(mean, device=device)[:, None, None] / deviation


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LabelledImages:
    """Images with one label each.

    Kept as uint8 because 50,000 images then take 154 MB, so that the whole set fits on a GPU and no worker process is
    needed to feed it; whoever trains scales to [0, 1] and normalises one batch at a time.

    Raises:
        ValueError: a dtype, shape, device or label that does not fit; the message names it.
    """

    images: UInt8[Tensor, "n 3 32 32"]  # channels red, green, blue; 0 to 255
    labels: Int64[Tensor, " n"]  # indices into class_names
    class_names: tuple[str, ...]
    mean: tuple[float, ...] = CIFAR100_MEAN  # of the set they are from, with which they are normalised
    std: tuple[float, ...] = CIFAR100_STD

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8 from 0 to 255, got {self.images.dtype}")
        if self.images.dim() != 4 or self.images.shape[1:] != (3, 32, 32):
            raise ValueError(f"images must have shape (n, 3, 32, 32), got {tuple(self.images.shape)}")
        if self.labels.dtype != torch.int64:
            raise ValueError(f"labels must be int64, got {self.labels.dtype}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must have shape ({len(self.images)},), one for each image, got {tuple(self.labels.shape)}"
            )
        if self.labels.device != self.images.device:
            raise ValueError(f"labels are on {self.labels.device}, images on {self.images.device}; both must be on one")
        _check_range("labels", self.labels, len(self.class_names))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"LabelledImages({len(self):,} images, {len(self.class_names)} classes, {self.images.device})"

    def subset(self, indices: Int64[Tensor, " m"] | Bool[Tensor, " n"] | Sequence[int]) -> "LabelledImages":
        """The images at these indices, in this order, or where a mask of n booleans is True; a copy, not a view.

        Raises:
            ValueError: not one axis of whole numbers, or an index outside 0 to n - 1.
        """
        index = torch.as_tensor(indices, device=self.images.device)
        if index.dtype == torch.bool:
            if index.shape != self.labels.shape:
                raise ValueError(f"a mask must have shape ({len(self)},), got {tuple(index.shape)}")
            index = index.nonzero().squeeze(1)
        if not index.numel():
            index = index.long()  # an empty list becomes a float tensor
        if index.dim() != 1 or index.is_floating_point() or index.is_complex():
            raise ValueError(f"indices must be one axis of integers, got shape {tuple(index.shape)} of {index.dtype}")
        # Checked here because an index out of range on a GPU does not raise: it makes the device unusable.
        _check_range("indices", index, len(self))
        index = index.long()
        return replace(self, images=self.images[index], labels=self.labels[index])

    def to(self, device: torch.device | str) -> "LabelledImages":
        """The same images on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def batches(self, device: torch.device, batch_size: int | None = None) -> Iterator[Batch]:
        """All images once, in order, unchanged but for the normalisation."""
        # A CPU is three times as fast when a batch's activations stay in its caches; a GPU wants to be filled.
        batch_size = batch_size or (100 if device.type == "cpu" else 1000)
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield normalise(self.images[part].to(device), self.mean, self.std), self.labels[part].to(device)


def stratified_subset(images: LabelledImages, size: int | None) -> LabelledImages:
    """The first `size` images that hold every class equally often; all of them for None.

    Raises:
        ValueError: size is not a multiple of the number of classes, or larger than the set allows.
    """
    if size is None or size == len(images):
        return images
    classes = len(images.class_names)
    each, rest = divmod(size, classes)
    counts = torch.bincount(images.labels, minlength=classes)
    if size <= 0 or rest or each > int(counts.min()):
        raise ValueError(
            f"a subset holds each of the {classes} classes equally often, at most {int(counts.min())} times; "
            f"got size {size}"
        )
    kept = torch.cat([(images.labels == label).nonzero()[:each, 0] for label in range(classes)])
    return images.subset(kept.sort().values)


def _check_range(what: str, values: Tensor, count: int) -> None:
    if not len(values):
        return
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= count:
        raise ValueError(f"{what} must lie in 0 to {count - 1}, got {low} to {high}")
