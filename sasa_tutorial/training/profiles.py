"""The five profiles: how much of which data, how large a network, how long."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sasa_tutorial.datasets import LabelledImages, load_cifar100, synthetic_cifar100
from sasa_tutorial.devices import gpu_available
from sasa_tutorial.models import cifar_models, wide_resnet
from sasa_tutorial.training.images import RunImages, TrainingImages
from sasa_tutorial.training.recipe import Recipe


def _wide_resnet(*, num_classes: int, augmented: bool = False, **_: float) -> nn.Module:
    """Wide-ResNet-28-10 has its own size, whatever the profile's."""
    return wide_resnet(28, 10, augmented=augmented, num_classes=num_classes)


_NETWORKS = {**cifar_models(), "wide_resnet": _wide_resnet}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A budget for reading and training. Image counts of None mean all there are."""

    name: str
    dataset: str  # "synthetic" or "cifar100"
    train_images: int | None
    validation_images: int | None
    test_images: int | None
    depth: int  # of the ResNet
    width: float  # factor on its channels
    threads: int | None = None  # CPU threads at most; None for all there are
    recipe: Recipe

    image_size = 32  # pixels, both sides

    @property
    def networks(self) -> Mapping[str, Callable[..., nn.Module]]:
        """What can be trained under it, by name."""
        return _NETWORKS

    @property
    def network_settings(self) -> dict[str, Any]:
        """What every builder of a network is called with."""
        return {"depth": self.depth, "width": self.width}

    @property
    def image_settings(self) -> dict[str, Any]:
        """What decides which images a run sees, besides seed and recipe."""
        return {
            "train_images": self.train_images,
            "validation_images": self.validation_images,
            "test_images": self.test_images,
        }

    @property
    def usual(self) -> "Profile":
        """The one of that name as it stands below."""
        return PROFILES[self.name]

    @property
    def data_name(self) -> str:
        return "CIFAR-100" if self.dataset == "cifar100" else "synthetic"

    def mechanism(self, model: str) -> str:
        """The lesson that a network belongs to."""
        return model

    def images(self, seed: int, device: torch.device) -> RunImages:
        """What a run trains on and is scored on; what is used in every epoch lies on the device.

        Raises:
            DatasetError: CIFAR-100 is not there or damaged; the message says how to get it.
        """
        train, validation, test = self.load()
        recipe = self.recipe
        augmented = TrainingImages(
            train, device, padding=recipe.padding, padding_mode=recipe.padding_mode, flip=recipe.flip, seed=seed
        )
        return RunImages(train=augmented, validation=validation.to(device), test=test, classes=len(train.class_names))

    def load(self, *, download: bool = False) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
        """The training, validation and test images: a fixed subset, the same for every seed and every mechanism.

        Raises:
            DatasetError: CIFAR-100 is not there or damaged; the message says how to get it.
        """
        sizes = {"train": self.train_images, "validation": self.validation_images, "test": self.test_images}
        if self.dataset == "synthetic":
            return tuple(synthetic_cifar100(size or 10_000, split=split) for split, size in sizes.items())
        return tuple(
            stratified_subset(load_cifar100(split=split, download=download), size) for split, size in sizes.items()
        )


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


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            dataset="synthetic",
            train_images=3200,
            validation_images=1000,
            test_images=1000,
            depth=14,
            width=0.125,
            # Layers this small gain a tenth from a second core, and lose nine tenths where that core is busy with
            # something else, because every one of them waits for both.
            threads=1,
            recipe=Recipe(epochs=3, batch_size=32, peak_lr=0.1, warmup=0.15),
        ),
        Profile(
            name="laptop",
            dataset="cifar100",
            train_images=14_000,
            validation_images=2000,
            test_images=2000,
            depth=26,
            width=0.25,
            # Three passes are too few to overfit: what slows learning down to prevent that is left out.
            recipe=Recipe(epochs=3, batch_size=32, peak_lr=0.1, warmup=0.1, label_smoothing=0.0, padding=0),
        ),
        Profile(
            name="evening",
            dataset="cifar100",
            train_images=None,
            validation_images=None,
            test_images=None,
            depth=26,
            width=0.25,
            recipe=Recipe(epochs=8, batch_size=64, peak_lr=0.1, label_smoothing=0.0, ema_decay=0.99, bfloat16=True),
        ),
        Profile(
            name="gpu",
            dataset="cifar100",
            train_images=None,
            validation_images=None,
            test_images=None,
            depth=26,
            width=0.5,
            # The recipe of full with a shorter schedule; the rate goes with the batch.
            recipe=Recipe(epochs=12, batch_size=256, peak_lr=0.2, ema_decay=0.99),
        ),
        Profile(
            name="full",
            dataset="cifar100",
            train_images=None,
            validation_images=None,
            test_images=None,
            depth=26,
            width=1.0,
            recipe=Recipe(epochs=40, batch_size=512, peak_lr=0.4, ema_decay=0.99),
        ),
    )
}


def resolve_profile(name: str = "auto") -> Profile:
    """The profile of that name; "auto" is `$SASA_PROFILE`, else gpu where there is a CUDA device, else smoke.

    Raises:
        ValueError: no profile has the name.
    """
    source = ""
    if name == "auto":
        if os.environ.get("SASA_PROFILE", "auto") != "auto":
            name, source = os.environ["SASA_PROFILE"], " (from the variable SASA_PROFILE)"
        else:
            name = "gpu" if gpu_available() else "smoke"
    if name not in PROFILES:
        raise ValueError(f"profile must be auto, {', '.join(PROFILES)}, got {name!r}{source}")
    return PROFILES[name]
