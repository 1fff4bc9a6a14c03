"""The papers' training on ImageNet, for images in a folder.

From SASA, Sec. 4.1: 130 epochs, Nesterov momentum 0.9, a peak rate of 1.6 for batches of 4096 after a linear warm-up of
10 epochs, then a cosine; averaged weights with decay 0.9999; 4 % of the training images held out for choices.

Batch norms average with PyTorch's decay, not with the paper's 0.9999.

The paper does not state weight decay, label smoothing, or how images are cropped: 1e-4, 0.1, random resized crops with
mirroring, and the middle 224 of 256 pixels for scoring are this library's choice, usual for ResNets. So are batches of
256, which fit on one GPU, with the rate in proportion to the batch.
"""

import os
from dataclasses import replace
from pathlib import Path

from sasa_tutorial.datasets.sources import ImagesInFolder, folder_source
from sasa_tutorial.models import paper_models
from sasa_tutorial.training.profiles import Profile
from sasa_tutorial.training.recipe import Recipe

EPOCHS = 130
WARMUP_EPOCHS = 10
RATE, RATE_BATCH = 1.6, 4096
EMA_DECAY = 0.9999
BATCH = 256
SIZE = 224
MOST_WORKERS = 16


def folder_profile(
    folder: Path,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    size: int | None = None,
    workers: int | None = None,
) -> Profile:
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
    source = folder_source(folder, workers=_workers() if workers is None else workers)
    images, batch = source.sizes["train"], BATCH if batch is None else batch
    if images < batch:
        raise ValueError(f"{images} training images do not fill a batch of {batch}: ask for a smaller one with --batch")
    usual = _profile(source, paper_recipe(images))
    recipe = paper_recipe(images, epochs=EPOCHS if epochs is None else epochs, batch=batch, steps=steps)
    return replace(_profile(replace(source, image_size=size or SIZE), recipe), usual=usual)


def _profile(source: ImagesInFolder, recipe: Recipe) -> Profile:
    counts = {f"{split}_images": count for split, count in source.sizes.items()}
    return Profile(name="folder", source=source, **counts, recipe=recipe, networks=paper_models())


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
