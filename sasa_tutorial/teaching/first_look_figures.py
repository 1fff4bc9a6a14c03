"""More figures of the first notebook: what one pixel reads by colour, guesses of networks, twins, recorded lessons.

Each takes data and returns Axes; none trains, shows or keeps anything.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle
from torch import Tensor
from torch.nn import functional

from sasa_tutorial.datasets.class_names import CIFAR100_CLASS_NAMES
from sasa_tutorial.datasets.synthetic import MARK, MARK_COLOURS
from sasa_tutorial.experiments.results import Row
from sasa_tutorial.teaching.style import MECHANISM_COLOURS, POSITIVE_MAP, QUIET

_COLUMNS_BESIDE = (42, 74, 115, 152)  # right edges of the columns beside accuracies, in points from the axes


def marked_twins(alike: UInt8[Tensor, "n 3 h w"], unlike: UInt8[Tensor, "n 3 h w"]) -> list[Axes]:
    """Images of two twin classes, a row each: every mark ringed, with the first letter of its colour beside it."""
    columns = max(len(alike), len(unlike))
    _, axes = plt.subplots(2, columns, figsize=(1.2 * columns, 2.6), squeeze=False)
    for row, images, words in zip(axes, (alike, unlike), ("alike", "unlike"), strict=True):
        for ax in row:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for ax, image in zip(row, images, strict=False):
            ax.imshow(rearrange(image.cpu(), "c h w -> h w c").numpy())
            marks = _marks_of(image)
            (_, (top, left)), (_, (bottom, right)) = marks
            side_by_side = abs(left - right) > abs(top - bottom)
            for letter, (i, j) in marks:
                for colour, width in (("black", 3.2), ("white", 1.6)):
                    ax.add_patch(Circle((j, i), 5, facecolor="none", edgecolor=colour, linewidth=width))
                down, across = (8.5 if i < 16 else -8.5, 0) if side_by_side else (0, 8.5 if j < 16 else -8.5)
                box = {"facecolor": "white", "edgecolor": "black", "linewidth": 0.6, "pad": 1.2}
                look = {"fontsize": 7, "weight": "bold", "bbox": box, "ha": "center", "va": "center"}
                ax.text(j + across, i + down, letter, **look)
        row[0].set_ylabel(words, fontsize=9, weight="bold")
    return list(axes.flat)


def asked_by_one_pixel(
    images: UInt8[Tensor, "n 3 h w"],
    weights: Float[Tensor, "n h w"],
    queries: Sequence[tuple[int, int]],
    titles: Sequence[str],
) -> list[Axes]:
    """Images side by side, each followed by the weights with which one of its pixels, framed, reads all others."""
    count = len(images)
    figure, axes = plt.subplots(1, 2 * count, figsize=(6, 6 / (2 * count) + 0.35), squeeze=False)
    end = float(weights.amax(dim=(1, 2)).min())  # where the reading is shared by most pixels, it is still to be seen
    for number, (i, j) in enumerate(queries):
        picture, read = axes[0, 2 * number], axes[0, 2 * number + 1]
        picture.imshow(rearrange(images[number].cpu(), "c h w -> h w c").numpy())
        shown = read.imshow(weights[number].numpy(), cmap=POSITIVE_MAP, vmin=0, vmax=end)
        picture.set_title(titles[number], fontsize=8)
        read.set_title("what it reads", fontsize=8)
        for ax in (picture, read):
            ax.set(xticks=[], yticks=[])
            for colour, width in (("black", 3.5), ("white", 1.6)):
                frame = {"facecolor": "none", "edgecolor": colour, "linewidth": width}
                ax.add_patch(Rectangle((j - 1, i - 1), 2, 2, **frame))
    figure.colorbar(shown, ax=list(axes.flat), shrink=0.75, pad=0.02, label="weight", extend="max")
    return list(axes.flat)


def guesses_of_networks(
    images: UInt8[Tensor, "n 3 h w"], confidences: Mapping[str, Float[Tensor, "n 100"]], labels: Sequence[str]
) -> list[Axes]:
    """Images side by side; below each, what every network takes it for and how sure it is. A filled bar is right.

    Args:
        confidences: by name of the mechanism, a softmax over the classes of CIFAR-100 for each image.
        labels: the true class of each image.
    """
    _, axes = plt.subplots(2, len(images), figsize=(6, 3), height_ratios=(1, 1.35), squeeze=False)
    names = list(confidences)
    for column, label in enumerate(labels):
        picture, ax = axes[:, column]
        picture.imshow(rearrange(images[column].cpu(), "c h w -> h w c").numpy())
        picture.set_title(f"a {label}", fontsize=9)
        picture.set(xticks=[], yticks=[])
        picture.spines[:].set_visible(False)
        for place, name in enumerate(names):
            share, guess = (part.item() for part in confidences[name][column].max(dim=0))
            word, colour = CIFAR100_CLASS_NAMES[guess].replace("_", " "), MECHANISM_COLOURS[name]
            face = colour if word == label else "white"
            ax.barh(place, 100 * share, height=0.62, facecolor=face, edgecolor=colour, linewidth=1)
            ax.text(100 * share + 2, place, f"{word}, {100 * share:.0f} %", va="center", fontsize=7.5)
        words = [f"{place + 1:02d} {name.replace('_', ' ')}" for place, name in enumerate(names)]
        ax.set_yticks(range(len(names)), words if column == 0 else [""] * len(names), fontsize=7.5)
        ax.tick_params(axis="y", length=0)
        ax.set(xlim=(0, 125), xticks=range(0, 101, 25), ylim=(len(names) - 0.4, -0.6))
        ax.tick_params(axis="x", labelsize=7.5)
        ax.set_xlabel("confidence in its best guess (%)", fontsize=8)
    return list(axes.flat)


def _marks_of(image: UInt8[Tensor, "3 h w"]) -> list[tuple[str, tuple[float, float]]]:
    """The two squares of the image that are nearest to a mark's colour: the letter of the colour, row and column."""
    pixels = rearrange(image.float().cpu() / 255, "c h w -> 1 c h w")
    far = torch.stack([(pixels - torch.tensor(c)[:, None, None]).abs().sum(dim=1) for c in MARK_COLOURS], dim=1)
    distance = functional.avg_pool2d(far[0], MARK, stride=1)  # colours, first rows, first columns
    found = []
    for _ in range(2):
        colour, row, column = (int(part) for part in torch.unravel_index(distance.argmin(), distance.shape))
        found.append(("RGBY"[colour], (row + (MARK - 1) / 2, column + (MARK - 1) / 2)))
        distance[:, max(0, row - MARK) : row + MARK, max(0, column - MARK) : column + MARK] = float("inf")
    return found


