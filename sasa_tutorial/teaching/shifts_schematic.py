"""Local attention turned inside out: not for each pixel its window, but for each cell of the window all pixels."""

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from sasa_tutorial.teaching.strokes import cells, outline
from sasa_tutorial.teaching.style import ACCENT, POSITIVE_MAP, QUIET

_EXTENT, _H, _W = 3, 4, 5
_KEYS = torch.tensor([[2, 3, 3, 2, 1], [3, 9, 9, 4, 1], [2, 9, 8, 3, 2], [1, 3, 4, 2, 1]]) / 9
_QUERIES = torch.tensor([[1, 2, 3, 4, 5], [2, 3, 5, 6, 7], [3, 5, 6, 8, 8], [4, 6, 7, 8, 9]]) / 9
_SMALL = 0.46  # side of a pixel in the planes of logits
_LEFTS = {"window": 0.0, "keys": 4.7, "queries": 13.4, "logits": 20.1}
SHIFTS_FRAMES = _EXTENT**2 + 2  # one for each cell of the window; the whole picture comes first and last


def shifts_schematic(frame: int = 0) -> Axes:
    """One cell of a 3 x 3 window at a time: a slice of the padded keys times all queries is one plane of logits.

    Pixels have one channel here, so that a product of planes is all there is to a logit; logits that a pixel at the
    edge has not are left grey.

    Args:
        frame: 0 to SHIFTS_FRAMES - 1, for `teaching.show_loop`. In the first and the last all planes are there, and
            the cell above and to the left is shown; in those between, the slice walks from cell to cell.
    """
    walking = 0 < frame < SHIFTS_FRAMES - 1
    cell = frame - 1 if walking else 0
    padded, inside = (F.pad(t, (1, 1, 1, 1)) for t in (_KEYS, torch.ones(_H, _W)))
    figure = plt.figure(figsize=(6, 2.05), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    a, b = divmod(cell, _EXTENT)
    window = [[ACCENT if (row, col) == (a, b) else "white" for col in range(_EXTENT)] for row in range(_EXTENT)]
    cells(ax, (0, 1.5), window, 1, edgecolor=QUIET, linewidth=0.8)
    ax.text(1.5, 3.03, "i, j", ha="center", va="center", fontsize=7)
    _plane(ax, (_LEFTS["keys"], 0), 1, padded, inside)
    outline(ax, (_LEFTS["keys"] + b, a), _W, _H, linewidth=2.4)
    _plane(ax, (_LEFTS["queries"], 1), 1, _QUERIES)
    for place in range(cell + 1 if walking else _EXTENT**2):
        row, col = divmod(place, _EXTENT)
        corner = (_LEFTS["logits"] + col * (_W * _SMALL + 0.3), row * (_H * _SMALL + 0.3) - 0.05)
        view = (slice(row, row + _H), slice(col, col + _W))
        _plane(ax, corner, _SMALL, _QUERIES * padded[view], inside[view], POSITIVE_MAP)
        if place == cell:
            outline(ax, corner, _W * _SMALL, _H * _SMALL, linewidth=2)
    words = (
        (1.5, "one cell", "of the window"),
        (_LEFTS["keys"] + 3.5, "keys", "a slice: nothing is copied"),
        (_LEFTS["queries"] + 2.5, "queries", "all of them"),
        (_LEFTS["logits"] + 3.75, "logits", "a plane for each cell"),
    )
    for x, title, below in words:
        ax.text(x, -1.95, title, ha="center", va="center", fontsize=10, weight="bold")
        ax.text(x, -0.95, below, ha="center", va="center", fontsize=7.5)
    for x, sign in ((3.85, "→"), (12.55, "×"), (19.25, "→")):
        ax.text(x, 3, sign, ha="center", va="center", fontsize=13, weight="bold")
    ax.set(xlim=(-0.5, 28.1), ylim=(6.9, -2.85), aspect="equal")
    ax.axis("off")
    return ax


def _plane(ax: Axes, corner, side: float, values: Tensor, inside: Tensor | None = None, colours: str = "Greys") -> None:
    """Pixels of a plane; those that are not inside are light grey."""
    (left, top), (rows, cols) = corner, values.shape
    shown = plt.get_cmap(colours)(0.08 + 0.8 * values.numpy())
    if inside is not None:
        shown[inside.numpy() == 0] = (0.93, 0.93, 0.93, 1)
    place = (left, left + cols * side, top + rows * side, top)
    ax.imshow(shown, extent=place, interpolation="nearest", aspect="auto", zorder=1)
    if side == 1:
        for row in range(rows):
            for col in range(cols):
                line = {"fill": False, "edgecolor": "white", "linewidth": 0.6, "zorder": 2}
                ax.add_artist(Rectangle((left + col, top + row), 1, 1, **line))
