"""The data: CIFAR-100, CIFAR-10, a synthetic twin and folders of larger images; checked, split and fed to a network."""

from sasa_tutorial.datasets.archive import Archive, DatasetError, FileFinding
from sasa_tutorial.datasets.augmentation import EpochPlan, TrainingImages
from sasa_tutorial.datasets.cifar import (
    CIFAR10_ARCHIVE,
    CIFAR100_ARCHIVE,
    check_cifar100,
    download_cifar100,
    load_cifar10,
    load_cifar100,
)
from sasa_tutorial.datasets.folder import FolderImages, FolderSets, image_folder
from sasa_tutorial.datasets.images import (
    CIFAR100_MEAN,
    CIFAR100_STD,
    ImageSet,
    LabelledImages,
    TrainingSet,
    normalise,
    stratified_subset,
)
from sasa_tutorial.datasets.sources import CIFAR10, CIFAR100, SOURCES, SYNTHETIC, RunImages, Source
from sasa_tutorial.datasets.synthetic import synthetic_cifar100

__all__ = [
    "CIFAR10",
    "CIFAR10_ARCHIVE",
    "CIFAR100",
    "CIFAR100_ARCHIVE",
    "CIFAR100_MEAN",
    "CIFAR100_STD",
    "SOURCES",
    "SYNTHETIC",
    "Archive",
    "DatasetError",
    "EpochPlan",
    "FileFinding",
    "FolderImages",
    "FolderSets",
    "ImageSet",
    "LabelledImages",
    "RunImages",
    "Source",
    "TrainingImages",
    "TrainingSet",
    "check_cifar100",
    "download_cifar100",
    "image_folder",
    "load_cifar10",
    "load_cifar100",
    "normalise",
    "stratified_subset",
    "synthetic_cifar100",
]
