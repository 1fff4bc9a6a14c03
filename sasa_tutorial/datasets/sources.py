"""What a data set is to whoever trains on it: how it is loaded and fed, its classes, and what records call it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch

from sasa_tutorial.datasets.augmentation import TrainingImages
from sasa_tutorial.datasets.cifar import load_cifar10, load_cifar100
from sasa_tutorial.datasets.decoding import FolderScoredImages, FolderTrainingImages
from sasa_tutorial.datasets.folder import FolderSets, image_folder
from sasa_tutorial.datasets.images import ImageSet, LabelledImages, TrainingSet, stratified_subset
from sasa_tutorial.datasets.synthetic import synthetic_cifar100

Sizes = Mapping[str, int | None]
"""How many images of "train", "validation" and "test"; None for all there are."""


@dataclass(frozen=True, kw_only=True)
class RunImages:
    """The images of one run."""

    train: TrainingSet
    validation: ImageSet
    test: ImageSet


class Source(Protocol):
    """A data set."""

    name: str  # in records: cifar100
    title: str  # in messages: CIFAR-100
    image_size: int  # pixels that a network sees, both sides
    recorded: bool  # whether planned runs on it are evidence, kept with the checkout

    @property
    def classes(self) -> int: ...

    def settings(self, sizes: Sizes) -> dict[str, Any]:
        """What decides which images a run sees, besides seed and recipe, as a record keeps it."""
        ...

    def run_images(
        self, sizes: Sizes, device: torch.device, *, seed: int, padding: int, padding_mode: str, flip: str
    ) -> RunImages:
        """What a run trains on and is scored on; what is used in every epoch lies on the device if it can.

        Raises:
            DatasetError: the images are not there or damaged; the message says how to get them.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class SmallImages:
    """A source of images that fit into memory.

    Args:
        read: (split, how many, may it be downloaded) -> a fixed subset, the same for every seed and every mechanism.
    """

    name: str
    title: str
    classes: int
    read: Callable[[str, int | None, bool], LabelledImages]
    recorded: bool = False
    image_size: int = 32

    def settings(self, sizes: Sizes) -> dict[str, Any]:
        return {f"{split}_images": size for split, size in sizes.items()}

    def load(self, sizes: Sizes, *, download: bool = False) -> tuple[LabelledImages, ...]:
        """The training, validation and test images.

        Raises:
            DatasetError: they are not there or damaged; the message says how to get them.
        """
        return tuple(self.read(split, size, download) for split, size in sizes.items())

    def run_images(self, sizes: Sizes, device: torch.device, **augmentation: Any) -> RunImages:
        train, validation, test = self.load(sizes)
        return RunImages(
            train=TrainingImages(train, device, **augmentation), validation=validation.to(device), test=test
        )


@dataclass(frozen=True, kw_only=True)
class ImagesInFolder:
    """A source of files, laid out like ImageNet."""

    sets: FolderSets
    image_size: int = 224
    least_area: float = 0.08  # of an image, in a training crop
    workers: int = 0  # that decode, for each process; decides no numbers
    name = "folder"
    recorded = False

    @property
    def title(self) -> str:
        return str(self.sets.train.root.parent)

    @property
    def classes(self) -> int:
        return len(self.sets.train.class_names)

    @property
    def sizes(self) -> Sizes:
        """How many images there are."""
        return {split: len(images) for split, images in self.sets._asdict().items()}

    @property
    def resize(self) -> int:
        """Pixels of the shorter side before the middle is cut out for scoring: 256 for 224."""
        return round(self.image_size * 256 / 224)

    def settings(self, sizes: Sizes) -> dict[str, Any]:
        return {
            "classes": self.classes,
            **{f"{split}_images": size for split, size in sizes.items()},
            "files": self.sets.fingerprint,
            "resize": self.resize,
            "least_area": self.least_area,
        }

    def run_images(
        self, sizes: Sizes, device: torch.device, *, seed: int, flip: str, **_without_padding: Any
    ) -> RunImages:
        train = FolderTrainingImages(
            images=self.sets.train,
            device=device,
            size=self.image_size,
            least_area=self.least_area,
            flip=flip,
            seed=seed,
            workers=self.workers,
        )
        scored = {"size": self.image_size, "resize": self.resize, "workers": self.workers}
        return RunImages(
            train=train,
            validation=FolderScoredImages(images=self.sets.validation, **scored),
            test=FolderScoredImages(images=self.sets.test, **scored),
        )


def folder_source(root: Path, **settings: Any) -> ImagesInFolder:
    """The source of a folder, which is read through once for the names of its files; settings as above.

    Raises:
        DatasetError: the folder is not laid out like ImageNet.
    """
    return ImagesInFolder(sets=image_folder(root), **settings)


SYNTHETIC = SmallImages(
    name="synthetic",
    title="synthetic",
    classes=100,
    read=lambda split, size, _download: synthetic_cifar100(size or 10_000, split=split),
)
CIFAR100 = SmallImages(
    name="cifar100",
    title="CIFAR-100",
    classes=100,
    recorded=True,
    read=lambda split, size, download: stratified_subset(load_cifar100(split=split, download=download), size),
)
CIFAR10 = SmallImages(
    name="cifar10",
    title="CIFAR-10",
    classes=10,
    read=lambda split, size, download: stratified_subset(load_cifar10(split=split, download=download), size),
)
SOURCES = MappingProxyType({source.name: source for source in (SYNTHETIC, CIFAR100, CIFAR10)})