def lesson_accuracies(rows: Sequence[Row]) -> Axes:
    """Test accuracies of the lessons' networks: every run a dot, the mean a diamond, in words what it takes.

    Args:
        rows: the networks of one profile, in the order of the series; all have run.
    """
    ax = plt.subplots(figsize=(6, 0.75 + 0.31 * len(rows)))[1]
    for place, row in enumerate(rows):
        runs, mean, name = row.values("test_top1"), row.mean("test_top1"), row.entry.model
        # One above the other, so that the mean hides no run.
        ax.plot(runs, [place + 0.2] * len(runs), "o", color=MECHANISM_COLOURS[name], markersize=4, alpha=0.6)
        ax.plot(mean, place - 0.15, "D", color=MECHANISM_COLOURS[name], markersize=6, markeredgecolor="white")
        params, flops = row.records[0].params / 1e6, row.records[0].flops_per_image / 1e6
        cells = (f"{mean:.1f} %", f"{row.n}", f"{params:.2f} M", f"{flops:.0f} M")
        _beside(ax, place, cells, "black")
        if name == "convolution":
            ax.axvline(mean, color=QUIET, linewidth=1, linestyle=":", zorder=0)
    _beside(ax, -0.8, ("mean", "seeds", "params", "FLOPs"), QUIET)
    names = [f"{place + 1:02d} {row.entry.model.replace('_', ' ')}" for place, row in enumerate(rows)]
    ax.set_yticks(range(len(rows)), names)
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="test top-1 (%)")
    return ax


def _beside(ax: Axes, place: float, cells: Sequence[str], colour: str) -> None:
    for column, cell in zip(_COLUMNS_BESIDE, cells, strict=True):
        where = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "annotation_clip": False}
        ax.annotate(cell, (1, place), (column, 0), ha="right", va="center", fontsize=8, color=colour, **where)
