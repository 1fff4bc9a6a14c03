"""The picture that opens the lesson on local attention: a window walks over an image, and an output grows behind it."""

from functools import cache
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from torch import Tensor

from sasa_tutorial.layers import gather_windows, inside_image
from sasa_tutorial.teaching.animation import stage
from sasa_tutorial.teaching.strokes import arrow, cells, outline, words
from sasa_tutorial.teaching.style import ACCENT, POSITIVE_MAP

NO_PIXEL = "#E6E6E6"  # cells of a window that lie outside the image
_AT_CORNER = "#0072B2"
_INK, _EDGE = "#222222", "#BBBBBB"
_LOOK = {"edgecolor": _EDGE, "zorder": 0, "joinstyle": "round"}
_TITLE = {"ha": "center", "fontsize": 8, "color": _INK}
_ARROW = {"mutation_scale": 8, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, "zorder": 5}
# A small picture: a light shape on dark ground, every pixel a little different.
_SHAPE = ("##....", "#..##.", "...#..", "..##..", ".###..", "......")
_LIGHT, _DARK = (0.98, 0.76, 0.36), (0.20, 0.36, 0.48)
_CORNER, _INSIDE = (0, 0), (3, 3)  # the two queries of the complete picture
_CELL = 2.1
_IMAGE, _STEPS, _OUTPUT = 0.5, (15.6, 23.3, 31.0, 38.7), 46.9  # from the left
_PICTURES, _ROWS = 6.0, (3.2, 13.6)  # from the top
# The corner is done; then pixel by pixel for three rows, and by leaps through the other three.
_WALK = tuple(divmod(n, 6) for n in (*range(1, 18), *range(19, 36, 2)))
LOCAL_ATTENTION_FRAMES = len(_WALK) + 2  # the complete picture comes first and last


def local_attention_schematic(frame: int = 0) -> Axes:
    """The mechanism on a picture of 6 x 6 pixels: window, logits, weights, values and output of two queries.

    The logits are minus 4 times the squared difference of two colours (a dot product, up to what is the same for the
    whole window), so that a query asks for pixels like itself; weights and outputs are computed from them.

    Args:
        frame: 0 to LOCAL_ATTENTION_FRAMES - 1, for `teaching.show_loop`. In the first and the last the output is
            complete; in those between, one of the windows walks over the image, and the output grows behind it.
    """
    walking = 0 < frame < LOCAL_ATTENTION_FRAMES - 1
    inside_query = _WALK[frame - 1] if walking else _INSIDE
    ax = stage(_still, size=(6, 2.35), xlim=(0, 60), ylim=(23.5, 0), aspect="equal")
    done = 6 * inside_query[0] + inside_query[1] if walking else 35
    answered = rearrange(torch.arange(36) <= done, "(h w) -> h w 1", h=6)
    output = torch.where(answered, rearrange(_mechanism()[-1], "c h w -> h w c"), 1.0)
    cells(ax, (_OUTPUT, _PICTURES), output, _CELL, **_LOOK)
    _four_steps(ax, inside_query, _ROWS[1], ACCENT)
    _way_in_and_out(ax, *_CORNER, _ROWS[0], _AT_CORNER)  # moves not, but lies above cells and frames that do
    _query_and_window(ax, *inside_query, ACCENT)
    _from_step_to_step(ax, _ROWS[1])
    _way_in_and_out(ax, *inside_query, _ROWS[1], ACCENT)
    return ax


def _still(ax: Axes) -> None:
    for left, name in zip(_STEPS, ("window", "logits", "weights", "weight × value"), strict=True):
        words(ax, left + 1.5 * _CELL, 1.6, name, **_TITLE)
    for left, name in ((_IMAGE, "image"), (_OUTPUT, "output")):
        words(ax, left + 3 * _CELL, 4.6, name, **_TITLE)
    cells(ax, (_IMAGE, _PICTURES), rearrange(_mechanism()[0], "c h w -> h w c"), _CELL, **_LOOK)
    _four_steps(ax, _CORNER, _ROWS[0], _AT_CORNER)
    _query_and_window(ax, *_CORNER, _AT_CORNER)
    _from_step_to_step(ax, _ROWS[0])


@cache
def _mechanism() -> tuple[Tensor, ...]:
    """The picture, and of each of its pixels: window, what of it is inside, logits, weights; and the output."""
    picture = _small_picture()
    windows, inside = gather_windows(picture[None], 3)[0], inside_image(6, 6, 3)
    logits = -4 * (windows - picture[..., None, None]).square().sum(dim=0)
    flat = rearrange(logits.masked_fill(~inside, -torch.inf), "h w kh kw -> h w (kh kw)")
    weights = rearrange(torch.softmax(flat, dim=-1), "h w (kh kw) -> h w kh kw", kh=3)
    output = einsum(weights, windows, "h w kh kw, c h w kh kw -> c h w")
    return picture, windows, inside, logits, weights, output


