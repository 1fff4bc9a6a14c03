"""The picture that opens the lesson on convolution: one window, nine weights, one output pixel, and on to the next."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from sasa_tutorial.teaching.animation import stage
from sasa_tutorial.teaching.strokes import arrow, cells, outline
from sasa_tutorial.teaching.style import ACCENT, QUIET, SIGNED_MAP

_IMAGE = F.pad(torch.ones(3, 3), (1, 1, 1, 1))  # a bright square on dark ground
_KERNEL = torch.tensor([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]]).float()  # dark on the left, light on the right
_PIXEL = (2, 1)  # whose window the picture shows when it stands still
_KERNEL_AT, _PRODUCTS_AT, _OUTPUT_AT = (
    (8.4, 2),
    (12.8, 2),
    (17.6, 1),
)  # left and top; the image with its zeros at (0, 0)
_SMALL = {"ha": "center", "va": "center", "fontsize": 8}
CONVOLUTION_FRAMES = _IMAGE.numel() + 2  # one for each pixel; the whole picture comes first and last


def convolution_schematic(frame: int = 0) -> Axes:
    """A window slides over an image; its nine pixels meet the same nine weights everywhere; each sum is one output.

    The weights find upright edges: the output is positive where the image gets brighter from left to right, negative
    where it gets darker, and 0 where nothing changes.

    Args:
        frame: 0 to CONVOLUTION_FRAMES - 1, for `teaching.show_loop`. In the first and the last the output is whole;
            in those between, the window walks from pixel to pixel, and the output grows behind it.
    """
    walking = 0 < frame < CONVOLUTION_FRAMES - 1
    i, j = divmod(frame - 1, _IMAGE.shape[1]) if walking else _PIXEL
    padded = F.pad(_IMAGE, (1, 1, 1, 1))
    products = _KERNEL * padded[i : i + 3, j : j + 3] + 0.0  # no -0
    output = F.conv2d(_IMAGE[None, None], _KERNEL[None, None], padding=1)[0, 0]

    ax = stage(_still, size=(6, 2.6), xlim=(-0.6, 23.2), ylim=(8.8, -1.5))
    _grid(ax, products, _PRODUCTS_AT, _signed(1), dark=lambda value: abs(value) > 0.6)
    done = _places(output)[: frame if walking else None]
    _grid(ax, output, _OUTPUT_AT, _signed(3), dark=lambda value: abs(value) > 1.8, only=done)
    for corner, side in (((j, i), 3), (_PRODUCTS_AT, 3), ((_OUTPUT_AT[0] + j, _OUTPUT_AT[1] + i), 1)):
        outline(ax, corner, side, linewidth=2.5)
    ax.text(14.3, 5.6, f"added: {_number(output[i, j])}", color=ACCENT, **_SMALL)
    return ax


def _still(ax: Axes) -> None:
    _zeros_outside(ax, F.pad(_IMAGE, (1, 1, 1, 1)))
    _grid(ax, _IMAGE, (1, 1), lambda value: str(0.2 + 0.8 * value), dark=lambda value: value < 0.5)
    _grid(ax, _KERNEL, _KERNEL_AT, _signed(1), dark=lambda value: abs(value) > 0.6)
    _words(ax)


def _number(value) -> str:
    return f"{value:.0f}".replace("-", "−")


def _words(ax) -> None:
    for x, title in ((3.5, "image x"), (9.9, "weights W"), (14.3, "products"), (20.1, "output y")):
        ax.text(x, -0.8, title, ha="center", va="center", fontsize=10, weight="bold")
    for x, sign in ((7.7, "×"), (12.1, "=")):
        ax.text(x, 3.5, sign, ha="center", va="center", fontsize=15)
    for start, end in (((16.1, 3.5), (17.35, 3.5)), ((1.3, 7.8), (2.7, 7.8))):
        arrow(ax, start, end, mutation_scale=11, linewidth=1.8, shrinkA=0, shrinkB=0)
    ax.text(2.9, 7.8, "the window slides", color=ACCENT, **_SMALL | {"ha": "left"})
    ax.text(9.9, 5.9, "the same nine\neverywhere", **_SMALL)
    ax.text(20.1, 7.4, "+ brighter to the right", color=_signed(1)(1), **_SMALL)
    ax.text(20.1, 8.2, "− darker to the right", color=_signed(1)(-1), **_SMALL)


def _signed(end):
    colours = plt.get_cmap(SIGNED_MAP)
    return lambda value: colours(0.5 + 0.42 * value / end)


def _zeros_outside(ax, padded) -> None:
    last = len(padded) - 1
    for row, col in _places(padded):
        if not (0 < row < last and 0 < col < last):
            ax.text(col + 0.5, row + 0.53, "0", ha="center", va="center", fontsize=7, color=QUIET)
    ax.add_artist(Rectangle((0, 0), last + 1, last + 1, facecolor="#F0F0F0", edgecolor="none", zorder=0))


def _grid(ax, values, corner, colour, *, dark, only=None) -> None:
    """Cells with numbers, their upper left corner at `corner`. Where only some are drawn, the others are empty."""
    drawn = _places(values) if only is None else only
    colours = np.zeros((*values.shape, 4))  # transparent
    for place in drawn:
        colours[place] = to_rgba(colour(values[place].item()))
    cells(ax, corner, colours, 1, edgecolor=QUIET, zorder=1)
    for row, col in drawn:
        value, place = values[row, col].item(), (corner[0] + col + 0.5, corner[1] + row + 0.53)
        ax.text(*place, _number(value), ha="center", va="center", fontsize=7, color="white" if dark(value) else "black")


def _places(values) -> list[tuple[int, int]]:
    return [(row, col) for row in range(values.shape[0]) for col in range(values.shape[1])]
