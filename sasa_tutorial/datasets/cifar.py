"""CIFAR-100 and CIFAR-10: 60,000 colour images of 32 x 32 pixels each, with a validation set of our own.

The files are pickles, and a pickle can run any code; so one is opened only when its hash is the pinned one. That is the
only guard, because it is enough: those bytes are known, and whoever can change the pin can change this code as well.

Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images; https://www.cs.toronto.edu/~kriz/cifar.html
"""

import pickle
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int64

from sasa_tutorial.datasets.archive import Archive, FileFinding
from sasa_tutorial.datasets.download import download as fetch
from sasa_tutorial.datasets.images import LabelledImages

Split = Literal["train", "validation", "test", "train+validation"]

# As CIFAR-100's are, of CIFAR-10's 50,000 training images.
CIFAR10_MEAN = (0.49140, 0.48216, 0.44653)
CIFAR10_STD = (0.24703, 0.24349, 0.26159)

HELD_OUT = {"cifar100": 50, "cifar10": 500}  # validation images of each class
_SPLIT_SEED = 2009  # every record was made with the split this gives: never change it

# Published in Paddle's sources (python/paddle/vision/datasets/cifar.py) with the MD5 sums of the official archives. The
# official server gave 70 to 85 kB/s in 2026: github.com/pytorch/vision/issues/9536.
_MIRROR = "https://dataset.bj.bcebos.com/cifar/"

CIFAR100_ARCHIVE = Archive(
    name="cifar100",
    title="CIFAR-100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    mirrors=(_MIRROR + "cifar-100-python.tar.gz",),
    hash="md5:eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    files=MappingProxyType(
        {
            "train": "sha256:735e79b04f092ca3d2e6d07f368c0a7d70d48c48d28865950cc24454cf45129b",
            "test": "sha256:4b67687d9933c4db8f0831104447f15b93774f4f464bd0516f0f0f2ac83b7864",
            "meta": "sha256:a5d4786345c961390f865e93b434dbd5c6904ce880667e0cb888c97d449f28b9",
        }
    ),
)
CIFAR10_ARCHIVE = Archive(
    name="cifar10",
    title="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    mirrors=(_MIRROR + "cifar-10-python.tar.gz",),
    hash="md5:c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    files=MappingProxyType(
        {
            # As torchvision has them; its authors publish no SHA-256, and nobody can make another file of a given MD5.
            "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
            "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
            "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "md5:40351d587109b95175f43aff81a1287e",
            "batches.meta": "md5:5ff9c542aee3614f3951f8cda6e48888",
        }
    ),
)
ARCHIVES = MappingProxyType({archive.name: archive for archive in (CIFAR100_ARCHIVE, CIFAR10_ARCHIVE)})


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
        DatasetError: a file is missing, damaged or unreadable, or the download failed.
    """
    _prepare(archive, root, split, download)
    file = _opened(archive, root, "test" if split == "test" else "train")
    names = _opened(archive, root, "meta")[b"fine_label_names"]
    return _split(_images(file[b"data"], file[b"fine_labels"], names), split, HELD_OUT["cifar100"])


def load_cifar10(
    root: Path | str | None = None,
    *,
    split: Split,
    download: bool = False,
    archive: Archive = CIFAR10_ARCHIVE,
) -> LabelledImages:
    """One split of CIFAR-10, as `load_cifar100` says: of its 10 classes 500 training images each are held out.

    Raises:
        ValueError: an unknown split.
        DatasetError: a file is missing, damaged or unreadable, or the download failed.
    """
    _prepare(archive, root, split, download)
    wanted = [name for name in archive.files if name.startswith("test_" if split == "test" else "data_batch_")]
    files = [_opened(archive, root, name) for name in wanted]
    pixels = np.concatenate([file[b"data"] for file in files])
    labels = [label for file in files for label in file[b"labels"]]
    names = _opened(archive, root, "batches.meta")[b"label_names"]
    return _split(_images(pixels, labels, names, mean=CIFAR10_MEAN, std=CIFAR10_STD), split, HELD_OUT["cifar10"])


def download_cifar100(root: Path | str | None = None, *, archive: Archive = CIFAR100_ARCHIVE, **settings: Any) -> Path:
    """Put CIFAR-100 (169 MB to fetch, 186 MB unpacked) into `root`; `mirrors` and `progress` as in `download`.

    Raises:
        DatasetError: no address gave the right archive, or the disk did not take it.
    """
    return fetch(archive, root, **settings)


def check_cifar100(root: Path | str | None = None, *, archive: Archive = CIFAR100_ARCHIVE) -> list[FileFinding]:
    """What is right and wrong with the files on the disk: one finding each for train, test and meta."""
    return archive.check(root)


def _prepare(archive: Archive, root: Path | str | None, split: str, download: bool) -> None:
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(map(repr, get_args(Split)))}, got {split!r}")
    if download:
        fetch(archive, root)


def _opened(archive: Archive, root: Path | str | None, name: str) -> dict[bytes, Any]:
    """A file's content; strings of Python 2 come as bytes."""
    return pickle.loads(archive.read(root, name), encoding="bytes")


def _images(
    pixels: np.ndarray, labels: list[int], names: list[bytes], **statistics: tuple[float, ...]
) -> LabelledImages:
    return LabelledImages(
        # A row is the red plane, then the green, then the blue, each row by row.
        images=rearrange(torch.from_numpy(pixels), "n (c h w) -> n c h w", c=3, h=32, w=32),
        labels=torch.tensor(labels, dtype=torch.int64),
        class_names=tuple(name.decode("ascii") for name in names),
        **statistics,
    )


def _split(every: LabelledImages, split: str, each: int) -> LabelledImages:
    if split in ("test", "train+validation"):
        return every
    held_out = np.zeros(len(every), dtype=bool)
    held_out[_validation_indices(every.labels.numpy(), len(every.class_names), each)] = True
    return every.subset(torch.from_numpy(held_out if split == "validation" else ~held_out))


def _validation_indices(labels: Int64[np.ndarray, " n"], classes: int, each: int) -> Int64[np.ndarray, " m"]:
    """The same `each` positions of every class, on every machine and with every version of the libraries.

    RandomState, not the newer generators: NumPy has frozen its streams for good, while `np.random.Generator` and
    `torch.randperm` may give other numbers in another release, and with them another validation set.
    """
    generator = np.random.RandomState(_SPLIT_SEED)
    held_out = []
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        held_out.append(members[generator.permutation(len(members))[:each]])
    return np.concatenate(held_out)
