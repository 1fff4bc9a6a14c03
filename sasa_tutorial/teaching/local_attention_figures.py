"""Figures of the lesson on local attention: the mechanism, logits and weights of windows, windows in another order.

Each returns Axes and all but the schematic take data; none trains, shows or keeps anything.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int64, UInt8
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from sasa_tutorial.layers import gather_windows, inside_image
from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, POSITIVE_MAP, QUIET

_NO_PIXEL = "#E6E6E6"
_CORNER = "#0072B2"  # the second query of the schematic
_INK = "#222222"
# A small picture: a light shape on dark ground, every pixel a little different.
_SHAPE = ("......", ".###..", "..##..", "...#..", "#..##.", "##....")
_LIGHT, _DARK = (0.98, 0.76, 0.36), (0.20, 0.36, 0.48)


def local_attention_schematic() -> Axes:
    """The mechanism on a picture of 6 x 6 pixels: window, logits, weights, values and output of two queries.

    The logits are minus 4 times the squared difference of two colours (a dot product, up to what is the same for the
    whole window), so that a query asks for pixels like itself; weights and outputs are computed from them.
    """
    picture = _small_picture()
    windows, inside = gather_windows(picture[None], 3)[0], inside_image(6, 6, 3)
    logits = -4 * (windows - picture[..., None, None]).square().sum(dim=0)
    flat = rearrange(logits.masked_fill(~inside, -torch.inf), "h w kh kw -> h w (kh kw)")
    weights = rearrange(torch.softmax(flat, dim=-1), "h w (kh kw) -> h w kh kw", kh=3)
    output = einsum(weights, windows, "h w kh kw, c h w kh kw -> c h w")

    figure = plt.figure(figsize=(6, 2.4), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 60), ylim=(24, 0), aspect="equal")
    ax.axis("off")
    side, cell, lefts = 2.85, 2.3, (20.2, 29.1, 38.0, 46.9)
    for i, j in torch.cartesian_prod(torch.arange(6), torch.arange(6)).tolist():
        _cell(ax, 0.6 + side * j, 3.4 + side * i, side, picture[:, i, j].tolist())
    names = ("window", "logits q·k", "weights", "weight × value")
    for left, name in zip(lefts, names, strict=True):
        ax.text(left + 1.5 * cell, 1.6, name, ha="center", va="center", fontsize=8, color=_INK)
    ax.text(0.6 + 3 * side, 1.6, "image", ha="center", va="center", fontsize=8, color=_INK)
    ax.text(57.6, 1.6, "output", ha="center", va="center", fontsize=8, color=_INK)
    for (i, j), top, colour, name in (((2, 3), 3.0, ACCENT, "inside"), ((5, 0), 13.9, _CORNER, "at a corner")):
        a, b, c, d = max(i - 1, 0), min(i + 2, 6), max(j - 1, 0), min(j + 2, 6)
        corner, size = (0.6 + side * c, 3.4 + side * a), (side * (d - c), side * (b - a))
        ax.add_patch(Rectangle(corner, *size, fill=False, color=colour, linewidth=2, zorder=4))
        ax.add_patch(Rectangle((0.6 + side * j, 3.4 + side * i), side, side, fill=False, color=colour, lw=2, zorder=4))
        ax.text(0.6 + side * (j + 0.5), 3.4 + side * (i + 0.5), "q", ha="center", va="center", fontsize=9, zorder=5)
        _arrow(ax, (corner[0] + size[0], corner[1] + size[1] / 2), (lefts[0] - 0.5, top + 1.5 * cell), colour)
        _four_steps(ax, lefts, top, cell, windows[:, i, j], logits[i, j], weights[i, j], inside[i, j], colour)
        _cell(ax, 57.6 - 1.6, top + 1.5 * cell - 1.6, 3.2, output[:, i, j].tolist())
        ax.text(57.6, top + 1.5 * cell, "y", ha="center", va="center", fontsize=9, color=_INK)
        for left, right in (*pairwise(lefts), (lefts[3], 56.1)):
            _arrow(ax, (left + 3 * cell + 0.3, top + 1.5 * cell), (right - 0.3, top + 1.5 * cell), _INK)
        count = int(inside[i, j].sum())
        note = f"{name}: {count} pixels share a weight of 1"
        ax.text(lefts[0], top + 3 * cell + 1.3, note, ha="left", va="center", fontsize=7.5, color=colour)
    return ax


def _small_picture() -> Float[Tensor, "3 6 6"]:
    light: Int64[Tensor, "6 6"] = torch.tensor([[mark == "#" for mark in row] for row in _SHAPE]).long()
    colours = rearrange(torch.tensor((_DARK, _LIGHT))[light], "h w c -> c h w")
    shades = 0.11 * torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(3))
    return (colours + shades).clamp(0, 1)


def _four_steps(
    ax: Axes,
    lefts: Sequence[float],
    top: float,
    cell: float,
    pixels: Float[Tensor, "3 3 3"],
    logits: Float[Tensor, "3 3"],
    weights: Float[Tensor, "3 3"],
    inside: Bool[Tensor, "3 3"],
    colour: str,
) -> None:
    """The window, its logits, its weights, and its values, each as large as its weight."""
    colours, end = plt.get_cmap(POSITIVE_MAP), float(weights.max())
    for a, b in torch.cartesian_prod(torch.arange(3), torch.arange(3)).tolist():
        y, weight = top + cell * a, float(weights[a, b])
        xs = [left + cell * b for left in lefts]
        for x in xs:
            _cell(ax, x, y, cell, "white" if inside[a, b] else _NO_PIXEL)
        if not inside[a, b]:
            continue
        _cell(ax, xs[0], y, cell, pixels[:, a, b].tolist())
        middle = {"ha": "center", "va": "center", "fontsize": 6.5}
        ax.text(xs[1] + cell / 2, y + cell / 2, f"{float(logits[a, b]) + 0.0:.1f}".replace("-0.0", "0.0"), **middle)
        _cell(ax, xs[2], y, cell, colours(weight / end))
        ink = "white" if weight < 0.6 * end else "black"
        ax.text(xs[2] + cell / 2, y + cell / 2, f"{weight:.2f}"[1:], color=ink, **middle)
        part = cell * min(1.0, 0.92 * (weight / end) ** 0.5)
        shift = (cell - part) / 2
        ax.add_patch(Rectangle((xs[3] + shift, y + shift), part, part, color=pixels[:, a, b].tolist(), lw=0, zorder=2))
    ax.add_patch(Rectangle((lefts[0] + cell, top + cell), cell, cell, fill=False, color=colour, lw=1.8, zorder=4))


def _cell(ax: Axes, x: float, y: float, side: float, colour: object) -> None:
    ax.add_patch(Rectangle((x, y), side, side, facecolor=colour, edgecolor="#BBBBBB", linewidth=0.5))


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 8, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "zorder": 5}
    ax.add_patch(FancyArrowPatch(start, end, color=colour, **style))


def logits_and_weights(
    logits: Float[Tensor, "h w kh kw"],
    weights: Float[Tensor, "h w kh kw"],
    inside: Bool[Tensor, "h w kh kw"],
    *,
    pixels: Sequence[tuple[int, int]],
) -> list[Axes]:
    """The windows of a few queries, twice: before the softmax and after it. Cells outside the image are grey.

    Args:
        logits: before the softmax; what stands in cells outside the image is not drawn.
        weights: after it.
        inside: which cells are pixels.
        pixels: row and column of the queries.
    """
    _, axes = plt.subplots(1, 2 * len(pixels), figsize=(6, 1.9))
    inner = logits.masked_fill(~inside, 0)
    for place, (i, j) in enumerate(pixels):
        for ax, values, name, signed in (
            (axes[2 * place], inner, "logits", True),
            (axes[2 * place + 1], weights, "weights", False),
        ):
            end = float(values.abs().max())
            rounded = (values[i, j] * 100).round() / 100
            title = f"{name} of ({i}, {j})"
            matrix(rounded, numbers=True, signed=signed, limit=end, rows="kh", cols="kw", title=title, ax=ax)
            for a, b in (~inside[i, j]).nonzero().tolist():
                ax.add_patch(Rectangle((b - 0.5, a - 0.5), 1, 1, color=_NO_PIXEL, linewidth=0, zorder=3))
    for ax in axes:
        ax.spines[:].set_visible(False)
    return list(axes)


def same_neighbours(
    patches: UInt8[Tensor, "n 3 k k"], titles: Sequence[str], answers: Mapping[str, Float[Tensor, "n c"]]
) -> list[list[Axes]]:
    """Windows with the same pixels in another order, and below each what layers answer at its centre.

    Args:
        patches: red, green, blue; k is odd.
        titles: one for each patch.
        answers: for each mechanism, the c output channels at the centre of every patch.
    """
    count, centre = len(patches), patches.shape[-1] // 2
    ratios = [2.1] + [1] * len(answers)
    _, axes = plt.subplots(1 + len(answers), count, figsize=(6, 3), height_ratios=ratios, squeeze=False)
    halo = [withStroke(linewidth=3, foreground="white")]
    for ax, patch, title in zip(axes[0], patches, titles, strict=True):
        ax.imshow(rearrange(patch.cpu(), "c h w -> h w c").numpy())
        frame = {"fill": False, "color": ACCENT, "linewidth": 1.5, "path_effects": halo}
        ax.add_patch(Rectangle((centre - 0.5, centre - 0.5), 1, 1, **frame))
        ax.set(title=title, xticks=[], yticks=[])
    for row, (mechanism, values) in zip(axes[1:], answers.items(), strict=True):
        end = 1.15 * float(values.detach().abs().max())
        for ax, channels in zip(row, values.detach().cpu(), strict=True):
            ax.bar(range(len(channels)), channels.numpy(), color=MECHANISM_COLOURS[mechanism], width=0.7)
            ax.axhline(0, color=QUIET, linewidth=0.8)
            ax.set(ylim=(-end, end), xticks=[], yticks=[])
        row[0].set_ylabel(mechanism.replace("_", "\n"), fontsize=7)
    axes[-1, 0].set_xlabel("output channel", fontsize=8)
    return axes.tolist()
