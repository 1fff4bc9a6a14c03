"""Figures of the lesson on external attention: the mechanism, hues in two teams, a few slots over many images."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle, Wedge
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, POSITIVE_MAP, QUIET

_SLOTS = torch.tensor([[0.80, 0.40, 0.00], [0.34, 0.71, 0.91], [0.00, 0.62, 0.45], [0.94, 0.89, 0.26]])  # s c
_IMAGES = (((0, 0, 1, 3, 0, 1, 3, 3, 1), 1.9, 4), ((2, 3, 3, 2, 2, 1, 0, 2, 1), 0.2, 1))  # kinds, bottom, query
_TEAM_MARKS = ("o", "^")


def external_attention_schematic() -> Axes:
    """The mechanism on two images of 3 x 3 pixels: queries, the slots that both ask, weights, values and outputs.

    The weights are computed, not made up: double normalization of the products of the pixels' colours with four keys.
    """
    _, ax = plt.subplots(figsize=(6, 3))
    ax.set(xlim=(0, 6), ylim=(0, 3), aspect="equal")
    ax.axis("off")
    for kinds, bottom, query in _IMAGES:
        shade = torch.linspace(-0.07, 0.07, 9)[:, None]  # no two pixels alike
        pixels = (0.6 * _SLOTS[list(kinds)] + 0.25 + shade[torch.arange(9) * 4 % 9]).clamp(0, 1)
        logits = 16 * (pixels - pixels.mean(dim=0)) @ (_SLOTS - _SLOTS.mean(dim=0)).T
        weights = torch.softmax(logits - torch.logsumexp(logits, dim=0), dim=1)
        _cells(ax, pixels, (0.3, bottom), (0.3, 0.3), columns=3)
        _cells(ax, weights @ _SLOTS, (4.8, bottom), (0.3, 0.3), columns=3)
        shown = torch.tensor(plt.get_cmap(POSITIVE_MAP)(weights.numpy())[..., :3])
        _cells(ax, shown.flatten(0, 1), (2.2, bottom), (0.3, 0.1), columns=4)
        row, height = bottom + 0.9 - 0.1 * (query + 1), bottom + 0.9 - 0.3 * (query // 3 + 1)
        for corner, size in (
            ((0.3 + 0.3 * (query % 3), height), (0.3, 0.3)),
            ((2.2, row), (1.2, 0.1)),
            ((4.8 + 0.3 * (query % 3), height), (0.3, 0.3)),
        ):
            ax.add_patch(Rectangle(corner, *size, fill=False, ec=ACCENT, lw=1.8, zorder=3))
        _arrow(ax, (0.62 + 0.3 * (query % 3), height + 0.15), (2.18, row + 0.05))
        _arrow(ax, (3.43, row + 0.05), (4.78 + 0.3 * (query % 3), height + 0.15))
        for slot in range(4):  # every column belongs to a slot
            end = (1.78, bottom) if bottom > 1 else (1.22, bottom + 0.9)
            ax.plot([2.35 + 0.3 * slot] * 2, end, color=MECHANISM_COLOURS["external_attention"], lw=1)
    colour = MECHANISM_COLOURS["external_attention"]
    ax.add_patch(FancyBboxPatch((1.56, 1.24), 1.92, 0.52, boxstyle="round,pad=0.02", fc="#FFF6E0", ec=colour, lw=1.4))
    for slot, paint in enumerate(_SLOTS.tolist()):
        for bottom, look in ((1.53, {"hatch": "/////"}), (1.27, {})):
            ax.add_patch(Rectangle((2.24 + 0.3 * slot, bottom), 0.22, 0.2, fc=paint, ec="white", lw=0.7, **look))
    for x, y, text, side, size in (
        (2.14, 1.63, "keys", "right", 8),
        (2.14, 1.37, "values", "right", 8),
        (3.6, 1.5, "memory of 4 slots: learned,\nthe same for every image", "left", 8),
        (0.75, 2.9, "image 1", "center", 8),
        (0.75, 0.1, "image 2", "center", 8),
        (2.8, 2.9, "weights: 9 pixels x 4 slots", "center", 8),
        (2.8, 0.1, "1. softmax down each column   2. rows sum to 1", "center", 7),
        (1.5, 2.52, "pixel\nasks slots", "center", 7),
        (4.15, 2.52, "mix of\nvalues", "center", 7),
        (5.25, 2.9, "output 1", "center", 8),
        (5.25, 0.1, "output 2", "center", 8),
    ):
        ax.text(x, y, text, ha=side, va="center", fontsize=size)
    return ax


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
            _quiet_frame(ax)
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
            _quiet_frame(ax)
        panels[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return axes.tolist()


def _cells(
    ax: Axes, colours: Float[Tensor, "n 3"], corner: tuple[float, float], size: tuple[float, float], *, columns: int
) -> None:
    """Coloured cells row by row, the first at the top left; `corner` is the lower left one of the whole."""
    rows = len(colours) // columns
    for place, colour in enumerate(colours.tolist()):
        x, y = corner[0] + size[0] * (place % columns), corner[1] + size[1] * (rows - 1 - place // columns)
        ax.add_patch(Rectangle((x, y), *size, fc=colour, ec="white", lw=0.5))


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": ACCENT, "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
    )


def _quiet_frame(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=QUIET, linewidth=0.5)
