"""Figures of the first notebook: the map of the series, and what a network says about images.

Each takes data and returns Axes; none trains, shows or keeps anything.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.path import Path
from torch import Tensor

from sasa_tutorial.teaching.strokes import arrow, outline
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, QUIET

# The map is drawn in dots, at 100 an inch: 600 across, and as many rows of pictures as it takes.
_WIDTH, _COLUMNS, _STEP = 600, 4, 150
_FIRST_ROW, _ROW = 75, 153  # centre of the first row of pictures, from above; from one row to the next
_SIDE = 8  # pixels a side of the small image in a picture
_PIXEL = 9  # dots a side of one of its pixels
_REACH = _SIDE * _PIXEL / 2
_NOT_READ = "#E9E9E9"
# The object that the small image shows; a pixel that attends by content prefers pixels of the object it lies on.
_OBJECT = ((1, 5), (1, 6), (2, 4), (2, 5), (3, 3), (3, 4), (4, 3), (5, 2), (5, 3), (6, 1), (6, 2))
_QUERY = (3, 3)


def series_map(questions: Mapping[str, str], later: Sequence[str] = ()) -> Axes:
    """The path through the mechanisms: what a pixel reads in each, and the question that leads to it.

    The pictures are schematic: the query is framed, and the stronger a cell's colour, the larger its weight.

    Args:
        questions: for each mechanism, in order, the question that the one before leaves open.
        later: names of the notebooks that come after the mechanisms, four at most.

    Raises:
        ValueError: a mechanism that does not exist, or more than four later notebooks.
    """
    unknown = [name for name in questions if name not in _PICTURES]
    if unknown:
        raise ValueError(f"no mechanism is called {unknown[0]!r}; there are: {', '.join(_PICTURES)}")
    if len(later) > 4:
        raise ValueError(f"at most 4 later notebooks fit, got {len(later)}")
    places = len(questions) + bool(later)
    height = _ROW * -(-places // _COLUMNS) - 6
    ax = plt.subplots(figsize=(_WIDTH / 100, height / 100))[1]
    ax.set(xlim=(0, _WIDTH), ylim=(height, 0), aspect="equal")
    ax.axis("off")
    _draw_path(ax, places)
    for place, (name, question) in enumerate(questions.items()):
        x, y = _centre(place)
        _PICTURES[name](ax, x - _REACH, y - _REACH, MECHANISM_COLOURS[name])
        _badge(ax, x - _REACH, y - _REACH, f"{place + 1:02d}", MECHANISM_COLOURS[name])
        ax.text(x, y - _REACH - 20, name.replace("_", " "), ha="center", va="center", fontsize=8, weight="bold")
        ax.text(x, y + _REACH + 6, textwrap.fill(question, 27), ha="center", va="top", fontsize=7, linespacing=1.15)
    if later:
        _draw_later(ax, *_centre(len(questions)), later, len(questions) + 1)
    return ax


def predictions(
    images: UInt8[Tensor, "n 3 h w"],
    labels: Int64[Tensor, " n"],
    weights: Float[Tensor, "n classes"],
    name: Callable[[int], str],
    *,
    columns: int = 2,
) -> list[Axes]:
    """Pictures, each with its class, the class a network gives it, and how sure it is; mistakes in the accent colour.

    Args:
        images: uint8, red, green, blue.
        labels: the true classes.
        weights: a softmax over the classes: the confidence in each.
        name: words for a class.
        columns: pictures in a row.
    """
    rows = -(-len(images) // columns)
    ratios = [1.0, 3.2] * columns
    _, axes = plt.subplots(rows, 2 * columns, figsize=(6, 0.72 * rows), squeeze=False, width_ratios=ratios)
    for ax in axes.flat:
        ax.axis("off")
    shown = list(axes[:, ::2].flat)[: len(images)]
    confidence, guesses = weights.max(dim=1)
    for index, (ax, words) in enumerate(zip(shown, axes[:, 1::2].flat, strict=False)):
        true, guess = int(labels[index]), int(guesses[index])
        ax.imshow(rearrange(images[index].cpu(), "c h w -> h w c").numpy())
        said = "the same" if guess == true else name(guess)
        answer = textwrap.fill(f"network: {said}, {100 * confidence[index]:.0f}\u00a0%", 34)
        colour = "black" if guess == true else ACCENT
        words.text(0, 0.53, textwrap.fill(name(true), 34), va="bottom", fontsize=7.5, transform=words.transAxes)
        words.text(0, 0.47, answer, va="top", fontsize=7.5, color=colour, transform=words.transAxes)
    return shown


def accuracy_bars(accuracies: Mapping[str, float], chance: Sequence[float], mechanism: str = "convolution") -> Axes:
    """Accuracies (percent) as bars, each with a mark where guessing would end."""
    ax = plt.subplots(figsize=(6, 0.9 + 0.3 * len(accuracies)))[1]
    places = range(len(accuracies))
    ax.barh(places, list(accuracies.values()), height=0.55, color=MECHANISM_COLOURS[mechanism])
    for place, (value, guess) in enumerate(zip(accuracies.values(), chance, strict=True)):
        label = None if place else "guessing"
        ax.plot([guess, guess], [place - 0.4, place + 0.4], color=ACCENT, linewidth=2.5, label=label)
        ax.text(max(value, guess) + 2, place, f"{value:.0f} %", va="center", fontsize=8)
    ax.set(xlim=(0, 112), xticks=range(0, 101, 25), xlabel="accuracy (%)", ylim=(len(places) - 0.4, -0.6))
    ax.set_yticks(places, list(accuracies))
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.97), borderaxespad=0)
    return ax


def _centre(place: int) -> tuple[float, float]:
    row, column = divmod(place, _COLUMNS)
    return (column + 0.5) * _STEP, _FIRST_ROW + _ROW * row


def _draw_path(ax: Axes, places: int) -> None:
    """An arrow from each picture to the next; from the end of a row around to the beginning of the next."""
    for place in range(places - 1):
        (x, y), (next_x, next_y) = _centre(place), _centre(place + 1)
        if y == next_y:
            corners = [(x + _REACH + 8, y), (next_x - _REACH - 12, y)]
        else:
            right, left, gap = _WIDTH - 4, 4, y + _REACH + 43
            corners = [(x + _REACH + 8, y), (right, y), (right, gap), (left, gap), (left, next_y)]
            corners.append((next_x - _REACH - 12, next_y))
        ax.add_patch(
            FancyArrowPatch(
                path=_rounded(corners), arrowstyle="-|>", mutation_scale=9, color="#B5B5B5", linewidth=1.6, zorder=0
            )
        )


def _rounded(corners: Sequence[tuple[float, float]], radius: float = 8) -> Path:
    points, codes = [corners[0]], [Path.MOVETO]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        for towards, code in ((before, Path.LINETO), (after, Path.CURVE3)):
            way = np.subtract(towards, corner)
            near = np.add(corner, way * min(radius / np.hypot(*way), 0.5))
            if code == Path.CURVE3:
                points.append(corner)
                codes.append(code)
            points.append(tuple(near))
            codes.append(code)
    return Path([*points, corners[-1]], [*codes, Path.LINETO])


def _badge(ax: Axes, x: float, y: float, text: str, colour: str) -> None:
    ax.add_patch(Circle((x, y), 9.5, facecolor=colour, edgecolor="white", linewidth=1.2, zorder=4))
    dark = sum(share * part for share, part in zip((0.299, 0.587, 0.114), to_rgb(colour), strict=True)) < 0.5
    ink = "white" if dark else "black"
    ax.text(x, y + 0.5, text, ha="center", va="center", fontsize=7, weight="bold", color=ink, zorder=5)


def _draw_later(ax: Axes, x: float, y: float, names: Sequence[str], first: int) -> None:
    ax.text(x, y - _REACH - 20, "and then", ha="center", va="center", fontsize=8, weight="bold")
    for index, name in enumerate(names):
        top = y - _REACH + 4 + (34 if len(names) < 4 else 29) * index
        _badge(ax, x - _REACH - 2, top + 8, f"{first + index:02d}", QUIET)
        ax.text(x - _REACH + 12, top + 8, textwrap.fill(name, 16), ha="left", va="center", fontsize=7)


def _cells(ax: Axes, left: float, top: float, weights: np.ndarray, colour: str) -> None:
    """Pixels, each the deeper in colour the larger its weight (0 to 1); grey ones are not read. NaN: no pixel."""
    ink = np.array(to_rgb(colour))
    for (i, j), weight in np.ndenumerate(weights):
        if not np.isnan(weight):
            paint = _NOT_READ if weight == 0 else tuple(1 + (ink - 1) * weight)
            place = (left + j * _PIXEL, top + i * _PIXEL)
            ax.add_patch(Rectangle(place, _PIXEL, _PIXEL, facecolor=paint, edgecolor="white", linewidth=0.7, zorder=2))


def _frame(ax: Axes, left: float, top: float, first: tuple[int, int], cells: int, colour: str, width: float) -> None:
    place = (left + first[1] * _PIXEL, top + first[0] * _PIXEL)
    outline(ax, place, cells * _PIXEL, color=colour, linewidth=width, zorder=3)


def _query(ax: Axes, left: float, top: float, pixel: tuple[int, int] = _QUERY) -> None:
    _frame(ax, left, top, pixel, 1, "white", 2.8)
    _frame(ax, left, top, pixel, 1, "black", 1.3)


def _by_content() -> np.ndarray:
    weights = np.full((_SIDE, _SIDE), 0.15)
    weights[tuple(np.transpose(_OBJECT))] = 0.95
    return weights


def _inside(weights: np.ndarray, reach: int) -> np.ndarray:
    """The weights in the window around the query, 0 elsewhere."""
    near = np.abs(np.arange(_SIDE) - _QUERY[0]) <= reach
    return np.where(near[:, None] & near, weights, 0)


def _kernel() -> np.ndarray:
    distance = np.abs(np.arange(_SIDE) - _QUERY[0])
    return _inside(0.95 - 0.3 * (distance[:, None] + distance), reach=1)


def _draw_convolution(ax: Axes, left: float, top: float, colour: str) -> None:
    _cells(ax, left, top, _kernel(), colour)
    _query(ax, left, top)


def _draw_global_attention(ax: Axes, left: float, top: float, colour: str) -> None:
    _cells(ax, left, top, _by_content(), colour)
    _query(ax, left, top)


def _draw_local_attention(ax: Axes, left: float, top: float, colour: str) -> None:
    _cells(ax, left, top, _inside(_by_content(), reach=2), colour)
    _query(ax, left, top)


def _draw_relative_offsets(ax: Axes, left: float, top: float, colour: str) -> None:
    """The query prefers one direction: cells to its upper right weigh more, whatever lies there."""
    offset = np.arange(_SIDE) - _QUERY[0]
    direction = np.exp(0.35 * (offset - offset[:, None] - 3))
    _cells(ax, left, top, _inside(np.clip(_by_content() * 0.55 + direction * 0.5, 0, 1), reach=2), colour)
    _query(ax, left, top)
    middle = (_QUERY[0] + 0.5) * _PIXEL
    tail, head = (left + middle, top + middle), (left + middle + 2 * _PIXEL, top + middle - 2 * _PIXEL)
    arrow(ax, tail, head, "black", mutation_scale=8, linewidth=1, shrinkA=4, shrinkB=0, zorder=4)


def _draw_attention_stem(ax: Axes, left: float, top: float, colour: str) -> None:
    """Attention inside blocks of 4 x 4 pixels; what a pixel hands on depends on its place in the block."""
    weights = np.zeros((_SIDE, _SIDE))
    place = np.arange(4)
    weights[4:, 4:] = 0.2 + 0.13 * (place[:, None] + place)
    _cells(ax, left, top, weights, colour)
    for first in ((0, 0), (0, 4), (4, 0), (4, 4)):
        _frame(ax, left, top, first, 4, "white", 3)
    _frame(ax, left, top, (4, 4), 4, colour, 1.4)
    _query(ax, left, top, (5, 5))


def _draw_augmented_convolution(ax: Axes, left: float, top: float, colour: str) -> None:
    """Both at once: the kernel in convolution's colour, every pixel of the image in attention's."""
    kernel = _kernel()
    _cells(ax, left, top, _by_content(), colour)
    _cells(ax, left, top, np.where(kernel > 0, kernel, np.nan), MECHANISM_COLOURS["convolution"])
    _query(ax, left, top)


def _draw_external_attention(ax: Axes, left: float, top: float, colour: str) -> None:
    """The query reads four slots of a memory, and no pixel."""
    image = np.zeros((_SIDE, _SIDE))
    image[:, 5:] = np.nan
    _cells(ax, left, top, image, colour)
    start = (left + (_QUERY[1] + 1) * _PIXEL, top + (_QUERY[0] + 0.5) * _PIXEL)
    for slot, weight in enumerate((0.2, 0.95, 0.5, 0.15)):
        x, y = left + 6 * _PIXEL + 2, top + 2 * slot * _PIXEL
        paint = tuple(1 + (np.array(to_rgb(colour)) - 1) * weight)
        ax.add_patch(Rectangle((x, y + 1), 16, 16, facecolor=paint, edgecolor=colour, linewidth=1, zorder=3))
        ax.plot((start[0], x), (start[1], y + 9), color=colour, linewidth=0.4 + 1.6 * weight, zorder=3)
    _query(ax, left, top)


_PICTURES = {
    "convolution": _draw_convolution,
    "global_attention": _draw_global_attention,
    "local_attention": _draw_local_attention,
    "relative_offsets": _draw_relative_offsets,
    "attention_stem": _draw_attention_stem,
    "augmented_convolution": _draw_augmented_convolution,
    "external_attention": _draw_external_attention,
}
