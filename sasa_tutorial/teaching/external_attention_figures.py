"""Figures of the lesson on external attention: hues in two teams, a few slots over many images."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle, Wedge
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.strokes import border
from sasa_tutorial.teaching.style import POSITIVE_MAP

_TEAM_MARKS = ("o", "^")


def hues_and_images(
    hues: Float[Tensor, "k 3"],
    teams: Sequence[int],
    rows: dict[str, Float[Tensor, "n 3 h w"]],
    titles: Sequence[str],
) -> list[list[Axes]]:
    """A wheel of hues, each with the mark of its team, and beside it rows of images.

    Args:
        hues: colours from 0 to 1, around the wheel.
        teams: 0 (a disc) or 1 (a triangle) for each hue.
        rows: images by the name of the row, values from 0 to 1.
        titles: above the images of the first row.

    Returns:
        The panel of the wheel, then the panels of each row.
    """
    columns = len(titles)
    figure = plt.figure(figsize=(6, 2.05))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    grid = figure.add_gridspec(len(rows), columns + 1, width_ratios=[2.2] + [1] * columns)
    wheel = figure.add_subplot(grid[:, 0])
    for place, (hue, team) in enumerate(zip(hues.clamp(0, 1).tolist(), teams, strict=True)):
        start, width = 360 * place / len(hues), 360 / len(hues)
        wheel.add_patch(Wedge((0, 0), 1, start, start + width, fc=hue, ec="white", lw=1.5))
        angle = math.radians(start + width / 2)
        where = (0.72 * math.cos(angle), 0.72 * math.sin(angle))
        wheel.plot(*where, _TEAM_MARKS[team], color="black", markersize=8, markeredgecolor="white")
    wheel.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
    wheel.axis("off")
    wheel.set_title("two teams: discs, triangles", fontsize=8)
    panels = [[wheel]]
    for number, (name, images) in enumerate(rows.items()):
        panels.append([figure.add_subplot(grid[number, 1 + column]) for column in range(columns)])
        for ax, image, title in zip(panels[-1], images, titles, strict=True):
            ax.imshow(rearrange(image.clamp(0, 1), "c h w -> h w c").numpy())
            border(ax)
            if number == 0:
                ax.set_title(title, fontsize=8)
        panels[-1][0].set_ylabel(name, fontsize=8)
    return panels


def slots_of_hues(
    weights: dict[str, Float[Tensor, "k s"]], hues: Float[Tensor, "k 3"], teams: Sequence[int]
) -> list[Axes]:
    """How much each hue takes from each slot: tables side by side on one scale from 0 to 1, hues and teams at the left.

    Args:
        weights: by the name of the table; each row sums to 1.
        hues: colours from 0 to 1.
        teams: 0 (a disc) or 1 (a triangle) for each hue.
    """
    figure, axes = plt.subplots(1, len(weights), figsize=(6, 1.9), sharey=True)
    for ax, (name, table) in zip(axes, weights.items(), strict=True):
        matrix(table, signed=False, limit=1, rows="", cols="s (slots)", title=name, ax=ax)
        slots = table.shape[1]
        ax.set_xticks([0, slots - 1], [1, slots])
        for place, (hue, team) in enumerate(zip(hues.clamp(0, 1).tolist(), teams, strict=True)):
            ax.add_patch(Rectangle((-2.6, place - 0.5), 1.9, 1, fc=hue, ec="white", lw=0.5, clip_on=False))
            ax.plot(
                -1.65, place, _TEAM_MARKS[team], color="black", markersize=4, markeredgecolor="white", clip_on=False
            )
        ax.set(xlim=(-0.5, slots - 0.5), aspect="auto")
    axes[0].set_ylabel("hue and team", labelpad=16)
    figure.colorbar(axes[0].images[0], ax=list(axes), pad=0.02, label="weight")
    return list(axes)


def pictures_and_maps(rows: Sequence[Tensor], names: Sequence[str]) -> list[list[Axes]]:
    """Small panels in rows: one image a column; each row shows the images themselves, or one map of each.

    Args:
        rows: pictures (n, 3, h, w), as uint8 or from 0 to 1; or maps (n, h, w), which share one colour scale within
            the row; it begins at 0, and the highest half per cent of the values have one colour.
        names: one for each row, written at its left.

    Raises:
        ValueError: a number of names that is not the number of rows.
    """
    if len(names) != len(rows):
        raise ValueError(f"expected one name for each of {len(rows)} rows, got {len(names)}")
    columns = len(rows[0])
    size = min(5.2 / columns, 2.95 / len(rows))
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(0.8 + columns * size, 0.05 + len(rows) * size), squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015)
    for panels, row, name in zip(axes, rows, names, strict=True):
        values = row.detach().cpu()
        # A single high cell would leave everything else dark. All zeros: any scale will do.
        end = float(values.float().quantile(0.995)) or float(values.max()) or 1.0
        for ax, value in zip(panels, values, strict=True):
            if value.ndim == 3:
                colours = value if value.dtype == torch.uint8 else value.float().clamp(0, 1)
                ax.imshow(rearrange(colours, "c h w -> h w c").numpy())
            else:
                ax.imshow(value.float().numpy(), cmap=POSITIVE_MAP, vmin=0, vmax=end)
            border(ax)
        panels[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return axes.tolist()
