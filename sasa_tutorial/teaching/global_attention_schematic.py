"""The picture that opens the lesson on global attention, and the toy that it shows, in numbers.

Colours of marks are Okabe and Ito's and each has a shape of its own, so that nobody has to see colours.
"""

from collections.abc import Mapping
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.style import ACCENT

MARK_COLOURS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7")  # orange, blue, green, pink
MARK_SHAPES = ("o", "s", "^", "D")
_GROUND = "#D9D9D9"
_SCENE = ((1, 0, 1), (2, 3, 2))  # row, column, colour: 1 orange, 2 blue
_SIDE = 4


def global_attention_schematic() -> Axes:
    """One query meets the key of every pixel; softmax makes weights of the logits; the values are averaged.

    The logits are those of the lesson's toy: the other colour is liked (+4), the own one is not (-4), the ground is
    indifferent (0). The weights are their softmax, and the output is mixed from the colours by these weights.
    """
    scene = torch.zeros(_SIDE, _SIDE, dtype=torch.int64)
    for row, col, colour in _SCENE:
        scene[row, col] = colour
    logits = torch.tensor([0.0, -4.0, 4.0])[scene]
    weights = logits.flatten().softmax(dim=0).reshape(scene.shape)

    figure, axes = plt.subplots(1, 5, figsize=(6, 1.95))
    figure.set_layout_engine("none")  # the panels have their places
    for ax, left in zip(axes[:4], (0.005, 0.232, 0.459, 0.686), strict=True):
        ax.set_position((left, 0.06, 0.195, 0.6))
    axes[4].set_position((0.915, 0.22, 0.08, 0.28))
    query = _SCENE[0][:2]
    draw_scene(axes[0], scene)
    for row, col in ((a, b) for a in range(_SIDE) for b in range(_SIDE) if (a, b) != query):
        line = {"arrowstyle": "-", "color": ACCENT, "linewidth": 0.8, "alpha": 0.8, "shrinkA": 9, "shrinkB": 0}
        axes[0].add_patch(FancyArrowPatch((query[1], query[0]), (col, row), **line))
    matrix(logits.round(), numbers=True, rows="", cols="", ax=axes[1])
    matrix((100 * weights).round() / 100, numbers=True, signed=False, rows="", cols="", ax=axes[2])
    draw_scene(axes[3], scene)
    _draw_output(axes[4], scene, weights)
    titles = (
        ("one query", "asks every pixel"),
        ("logits", "query · key"),
        ("weights", "softmax: they sum to 1"),
        ("values", "what each pixel gives"),
        ("output", "weighted sum"),
    )
    for ax, (title, words) in zip(axes, titles, strict=True):
        ax.text(0.5, 1.21 if ax is not axes[4] else 1.45, title, **_words(ax, 10, "bold"))
        ax.text(0.5, 1.07 if ax is not axes[4] else 1.15, words if ax is not axes[4] else "the sum", **_words(ax, 7.5))
        ax.spines[:].set_visible(False)
    for ax in axes[1:3]:
        _frame(ax, query)
    _frame(axes[0], query)
    for left, right in pairwise(axes):
        _between(figure, left, right, "×" if right is axes[3] else "→")
    return axes[0]


def toy_maps(
    scenes: Mapping[str, tuple[Int64[Tensor, "h w"], Float[Tensor, "h w"], Float[Tensor, "h w"]]],
    query: tuple[int, int],
) -> list[list[Axes]]:
    """Scenes of marks, one a row: the picture, the logits of one query, and its weights, with numbers.

    Args:
        scenes: by name: colours (0 is ground, 1 and up are marks), logits, weights.
        query: its row and column.
    """
    _, grid = plt.subplots(len(scenes), 3, figsize=(6, 1.35 * len(scenes) + 0.25), squeeze=False)
    ends = [max(float(scene[part].abs().max()) for scene in scenes.values()) for part in (1, 2)]
    for axes, (name, (scene, logits, weights)) in zip(grid, scenes.items(), strict=True):
        draw_scene(axes[0], scene)
        matrix((10 * logits).round() / 10, numbers=True, limit=ends[0], rows="", cols="", ax=axes[1])
        shown = (100 * weights).round() / 100
        matrix(shown, numbers=True, signed=False, limit=ends[1], rows="", cols="", ax=axes[2])
        axes[0].set_ylabel(name, fontsize=9)
        for ax in axes:
            _frame(ax, query)
    for ax, title in zip(grid[0], ("picture", "logits of the framed query", "weights"), strict=True):
        ax.set_title(title, fontsize=9)
    return grid.tolist()


def draw_scene(ax: Axes, scene: Int64[Tensor, "h w"]) -> None:
    """Cells of ground, and marks in their colour and with their shape."""
    height, width = scene.shape
    for row, col in ((a, b) for a in range(height) for b in range(width)):
        colour = int(scene[row, col])
        face = MARK_COLOURS[colour - 1] if colour else _GROUND
        ax.add_patch(Rectangle((col - 0.5, row - 0.5), 1, 1, facecolor=face, edgecolor="white", linewidth=0.8))
        if colour:
            put_shape(ax, (row, col), colour - 1, size=26)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def put_shape(ax: Axes, place: tuple[float, float], colour: int, *, size: float) -> None:
    """The shape that goes with a colour of a mark, at (row, column)."""
    style = {"facecolor": "white", "edgecolor": "black", "linewidth": 0.7, "zorder": 3}
    ax.scatter(place[1], place[0], s=size, marker=MARK_SHAPES[colour], **style)


def _draw_output(ax: Axes, scene: Tensor, weights: Tensor) -> None:
    """The average of the colours under the weights, as one cell."""
    palette = [plt.matplotlib.colors.to_rgb(colour) for colour in (_GROUND, *MARK_COLOURS)]
    colours = rearrange(torch.tensor(palette)[scene], "h w rgb -> (h w) rgb")
    mixed = (weights.flatten() @ colours).tolist()
    ax.add_patch(Rectangle((-0.5, -0.5), 1, 1, facecolor=mixed, edgecolor=ACCENT, linewidth=2))
    ax.set(xlim=(-0.6, 0.6), ylim=(0.6, -0.6), aspect="equal", xticks=[], yticks=[])
    ax.text(0, 0, f"{weights[_SCENE[1][:2]]:.0%}\nblue", ha="center", va="center", fontsize=7, color="white")
    ax.spines[:].set_visible(False)


def _frame(ax: Axes, query: tuple[int, int]) -> None:
    style = {"fill": False, "color": ACCENT, "linewidth": 2.2, "clip_on": False, "zorder": 4}
    ax.add_patch(Rectangle((query[1] - 0.5, query[0] - 0.5), 1, 1, **style))


def _between(figure, left: Axes, right: Axes, sign: str) -> None:
    """An arrow or a sign in the gap between two panels."""
    x = (left.get_position().x1 + right.get_position().x0) / 2
    size = {"×": 15, "→": 14}[sign]
    figure.text(x, 0.36, sign, ha="center", va="center", fontsize=size, weight="bold")


def _words(ax: Axes, size: float, weight: str = "normal") -> dict:
    return {"transform": ax.transAxes, "ha": "center", "va": "center", "fontsize": size, "weight": weight}
