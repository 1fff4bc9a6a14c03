"""CIFAR-100: 60,000 colour images of 32 x 32 pixels in 100 classes, with a validation set of our own.

Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images; https://www.cs.toronto.edu/~kriz/cifar.html
"""

import pickle
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int64

from sasa_tutorial.datasets.archive import (
    CIFAR100_ARCHIVE,
    Archive,
    DatasetError,
    FileFinding,
    mending_command,
    resolve_root,
)
from sasa_tutorial.datasets.download import download_cifar100
from sasa_tutorial.datasets.images import LabelledImages
from sasa_tutorial.datasets.pickles import loads_arrays

Split = Literal["train", "validation", "test", "train+validation"]

# Red, green, blue, with images scaled to [0, 1]: over all pixels of the 50,000 images of "train+validation".
CIFAR100_MEAN = (0.50708, 0.48655, 0.44092)
CIFAR100_STD = (0.26733, 0.25644, 0.27615)

VALIDATION_PER_CLASS = 50
_SPLIT_SEED = 2009  # every record was made with the split this gives: never change it


def load_cifar100(
    root: Path | str | None = None,
    *,
    split: Split,
    download: bool = False,
    archive: Archive = CIFAR100_ARCHIVE,
) -> LabelledImages:
    """One split of CIFAR-100 with the 100 fine labels, on the CPU; about a second.

    "train" has 45,000 images and "validation" 5,000, 50 of each class, drawn once and for all from the 50,000 official
    training images: choices are made on validation. "test" is the official test set of 10,000, for the last number of
    a run. "train+validation" is the 50,000 in the order of the file.

    Args:
        root: the folder with `cifar-100-python/` in it; None: `$SASA_DATA`, else `data/`.
        split: which images.
        download: fetch the data first where it is missing or damaged; otherwise nothing touches the network.
        archive: where the data comes from and its hashes; tests bring a small one of their own.

    Raises:
        ValueError: an unknown split.
        DatasetError: a file is missing, damaged, unreadable or not what its hash promises, or the download failed.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(map(repr, get_args(Split)))}, got {split!r}")
    if download:
        download_cifar100(root, archive=archive)
    file = _unpickle(archive, root, "test" if split == "test" else "train")
    meta = _unpickle(archive, root, "meta")
    every = LabelledImages(
        # A row is the red plane, then the green, then the blue, each row by row.
        images=rearrange(torch.from_numpy(file[b"data"]), "n (c h w) -> n c h w", c=3, h=32, w=32),
        labels=torch.tensor(file[b"fine_labels"], dtype=torch.int64),
        class_names=tuple(name.decode("ascii") for name in meta[b"fine_label_names"]),
    )
    if split in ("test", "train+validation"):
        return every
    held_out = np.zeros(len(every), dtype=bool)
    held_out[_validation_indices(every.labels.numpy(), len(every.class_names))] = True
    return every.subset(torch.from_numpy(held_out if split == "validation" else ~held_out))


def check_cifar100(root: Path | str | None = None, *, archive: Archive = CIFAR100_ARCHIVE) -> list[FileFinding]:
    """What is right and wrong with the files on the disk: one finding each for train, test and meta."""
    return archive.check(root)


def _unpickle(archive: Archive, root: Path | str | None, name: str) -> dict[bytes, Any]:
    content = archive.read(root, name)
    try:
        return loads_arrays(content)
    except pickle.UnpicklingError as error:
        path = resolve_root(root) / archive.folder / name
        raise DatasetError(
            f"{path} has the expected SHA-256 but was not opened: {error}. The hash in the code is not that of "
            f"CIFAR-100; restore the code, then run `{mending_command(root)}`."
        ) from error


def _validation_indices(labels: Int64[np.ndarray, " n"], classes: int) -> Int64[np.ndarray, " m"]:
    """The same 50 positions of every class, on every machine and with every version of the libraries.

    RandomState, not the newer generators: NumPy has frozen its streams for good, while `np.random.Generator` and
    `torch.randperm` may give other numbers in another release, and with them another validation set.
    """
    generator = np.random.RandomState(_SPLIT_SEED)
    held_out = []
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        held_out.append(members[generator.permutation(len(members))[:VALIDATION_PER_CLASS]])
    return np.concatenate(held_out)
