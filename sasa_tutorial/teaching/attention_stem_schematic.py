"""The attention stem in one picture: values mixed by place, weights, sums, the largest of them."""

from functools import cache
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from sasa_tutorial.teaching.animation import stage
from sasa_tutorial.teaching.strokes import arrow, cells, outline
from sasa_tutorial.teaching.style import POSITIVE_MAP, QUIET, SIGNED_MAP

MATRICES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # of Okabe and Ito: one for each value matrix
_CELL = 0.2  # inches, of a grid in the schematic
_PIXELS, _WEIGHTS, _SUMS = (0.15, 1.05), (3.0, 0.28), (4.3, 1.05)  # lower left corners, in inches
_QUERY = 5  # of the 16 pixels: whose weights the picture shows when it stands still
ATTENTION_STEM_FRAMES = 16 + 2  # one for each query; the whole picture comes first and last


def attention_stem_schematic(frame: int = 0) -> Axes:
    """The whole stem on one block of 4 x 4 pixels: values mixed by place, weights, weighted sums, the largest of them.

    All numbers are computed: a dark left and a light right half, four matrices in the four quarters (minus brightness
    on the left, plus brightness on the right), and a head whose queries, keys and r are multiples of brightness.

    Args:
        frame: 0 to ATTENTION_STEM_FRAMES - 1, for `teaching.show_loop`. In the first and the last all sums are there,
            and the largest is the output; in those between, the pixels ask one after another, and the sums grow.
    """
    ax = stage(_still, size=(6, 2.9), xlim=(0, 6), ylim=(0, 2.9))
    light, values, end = _numbers()
    weights = _weights(light)
    answers = (weights @ values.ravel()).reshape(4, 4)
    walking = 0 < frame < ATTENTION_STEM_FRAMES - 1
    asked = frame - 1 if walking else _QUERY
    seen = weights[asked].reshape(4, 4) / weights.max()
    _grid(ax, _WEIGHTS, plt.get_cmap(POSITIVE_MAP)(seen))
    _grid(ax, _SUMS, _signed(answers, end), drawn=asked + 1 if walking else 16)
    for left, bottom in (_PIXELS, _WEIGHTS, _SUMS):
        place = (left + asked % 4 * _CELL, bottom + (3 - asked // 4) * _CELL)
        outline(ax, place, _CELL, linewidth=1.6, path_effects=[withStroke(linewidth=3, foreground="white")])
    if not walking:
        row, column = np.unravel_index(answers.argmax(), answers.shape)
        place = (4.3 + column * _CELL, 1.05 + (3 - row) * _CELL)
        outline(ax, place, _CELL, color="black", linewidth=1.4)
        ax.text(4.7, 0.98, "black: the largest", ha="center", va="top", fontsize=8)
    largest = "white" if walking else _signed(answers.max(), end)
    ax.add_artist(Rectangle((5.55, 1.275), 0.35, 0.35, facecolor=largest, edgecolor="black", linewidth=1.4))
    return ax


def _still(ax: Axes) -> None:
    light, values, end = _numbers()
    tint = np.array([0.95, 1.0, 0.8])  # greenish yellow where it is light
    pixels = np.clip((0.5 + 0.45 * light)[..., None] * tint + np.array([0.0, 0.0, 0.12]), 0, 1)
    colours = np.array([plt.matplotlib.colors.to_rgb(colour) for colour in MATRICES])
    _grid(ax, _PIXELS, pixels)
    _grid(ax, (1.7, 1.82), np.einsum("mab,mc->abc", _shares(), colours))
    _grid(ax, (3.0, 1.82), _signed(values, end))
    for x, y, title, side in (
        (0.55, 1.9, "4 × 4 raw pixels", "bottom"),
        (2.1, 2.67, "a matrix for each place", "bottom"),
        (3.4, 2.67, "values $\\tilde{v}$", "bottom"),
        (3.4, 0.23, "weights of one query", "top"),
        (4.7, 1.9, "16 weighted sums", "bottom"),
    ):
        ax.text(x, y, title, ha="center", va=side, fontsize=8)
    ax.text(5.725, 1.68, "output", ha="center", fontsize=8)
    for m, colour in enumerate(MATRICES):
        x, y = 1.1 + 0.3 * (m % 2), 2.24 - 0.2 * (m // 2)
        ax.text(x, y, f"$W^{m + 1}$", fontsize=9, color=colour, ha="center", weight="bold")
    ax.text(1.25, 2.46, "mixed by $p$:", fontsize=8, ha="center")
    quiet = {"color": QUIET, "mutation_scale": 9, "linewidth": 1.2}
    arrow(ax, (1.5, 2.2), (1.67, 2.2), **quiet)
    arrow(ax, (0.98, 1.5), (2.96, 1.92), connectionstyle="arc3,rad=0.3", **quiet)
    arrow(ax, (2.53, 2.22), (2.97, 2.22), **quiet)
    ax.text(2.75, 2.26, "times\npixel", ha="center", va="bottom", fontsize=8)
    arrow(ax, (0.98, 1.3), (2.96, 0.68), connectionstyle="arc3,rad=0.15", **quiet)
    ax.text(1.5, 0.66, "softmax of\nq·k + q·r", fontsize=8, ha="center", va="center")
    arrow(ax, (3.84, 2.1), (4.27, 1.7), **quiet)
    arrow(ax, (3.84, 0.85), (4.27, 1.25), **quiet)
    ax.text(3.98, 1.47, "times,\nsum", fontsize=8, ha="center", va="center")
    arrow(ax, (5.13, 1.45), (5.53, 1.45), **quiet)
    ax.text(5.33, 1.49, "max", ha="center", va="bottom", fontsize=8)


@cache
def _numbers() -> tuple[np.ndarray, np.ndarray, float]:
    """Brightness of the pixels (0 for the mean), their values, and the largest of these."""
    light = np.array([-0.55, -0.5, 0.5, 0.55]) + np.random.default_rng(3).normal(0, 0.08, (4, 4))
    values = (_shares() * np.array([-1, 1, -1, 1])[:, None, None]).sum(axis=0) * light
    return light, values, np.abs(values).max()


def _shares() -> np.ndarray:
    """p(a, b, m): each of four matrices has most of one quarter."""
    after = 1 / (1 + np.exp(-2.5 * np.array([-1.5, -0.5, 0.5, 1.5])))  # how much of "right" or of "lower"
    before = 1 - after
    quarters = [np.outer(rows, cols) for rows, cols in product((before, after), (before, after))]
    return np.array(quarters)


def _weights(light: np.ndarray) -> np.ndarray:
    """16 queries by 16 keys: light pixels look to the right and down, dark ones to the left and up."""
    flat, places = light.ravel(), np.array(list(product(range(4), repeat=2)))
    apart = places[None] - places[:, None]  # query, key, (rows, columns)
    logits = 2 * np.outer(flat, flat) + flat[:, None] * (apart @ np.array([0.8, 1.0]))
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True)


def _signed(values: np.ndarray, end: float) -> np.ndarray:
    return plt.get_cmap(SIGNED_MAP)(0.5 + 0.45 * values / end)


def _grid(ax: Axes, corner: tuple[float, float], colours: np.ndarray, drawn: int = 16) -> None:
    """4 x 4 coloured cells, their lower left corner at `corner`; those after the first `drawn` are empty frames."""
    left, bottom = corner
    cells(ax, (left, bottom + 4 * _CELL), colours, _CELL, -_CELL, drawn=drawn, linewidth=0.8)
