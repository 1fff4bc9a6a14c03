"""The data: CIFAR-100, checked and split, as labelled images in memory; and folders of larger images."""

from sasa_tutorial.datasets.archive import CIFAR100_ARCHIVE, Archive, DatasetError, FileFinding
from sasa_tutorial.datasets.cifar100 import CIFAR100_MEAN, CIFAR100_STD, check_cifar100, load_cifar100
from sasa_tutorial.datasets.download import download_cifar100
from sasa_tutorial.datasets.folder import FolderImages, FolderSets, image_folder
from sasa_tutorial.datasets.images import LabelledImages
from sasa_tutorial.datasets.synthetic import synthetic_cifar100

__all__ = [
    "CIFAR100_ARCHIVE",
    "CIFAR100_MEAN",
    "CIFAR100_STD",
    "Archive",
    "DatasetError",
    "FileFinding",
    "FolderImages",
    "FolderSets",
    "LabelledImages",
    "check_cifar100",
    "download_cifar100",
    "image_folder",
    "load_cifar100",
    "synthetic_cifar100",
]
