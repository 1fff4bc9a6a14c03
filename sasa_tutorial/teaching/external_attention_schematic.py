"""The picture that opens the lesson on external attention: the pixels of two images ask one memory, one by one."""

from functools import cache

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from sasa_tutorial.teaching.animation import stage
from sasa_tutorial.teaching.strokes import arrow, cells, outline
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, POSITIVE_MAP

_SLOTS = torch.tensor([[0.80, 0.40, 0.00], [0.34, 0.71, 0.91], [0.00, 0.62, 0.45], [0.94, 0.89, 0.26]])  # s c
_IMAGES = (((0, 0, 1, 3, 0, 1, 3, 3, 1), 1.9, 4), ((2, 3, 3, 2, 2, 1, 0, 2, 1), 0.2, 6))  # kinds, bottom, query
_PIXELS = 9
_IMAGE, _TABLE, _OUTPUT = 0.3, 2.2, 4.8  # from the left, in inches
EXTERNAL_ATTENTION_FRAMES = 2 * _PIXELS + 2  # one for each pixel; the whole picture comes first and last


def external_attention_schematic(frame: int = 0) -> Axes:
    """The mechanism on two images of 3 x 3 pixels: queries, the slots that both ask, weights, values and outputs.

    The weights are computed, not made up: double normalization of the products of the pixels' colours with four keys.
    The lines between memory and weights are as thick as the framed pixel's weights.

    Args:
        frame: 0 to EXTERNAL_ATTENTION_FRAMES - 1, for `teaching.show_loop`. In the first and the last both outputs are
            whole, and one pixel of each image asks; in those between, the pixels of the first image ask one after
            another, then those of the second, and the outputs grow behind them.
    """
    ax = stage(_still, size=(6, 3), xlim=(0, 6), ylim=(0, 3))
    asked = frame - 1 if 0 < frame < EXTERNAL_ATTENTION_FRAMES - 1 else None  # of all pixels of both images
    for number, (kinds, bottom, query) in enumerate(_IMAGES):
        answered = _PIXELS
        if asked is not None:
            query = asked - number * _PIXELS
            answered = min(max(query + 1, 0), _PIXELS)
        _answers(ax, kinds, bottom, query if 0 <= query < _PIXELS else None, answered)
    return ax


def _still(ax: Axes) -> None:
    for kinds, bottom, _ in _IMAGES:
        pixels, weights = _pixels_and_weights(kinds)
        cells(ax, (_IMAGE, bottom + 0.9), pixels.view(3, 3, 3), 0.3, -0.3)
        cells(ax, (_TABLE, bottom + 0.9), plt.get_cmap(POSITIVE_MAP)(weights.numpy()), 0.3, -0.1)
    _memory(ax)
    for x, y, text in (
        (0.75, 2.9, "image 1"),
        (1.5, 2.9, "a pixel asks"),
        (2.8, 2.9, "weights: 9 x 4"),
        (4.1, 2.9, "the values mix"),
        (5.25, 2.9, "output 1"),
        (0.75, 0.1, "image 2"),
        (2.8, 0.1, "1. softmax down each column   2. rows sum to 1"),
        (5.25, 0.1, "output 2"),
    ):
        ax.text(x, y, text, ha="center", va="center", fontsize=8 if len(text) < 20 else 7)


@cache
def _pixels_and_weights(kinds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    shade = torch.linspace(-0.07, 0.07, _PIXELS)[:, None]  # no two pixels alike
    pixels = (0.6 * _SLOTS[list(kinds)] + 0.25 + shade[torch.arange(_PIXELS) * 4 % _PIXELS]).clamp(0, 1)
    logits = 16 * (pixels - pixels.mean(dim=0)) @ (_SLOTS - _SLOTS.mean(dim=0)).T
    return pixels, torch.softmax(logits - torch.logsumexp(logits, dim=0), dim=1)


def _answers(ax: Axes, kinds: tuple[int, ...], bottom: float, query: int | None, answered: int) -> None:
    """The pixels of an image's output that are answered; the query's way is marked."""
    _, weights = _pixels_and_weights(kinds)
    top = bottom + 0.9
    cells(ax, (_OUTPUT, top), (weights @ _SLOTS).view(3, 3, 3), 0.3, -0.3, drawn=answered)
    near, far = (1.88, 1.76) if bottom > 1 else (1.12, 1.24)  # the edges of table and memory that face each other
    for slot in range(4):  # every column belongs to a slot
        weight = 0.0 if query is None else weights[query, slot].item()
        colour = ACCENT if weight > 0.05 else MECHANISM_COLOURS["external_attention"]
        x = _TABLE + 0.15 + 0.3 * slot
        ax.add_artist(Line2D([x, x], [near, far], color=colour, linewidth=1 + 8 * weight, solid_capstyle="butt"))
    if query is None:
        return
    row, height = top - 0.1 * (query + 1), top - 0.3 * (query // 3 + 1)
    column = 0.3 * (query % 3)
    outline(ax, (_IMAGE + column, height), 0.3)
    outline(ax, (_TABLE, row), 1.2, 0.1)
    outline(ax, (_OUTPUT + column, height), 0.3)
    style = {"mutation_scale": 11, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0, "zorder": 4}
    arrow(ax, (_IMAGE + 0.32 + column, height + 0.15), (_TABLE - 0.02, row + 0.05), **style)
    arrow(ax, (_TABLE + 1.23, row + 0.05), (_OUTPUT - 0.02 + column, height + 0.15), **style)


def _memory(ax: Axes) -> None:
    look = {"boxstyle": "round,pad=0.02", "fc": "#FFF6E0", "ec": MECHANISM_COLOURS["external_attention"], "lw": 1.4}
    ax.add_artist(FancyBboxPatch((1.56, 1.26), 1.92, 0.48, **look))
    for slot, paint in enumerate(_SLOTS.tolist()):
        for bottom, hatch in ((1.52, {"hatch": "/////"}), (1.28, {})):
            ax.add_artist(Rectangle((2.24 + 0.3 * slot, bottom), 0.22, 0.2, fc=paint, ec="white", lw=0.7, **hatch))
    for x, y, text, side in (
        (2.14, 1.62, "keys", "right"),
        (2.14, 1.38, "values", "right"),
        (3.6, 1.6, "memory of 4 slots: learned,\nthe same for every image", "left"),
    ):
        ax.text(x, y, text, ha=side, va="center", fontsize=8)
    ax.text(3.6, 1.34, "a thick line is a large weight", ha="left", va="center", fontsize=8, color=ACCENT)
