"""The papers' training on ImageNet, for images in a folder.

From SASA, Sec. 4.1: 130 epochs, Nesterov momentum 0.9, a peak rate of 1.6 for batches of 4096 after a linear warm-up of
10 epochs, then a cosine; averaged weights with decay 0.9999; 4 % of the training images held out for choices.

Batch norms average with PyTorch's decay, not with the paper's 0.9999.

The paper does not state weight decay, label smoothing, or how images are cropped: 1e-4, 0.1, random resized crops with
mirroring, and the middle 224 of 256 pixels for scoring are this library's choice, usual for ResNets. So are batches of
256, which fit on one GPU, with the rate in proportion to the batch.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sasa_tutorial.datasets import FolderSets, image_folder
from sasa_tutorial.models import paper_models
from sasa_tutorial.training.folder import FolderScoredImages, FolderTrainingImages
from sasa_tutorial.training.images import RunImages
from sasa_tutorial.training.recipe import Recipe

EPOCHS = 130
WARMUP_EPOCHS = 10
RATE, RATE_BATCH = 1.6, 4096
EMA_DECAY = 0.9999
BATCH = 256
SIZE = 224
MOST_WORKERS = 16

_LESSONS = {
    "resnet": "convolution",
    "sasa_resnet": "relative_offsets",
    "full_attention_resnet": "attention_stem",
    "attention_augmented_resnet": "augmented_convolution",
}


@dataclass(frozen=True, kw_only=True)
class FolderProfile:
    """What a `Profile` is for CIFAR-100, for images in a folder."""

    sets: FolderSets
    recipe: Recipe
    image_size: int = SIZE  # pixels of the squares that the network sees, both sides
    least_area: float = 0.08  # of an image, in a training crop
    workers: int = 0  # that decode, for each process; decides no numbers
    name: str = field(default="folder", init=False)
    dataset: str = field(default="folder", init=False)
    threads: None = field(default=None, init=False)

    @property
    def resize(self) -> int:
        """Pixels of the shorter side before the middle is cut out for scoring: 256 for 224."""
        return round(self.image_size * 256 / 224)

    @property
    def networks(self) -> Mapping[str, Callable[..., nn.Module]]:
        return paper_models()

    @property
    def network_settings(self) -> dict[str, Any]:
        return {"image_size": self.image_size}

    @property
    def image_settings(self) -> dict[str, Any]:
        return {
            "classes": len(self.sets.train.class_names),
            "train_images": len(self.sets.train),
            "validation_images": len(self.sets.validation),
            "test_images": len(self.sets.test),
            "files": self.sets.fingerprint,
            "resize": self.resize,
            "least_area": self.least_area,
        }

    @property
    def usual(self) -> "FolderProfile":
        return FolderProfile(sets=self.sets, recipe=paper_recipe(len(self.sets.train)))

    @property
    def data_name(self) -> str:
        return str(self.sets.train.root.parent)

    def mechanism(self, model: str) -> str:
        return _LESSONS[model.rpartition("_")[0]]

    def images(self, seed: int, device: torch.device) -> RunImages:
        train = FolderTrainingImages(
            images=self.sets.train,
            device=device,
            size=self.image_size,
            least_area=self.least_area,
            flip=self.recipe.flip,
            seed=seed,
            workers=self.workers,
        )
        scored = {"size": self.image_size, "resize": self.resize, "workers": self.workers}
        return RunImages(
            train=train,
            validation=FolderScoredImages(images=self.sets.validation, **scored),
            test=FolderScoredImages(images=self.sets.test, **scored),
            classes=len(self.sets.train.class_names),
        )


def folder_profile(
    folder: Path,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    size: int | None = None,
    workers: int | None = None,
) -> FolderProfile:
    """The profile of a folder, which is read through once for the names of its files.

    Args:
        folder: with train/CLASS/*.JPEG and val/CLASS/*.JPEG.
        epochs: 130 unless said otherwise; the warm-up keeps its share of them.
        steps: the run ends after so many.
        batch: images a step, over all processes; 256 unless said otherwise.
        size: pixels; 224 unless said otherwise.
        workers: that decode, for each process; the cores of the machine shared out unless said otherwise.

    Raises:
        ValueError: a number that cannot be; fewer training images than one batch.
        DatasetError: the folder is not laid out like ImageNet.
    """
    for what, number, least in (("batch", batch, 1), ("size", size, 1), ("workers", workers, 0)):
        if number is not None and number < least:
            raise ValueError(f"{what} must be at least {least}, got {number}")
    sets = image_folder(folder)
    images, batch = len(sets.train), BATCH if batch is None else batch
    if images < batch:
        raise ValueError(f"{images} training images do not fill a batch of {batch}: ask for a smaller one with --batch")
    return FolderProfile(
        sets=sets,
        recipe=paper_recipe(images, epochs=EPOCHS if epochs is None else epochs, batch=batch, steps=steps),
        image_size=size or SIZE,
        workers=_workers() if workers is None else workers,
    )


def paper_recipe(images: int, *, epochs: int = EPOCHS, batch: int = BATCH, steps: int | None = None) -> Recipe:
    """The paper's recipe for so many training images."""
    steps = steps or epochs * (images // batch)
    # Averaged over 10,000 steps, a run of a few thousand would be scored as it began: at most a third of the run.
    decay = min(EMA_DECAY, max(0.0, 1 - 3 / max(1, steps)))
    return Recipe(
        epochs=epochs,
        batch_size=batch,
        peak_lr=round(RATE * batch / RATE_BATCH, 9),
        warmup=WARMUP_EPOCHS / EPOCHS,
        weight_decay=1e-4,
        label_smoothing=0.1,
        ema_decay=round(decay, 6),
        padding=0,
    )


def _workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
