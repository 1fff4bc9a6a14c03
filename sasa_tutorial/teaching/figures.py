"""Figures that more than one lesson needs. Each takes data and returns Axes; none trains, shows or keeps anything."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from sasa_tutorial.teaching.style import MECHANISM_COLOURS, POSITIVE_MAP, QUIET, SIGNED_MAP
from sasa_tutorial.training.loop import EpochLine


def images_in_rows(
    images: UInt8[Tensor, "n 3 h w"], titles: Sequence[str] = (), *, columns: int = 8, size: float = 0.75
) -> list[Axes]:
    """Small pictures side by side, each with its title above.

    Args:
        images: uint8, red, green, blue.
        titles: one for each image, or none.
        columns: pictures in a row.
        size: of a picture, in inches.
    """
    rows = -(-len(images) // columns)
    height = rows * (size + (0.22 if titles else 0.05))
    _, axes = plt.subplots(rows, columns, figsize=(columns * size, height), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    shown = list(axes.flat)[: len(images)]
    for index, ax in enumerate(shown):
        ax.imshow(rearrange(images[index].cpu(), "c h w -> h w c").numpy())
        if titles:
            ax.set_title(titles[index], fontsize=7, pad=2)
    return shown


def matrix(
    values: Float[Tensor, "rows cols"],
    *,
    title: str = "",
    rows: str = "row",
    cols: str = "column",
    signed: bool = True,
    numbers: bool = False,
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A matrix as coloured cells; the colour scale is symmetric around 0, or starts at 0.

    Args:
        values: what to draw.
        rows: what the vertical axis counts.
        cols: what the horizontal axis counts.
        signed: diverging colours around 0, else sequential ones from 0.
        numbers: print each value into its cell.
        limit: the value at the end of the scale; by default the largest magnitude.
        ax: where to draw; by default a new figure.
    """
    values = values.detach().float().cpu()
    if ax is None:
        ax = plt.subplots(figsize=(3, 3))[1]
    end = float(values.abs().max()) if limit is None else limit
    end = end or 1.0  # all zeros: any scale will do
    ax.imshow(values.numpy(), cmap=SIGNED_MAP if signed else POSITIVE_MAP, vmin=-end if signed else 0, vmax=end)
    if numbers:
        for (i, j), value in ((index, values[index].item()) for index in _cells(values)):
            strong = abs(value) > 0.6 * end if signed else value < 0.6 * end
            ax.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=7, color="white" if strong else "black")
    ax.set(title=title, xlabel=cols, ylabel=rows, xticks=[], yticks=[])
    return ax


def _cells(values: Tensor) -> list[tuple[int, int]]:
    return [(i, j) for i in range(values.shape[0]) for j in range(values.shape[1])]


def training_curves(lines: Sequence[EpochLine], mechanism: str = "convolution") -> list[Axes]:
    """Loss and accuracy of one run over its epochs: training dashed, validation solid."""
    _, axes = plt.subplots(1, 2, figsize=(6, 2.4))
    epochs = [line.epoch for line in lines]
    colour = MECHANISM_COLOURS[mechanism]
    for ax, train, validation, label in (
        (axes[0], [line.train_loss for line in lines], [line.val_loss for line in lines], "cross-entropy (nats)"),
        (axes[1], [line.train_top1 for line in lines], [line.val_top1 for line in lines], "top-1 (%)"),
    ):
        ax.plot(epochs, train, "--", marker="o", markersize=4, color=QUIET, label="training")
        ax.plot(epochs, validation, marker="o", markersize=4, color=colour, label="validation")
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlim(0.7, len(lines) + 0.3)
        ax.set_ylim(bottom=0)
        ax.margins(y=0.1)
    axes[1].axhline(1, color=QUIET, linewidth=1, linestyle=":", label="chance")
    axes[1].legend(loc="lower right")  # where curves that rise leave room
    return list(axes)


def as_image(x: Float[Tensor, "3 h w"]) -> UInt8[Tensor, "3 h w"]:
    """Values from 0 to 1 as the uint8 picture they stand for."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)