def _small_picture() -> Float[Tensor, "3 6 6"]:
    light: Int64[Tensor, "6 6"] = torch.tensor([[mark == "#" for mark in row] for row in _SHAPE]).long()
    colours = rearrange(torch.tensor((_DARK, _LIGHT))[light], "h w c -> c h w")
    shades = 0.11 * torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(3))
    return (colours + shades).clamp(0, 1)


def _window_of(i: int, j: int) -> tuple[float, float, float, float]:
    """Left, top, width and height of what lies inside the image."""
    a, b, c, d = max(i - 1, 0), min(i + 2, 6), max(j - 1, 0), min(j + 2, 6)
    return _IMAGE + _CELL * c, _PICTURES + _CELL * a, _CELL * (d - c), _CELL * (b - a)


def _query_and_window(ax: Axes, i: int, j: int, colour: str) -> None:
    """Their frames on the image."""
    x, y, width, height = _window_of(i, j)
    outline(ax, (x, y), width, height, color=colour)
    outline(ax, (_IMAGE + _CELL * j, _PICTURES + _CELL * i), _CELL, color=colour)
    middle = {"ha": "center", "va": "center", "fontsize": 7.5, "zorder": 5}
    shade = "white" if _SHAPE[i][j] == "." else "black"
    ax.text(_IMAGE + _CELL * (j + 0.5), _PICTURES + _CELL * (i + 0.5), "q", color=shade, **middle)


def _from_step_to_step(ax: Axes, top: float) -> None:
    for left, right in pairwise(_STEPS):
        y = top + 1.5 * _CELL
        arrow(ax, (left + 3 * _CELL + 0.1, y), (right - 0.1, y), _INK, **_ARROW)


def _way_in_and_out(ax: Axes, i: int, j: int, top: float, colour: str) -> None:
    """Arrows to the enlarged window, whose first row lies at `top`, and from its last step to the framed output."""
    x, y, width, height = _window_of(i, j)
    middle = top + 1.5 * _CELL
    arrow(ax, (x + width, y + height / 2), (_STEPS[0] - 0.3, middle), colour, **_ARROW)
    end = (_OUTPUT + _CELL * j, _PICTURES + _CELL * (i + 0.5))
    outline(ax, (end[0], end[1] - _CELL / 2), _CELL, color=colour)
    arrow(ax, (_STEPS[3] + 3 * _CELL + 0.3, middle), end, colour, **_ARROW)


def _four_steps(ax: Axes, query: tuple[int, int], top: float, colour: str) -> None:
    """Cells, numbers of logits and weights, values as large as their weights, and a note."""
    _, windows, *rest, _ = _mechanism()
    pixels, (inside, logits, weights) = windows[(slice(None), *query)], (part[query] for part in rest)
    end = float(weights.max())
    shares, white = plt.get_cmap(POSITIVE_MAP)(weights.numpy().astype(float) / end)[..., :3], np.ones((3, 3, 3))
    for left, fill in zip(_STEPS, (rearrange(pixels, "c kh kw -> kh kw c"), white, shares, white), strict=True):
        cells(ax, (left, top), np.where(inside[..., None], fill, to_rgb(NO_PIXEL)), _CELL, **_LOOK)
    middle = {"ha": "center", "va": "center", "fontsize": 6.2}
    for a, b in torch.cartesian_prod(torch.arange(3), torch.arange(3)).tolist():
        y, weight = top + _CELL * a, float(weights[a, b])
        xs = [left + _CELL * b for left in _STEPS]
        if not inside[a, b]:
            continue
        said = f"{float(logits[a, b]):.1f}".replace("-0.0", "0.0")
        ax.text(xs[1] + _CELL / 2, y + _CELL / 2, said, **middle)
        ink = "white" if weight < 0.6 * end else "black"
        ax.text(xs[2] + _CELL / 2, y + _CELL / 2, f"{weight:.2f}"[1:], color=ink, **middle)
        part = _CELL * min(1.0, 0.92 * (weight / end) ** 0.5)
        shift = (_CELL - part) / 2
        ax.add_artist(Rectangle((xs[3] + shift, y + shift), part, part, color=pixels[:, a, b].tolist(), lw=0))
    outline(ax, (_STEPS[0] + _CELL, top + _CELL), _CELL, color=colour)
    count = int(inside.sum())
    place = {4: "at a corner", 6: "at an edge", 9: "inside"}[count]
    note = f"{place}: {count} pixels share a weight of 1"
    ax.text(_STEPS[0], top + 3 * _CELL + 1.3, note, ha="left", va="center", fontsize=7.5, color=colour)
