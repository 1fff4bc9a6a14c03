"""The skew trick as a figure: a strip of logits is written line by line, and read in lines one shorter."""

import matplotlib.pyplot as plt
from jaxtyping import Int64
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from sasa_tutorial.teaching.strokes import arrow, outline, words
from sasa_tutorial.teaching.style import QUIET

_PADDING, _OUTSIDE = -1, -2  # in the cells of `skew_steps`: a zero that was added; an offset that leads to no pixel
_QUERY_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_QUERY_INK = ("white", "black", "white", "black")
_NO_PIXEL = "#E3E3E3"
SKEW_FRAMES = 11  # of `skew_steps` with four queries: all, four lines written, five read, all again
_WIDTH, _HEIGHT = 37.5, 18.75  # cells of 0.16 inch: 6 x 3 inches


def skew_steps(
    by_offset: Int64[Tensor, "l l2"],
    padded: Int64[Tensor, "l l3"],
    strip: Int64[Tensor, " cells"],
    rows: Int64[Tensor, "l4 l2"],
    by_position: Int64[Tensor, "l l"],
    *,
    frame: int = 0,
) -> Axes:
    """The skew trick, stage by stage: every cell shows where its entry has gone.

    A cell holds l·i + j for the logit of query i and key j, -1 for a zero that was added, -2 for an offset that leads
    to no pixel. Queries are told apart by colour, keys by number.

    Args:
        by_offset: one row a query, one column an offset, from -(l-1) to l-1; l is at most 4.
        padded: the same with one more column.
        strip: the same in one row, with l-1 more cells.
        rows: the strip in rows of 2l-1.
        by_position: what is cut out of them, one row a query, one column a key.
        frame: 0 to SKEW_FRAMES - 1 where l is 4, for `teaching.show_loop`. The first and the last show all stages;
            those between write the strip line by line, then read it line by line.

    Raises:
        ValueError: more than 4 queries, for which there is neither room nor colour.
    """
    length = len(by_offset)
    if length > len(_QUERY_COLOURS):
        raise ValueError(f"skew_steps draws at most {len(_QUERY_COLOURS)} queries, got {length}")
    moving = 0 < frame < 2 * length + 2
    written = min(frame, length + 1) if moving else length + 1  # the cells at the end come with the first line read
    read = max(frame - length, 0) if moving else length + 1
    writes, reads = moving and frame <= length, moving and frame > length
    figure = plt.figure(figsize=(6, 3), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, _WIDTH), ylim=(_HEIGHT, 0), aspect="equal")
    ax.axis("off")
    left, top, bottom, middle = 2.4, 2.5, 13.4, 9.2
    wide, long = by_offset.shape[1], padded.shape[1]

    _cells(ax, left, top, by_offset, length)
    words(ax, left, top - 1.8, "1  by offset j - i", weight="bold")
    for column in range(wide):
        words(ax, left + column + 0.5, top - 0.6, f"{column - length + 1}", ha="center", color=QUIET)
    _query_names(ax, left, top, length)
    second = left + wide + 4.6
    arrow(ax, (left + wide + 0.5, top + length / 2), (second - 0.5, top + length / 2))
    _cells(ax, second, top, padded, length)
    words(ax, second, top - 1.8, "2  one zero more a line", weight="bold")
    _legend(ax, second + long + 2.0, top - 1.9, length)

    start = (_WIDTH - len(strip)) / 2
    words(ax, start, middle - 1.7, "3  the same cells in one strip", weight="bold")
    _cells(ax, start, middle, strip[None], length, filled=written * long)
    for begin in range(0, length * long, long):
        _bracket(ax, start + begin, start + begin + long, middle - 0.25, -0.4)
    for begin in range(0, len(strip), wide):
        _bracket(ax, start + begin, start + begin + wide, middle + 1.25, 0.4)
    words(ax, start + len(strip), middle - 1.35, f"written in lines of {long}", ha="right", color=QUIET)
    words(ax, start + len(strip), middle + 2.35, f"read in lines of {wide}", ha="right", color=QUIET)

    _cells(ax, left, bottom, rows, length, filled=read * wide)
    words(ax, left, bottom - 0.7, f"4  in lines of {wide}", weight="bold")
    last = left + wide + 4.6
    _cells(ax, last, bottom, by_position, length, filled=0 if moving else length**2)
    if not moving:
        outline(ax, (left + length - 1, bottom), length, color="black", linewidth=2.2)
        outline(ax, (last, bottom), length, color="black", linewidth=2.2)
        arrow(ax, (left + wide + 0.5, bottom + length / 2), (last - 0.5, bottom + length / 2))
    if writes:
        _mark(ax, second, top + frame - 1, long)
        _mark(ax, start + long * (frame - 1), middle, long)
    if reads:
        _mark(ax, start + wide * (read - 1), middle, wide)
        _mark(ax, left, bottom + read - 1, wide)
    words(ax, last, bottom - 0.7, "5  by position", weight="bold")
    for i in range(length):
        words(ax, last + length + 0.5, bottom + i + 0.5, f"query {i}", color=QUIET)
    words(ax, last, bottom + length + 0.8, "keys 0 to " + str(length - 1), color=QUIET)
    formula = f"out[i, j] = in[i, j - i + {length - 1}]"
    words(ax, last + length + 6.5, bottom + length / 2, formula, fontsize=9)
    return ax


