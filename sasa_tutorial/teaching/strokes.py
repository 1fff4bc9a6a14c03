"""What figures drawn by hand share: words, arrows, outlines, coloured cells, and the border of a panel."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyArrowPatch, Rectangle
from numpy.typing import ArrayLike

from sasa_tutorial.teaching.style import ACCENT, QUIET

_Point = tuple[float, float]
# Below add_artist, not add_patch, which looks for new limits of the axes with every cell: half the time of a frame.


def words(ax: Axes, x: float, y: float, text: str, **options: object) -> None:
    """Small black words that begin at (x, y); options are those of `Axes.text`."""
    ax.text(x, y, text, **{"ha": "left", "va": "center", "fontsize": 7.5, "color": "black", **options})


def arrow(ax: Axes, tail: _Point, head: _Point, color: str = ACCENT, **options: object) -> None:
    """A thin arrow from tail to head, in the units of the axes; options are those of `FancyArrowPatch`."""
    style = {"arrowstyle": "-|>", "mutation_scale": 10, "linewidth": 1.4, **options}
    ax.add_artist(FancyArrowPatch(tail, head, color=color, **style))


def outline(ax: Axes, corner: _Point, width: float, height: float | None = None, **options: object) -> None:
    """An empty rectangle, by default a square in the accent colour; options are those of `Rectangle`."""
    style = {"fill": False, "color": ACCENT, "linewidth": 1.8, "zorder": 4, **options}
    ax.add_artist(Rectangle(corner, width, width if height is None else height, **style))


def cells(
    ax: Axes,
    corner: _Point,
    colours: ArrayLike,
    width: float,
    height: float | None = None,
    *,
    drawn: int | None = None,
    **options: object,
) -> None:
    """Coloured cells row by row, the first at the corner, as one artist; options are those of `PolyCollection`.

    Args:
        height: of a cell, by default its width; negative where the y axis points up, for rows run downwards.
        drawn: how many cells have their colours; those after them are empty.
    """
    height = width if height is None else height
    style = {"edgecolor": "white", "linewidth": 0.5, "zorder": 2, "joinstyle": "miter", **options}
    colours = np.asarray(colours)
    rows, cols = colours.shape[:2]
    places = np.array(list(np.ndindex(rows, cols)))[:, None, ::-1]  # cell, corner, (x, y)
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    corners = np.array(corner) + (places + square) * (width, height)
    faces = [to_rgba(colours[i, j]) for i, j in np.ndindex(rows, cols)]
    if drawn is not None:
        empty = max(0, len(faces) - drawn)
        faces[drawn:] = ["white"] * empty
        style["edgecolor"] = [style["edgecolor"]] * drawn + [QUIET] * empty
        style["linewidth"] = [style["linewidth"]] * drawn + [0.5] * empty
    ax.add_artist(PolyCollection(corners, facecolor=faces, **style))


def border(ax: Axes) -> None:
    """A thin grey border, and no ticks."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=QUIET, linewidth=0.5)
