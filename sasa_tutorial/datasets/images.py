"""Labelled images as plain tensors: the whole set in memory, eight bits a value, on whichever device trains."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor


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
        return LabelledImages(images=self.images[index], labels=self.labels[index], class_names=self.class_names)

    def to(self, device: torch.device | str) -> "LabelledImages":
        """The same images on another device."""
        return LabelledImages(
            images=self.images.to(device), labels=self.labels.to(device), class_names=self.class_names
        )


def _check_range(what: str, values: Tensor, count: int) -> None:
    if not len(values):
        return
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= count:
        raise ValueError(f"{what} must lie in 0 to {count - 1}, got {low} to {high}")