def _cells(
    ax: Axes, left: float, top: float, values: Int64[Tensor, "rows cols"], length: int, *, filled: int | None = None
) -> None:
    """The first cells have their colours and numbers, all of them by default; the others are empty."""
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            empty = filled is not None and row * len(line) + column >= filled
            query, key = divmod(value, length)
            paint = "white" if value == _PADDING else _NO_PIXEL if value == _OUTSIDE else _QUERY_COLOURS[query]
            edge = {"edgecolor": "#9A9A9A" if value == _PADDING else "white", "linewidth": 0.7}
            if empty:
                paint, edge = "white", {"edgecolor": _NO_PIXEL, "linewidth": 0.7}
            ax.add_artist(Rectangle((left + column, top + row), 1, 1, facecolor=paint, zorder=2, **edge))
            if value != _OUTSIDE and not empty:
                ink, text = ("#6A6A6A", "0") if value == _PADDING else (_QUERY_INK[query], str(key))
                place = (left + column + 0.5, top + row + 0.53)
                style = "normal" if value == _PADDING else "bold"
                ax.text(*place, text, ha="center", va="center", fontsize=7, color=ink, weight=style, zorder=3)


def _mark(ax: Axes, left: float, top: float, cells: int) -> None:
    """A frame around some cells of one row: these are being moved."""
    outline(ax, (left - 0.1, top - 0.1), cells + 0.2, 1.2, linewidth=2, zorder=6)


def _query_names(ax: Axes, left: float, top: float, length: int) -> None:
    for i in range(length):
        words(ax, left - 0.3, top + i + 0.5, f"i={i}", ha="right", fontsize=7, color=QUIET)


def _legend(ax: Axes, left: float, top: float, length: int) -> None:
    for i in range(length):
        ax.add_patch(Rectangle((left + 0.9 * i, top), 0.9, 0.9, color=_QUERY_COLOURS[i], linewidth=0))
    words(ax, left + 4.2, top + 0.5, "colour: query i")
    words(ax, left + 2.7, top + 2.0, "0 1 2 3", ha="center", weight="bold")
    words(ax, left + 4.2, top + 2.0, "number: key j")
    ax.add_patch(Rectangle((left + 2.7, top + 3.0), 0.9, 0.9, facecolor=_NO_PIXEL, linewidth=0))
    words(ax, left + 4.2, top + 3.5, "no such pixel")
    ax.add_patch(Rectangle((left + 2.7, top + 4.5), 0.9, 0.9, facecolor="white", edgecolor="#9A9A9A", linewidth=0.7))
    words(ax, left + 3.15, top + 4.98, "0", ha="center", fontsize=7, color="#6A6A6A")
    words(ax, left + 4.2, top + 5.0, "padding")


def _bracket(ax: Axes, left: float, right: float, y: float, depth: float) -> None:
    """A bracket over (depth < 0) or under some cells of the strip."""
    xs, ys = (left + 0.12, left + 0.12, right - 0.12, right - 0.12), (y, y + depth, y + depth, y)
    ax.plot(xs, ys, color="black", linewidth=0.9)
