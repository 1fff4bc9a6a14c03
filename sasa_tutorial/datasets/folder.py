"""Images in folders, as ImageNet comes: train/CLASS/*.JPEG and val/CLASS/*.JPEG; read one at a time, when needed.

The papers make their choices on 4 % of the training images (SASA, Sec. 4.1) and report val/, whose labels everybody
has, as the test set. So do the three sets here: training and validation are parts of train/, test is val/.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from sasa_tutorial.datasets.archive import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

HELD_OUT = 0.04  # of the training images of every class
LAYOUT = "PATH/train/CLASS/*.JPEG and PATH/val/CLASS/*.JPEG"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FolderImages:
    """Images in files, with one label each.

    The names are one array of bytes, because a million strings would be copied into every process that reads.
    """

    root: Path
    names: np.ndarray  # of bytes: the files, below root
    labels: Int64[Tensor, " n"]  # indices into class_names
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"FolderImages({len(self):,} images, {len(self.class_names)} classes, {self.root})"

    def path(self, index: int) -> Path:
        return self.root / os.fsdecode(self.names[index])

    def read(self, index: int) -> "Image":
        """The image, in red, green and blue whatever the file holds.

        Raises:
            DatasetError: the file cannot be read as an image; the message names it.
        """
        from torchvision.datasets.folder import pil_loader  # here: torchvision takes a second to import

        try:
            return pil_loader(self.path(index))
        except Exception as error:  # a damaged file raises whatever the part of the decoder that met the damage raises
            raise DatasetError(
                f"{self.path(index)} cannot be read as an image ({error}). Restore the file, or remove it and begin "
                "again: without it this is another set."
            ) from error

    def subset(self, indices: Int64[Tensor, " m"] | Sequence[int]) -> "FolderImages":
        """The images at these indices, in this order."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        return FolderImages(
            root=self.root, names=self.names[index.numpy()], labels=self.labels[index], class_names=self.class_names
        )


class FolderSets(NamedTuple):
    """What `image_folder` finds."""

    train: FolderImages
    validation: FolderImages
    test: FolderImages

    @property
    def fingerprint(self) -> str:
        """Of the names of all files: two folders with the same one hold the same sets, wherever they lie."""
        digest = hashlib.sha256()
        for images in self:
            digest.update(b"\n".join(images.names.tolist()) + b"\n\n")
        return digest.hexdigest()[:12]


def image_folder(root: Path) -> FolderSets:
    """The training, validation and test images in a folder; the split is the same for every seed and machine.

    Raises:
        DatasetError: the folder is not there, or not laid out like ImageNet; the message says what was expected.
    """
    for folder in (root, root / "train", root / "val"):
        if not folder.is_dir():
            raise DatasetError(f"there is no folder {folder}. Expected: {LAYOUT}.")
    # One image of a class must stay for training when one is held out.
    train, test = _scan(root / "train", least=2), _scan(root / "val", least=1)
    if different := sorted(set(train.class_names) ^ set(test.class_names)):
        where = "train" if different[0] in train.class_names else "val"
        raise DatasetError(
            f"{root / 'train'} and {root / 'val'} hold different classes: {different[0]} is only in {where} "
            f"({len(different)} differ). Expected: the same folders in both."
        )
    held_out = _held_out(train.labels)
    return FolderSets(train.subset((~held_out).nonzero()[:, 0]), train.subset(held_out.nonzero()[:, 0]), test)


def _scan(folder: Path, least: int) -> FolderImages:
    from torchvision.datasets.folder import IMG_EXTENSIONS, ImageFolder  # here: torchvision takes a second to import

    if not any(entry.is_dir() for entry in os.scandir(folder)):
        raise DatasetError(
            f"{folder} holds no classes. Expected: one folder of images for each class, {LAYOUT}. "
            "torchvision.datasets.ImageNet sorts ImageNet's own archives like that."
        )
    found = ImageFolder(folder, allow_empty=True)
    labels = torch.tensor(found.targets, dtype=torch.int64)
    for name, count in zip(found.classes, torch.bincount(labels, minlength=len(found.classes)).tolist(), strict=True):
        if count < least:
            raise DatasetError(
                f"{folder / name} holds {count} images, expected at least {least}, ending in "
                f"{', '.join(IMG_EXTENSIONS)}. Add images to the class, or remove its folder from train and val."
            )
    names = np.array([os.fsencode(os.path.relpath(path, folder)) for path, _ in found.samples])
    return FolderImages(root=folder, names=names, labels=labels, class_names=tuple(found.classes))


def _held_out(labels: Int64[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Which of the training images are the validation images: a share of every class, at least one."""
    generator = torch.Generator().manual_seed(0)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for members in torch.arange(len(labels)).split(torch.bincount(labels).tolist()):  # they come class by class
        count = max(1, round(HELD_OUT * len(members)))
        held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return held_out
