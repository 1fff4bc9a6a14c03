"""The profiles: how much of which data, how large a network, how long."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sasa_tutorial.datasets import CIFAR100, SYNTHETIC, LabelledImages, RunImages, Source
from sasa_tutorial.devices import gpu_available
from sasa_tutorial.models import cifar_models, wide_resnet
from sasa_tutorial.training.recipe import Recipe

Builder = Callable[..., nn.Module]


def _wide_resnet(*, num_classes: int, augmented: bool = False, **_: float) -> nn.Module:
    """Wide-ResNet-28-10 has its own size, whatever the profile's."""
    return wide_resnet(28, 10, augmented=augmented, num_classes=num_classes)


_NETWORKS: Mapping[str, Builder] = {**cifar_models(), "wide_resnet": _wide_resnet}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A budget for reading and training. Image counts of None mean all there are."""

    name: str
    source: Source
    train_images: int | None = None
    validation_images: int | None = None
    test_images: int | None = None
    depth: int | None = None  # of the ResNet; None where the name of a network says its size
    width: float | None = None  # factor on its channels
    threads: int | None = None  # CPU threads at most; None for all there are
    recipe: Recipe
    networks: Mapping[str, Builder] = field(
        default_factory=lambda: _NETWORKS, repr=False
    )  # that can be trained, by name
    usual: "Profile | None" = field(default=None, repr=False)  # what a plan is told apart from; None: the one below

    @property
    def dataset(self) -> str:
        """The name of the source, as records have it."""
        return self.source.name

    @property
    def sizes(self) -> dict[str, int | None]:
        """How many images of each split."""
        return {"train": self.train_images, "validation": self.validation_images, "test": self.test_images}

    @property
    def network_settings(self) -> dict[str, Any]:
        """What every builder of a network is called with."""
        if self.depth is None:
            return {"image_size": self.source.image_size}
        return {"depth": self.depth, "width": self.width}

    @property
    def image_settings(self) -> dict[str, Any]:
        """What decides which images a run sees, besides seed and recipe."""
        return self.source.settings(self.sizes)

    def images(self, seed: int, device: torch.device) -> RunImages:
        """What a run trains on and is scored on.

        Raises:
            DatasetError: the images are not there or damaged; the message says how to get them.
        """
        recipe = self.recipe
        augmentation = {"padding": recipe.padding, "padding_mode": recipe.padding_mode, "flip": recipe.flip}
        return self.source.run_images(self.sizes, device, seed=seed, **augmentation)

    def load(self, *, download: bool = False) -> tuple[LabelledImages, ...]:
        """The training, validation and test images of a source that fits into memory.

        Raises:
            DatasetError: they are not there or damaged; the message says how to get them.
        """
        return self.source.load(self.sizes, download=download)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            source=SYNTHETIC,
            train_images=1600,
            validation_images=500,
            test_images=500,
            depth=14,
            width=0.125,
            # Layers this small gain a tenth from a second core, and lose nine tenths where that core is busy with
            # something else, because every one of them waits for both.
            threads=1,
            recipe=Recipe(epochs=3, batch_size=32, peak_lr=0.1, warmup=0.15),
        ),
        Profile(
            name="laptop",
            source=CIFAR100,
            train_images=30_000,
            validation_images=None,
            test_images=None,
            depth=26,
            width=0.25,
            # Two passes are too few to overfit: what slows learning down to prevent that is left out.
            recipe=Recipe(epochs=2, batch_size=64, peak_lr=0.1, label_smoothing=0.0, padding=0, bfloat16=True),
        ),
        Profile(
            name="evening",
            source=CIFAR100,
            depth=26,
            width=0.25,
            recipe=Recipe(
                epochs=10,
                batch_size=64,
                peak_lr=0.2,
                clip=5.0,  # at this rate global attention once ended in nan without
                label_smoothing=0.0,
                ema_decay=0.99,
                bfloat16=True,
                table_rate=8.0,
            ),
        ),
        Profile(
            name="gpu",
            source=CIFAR100,
            depth=26,
            width=0.5,
            # The recipe of full with a shorter schedule; the rate goes with the batch.
            recipe=Recipe(epochs=12, batch_size=256, peak_lr=0.2, ema_decay=0.99),
        ),
        Profile(
            name="full",
            source=CIFAR100,
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
