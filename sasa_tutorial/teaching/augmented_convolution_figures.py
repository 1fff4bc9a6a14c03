"""Figures of the lesson on augmented convolution: two questions, the skew trick, one factor or many."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.style import ACCENT, QUIET, SIGNED_MAP

_PADDING, _OUTSIDE = -1, -2  # in the cells of `skew_steps`: a zero that was added; an offset that leads to no pixel
_QUERY_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_QUERY_INK = ("white", "black", "white", "black")
_NO_PIXEL = "#E3E3E3"
_WIDTH, _HEIGHT = 37.5, 18.75  # cells of 0.16 inch: 6 x 3 inches


def two_questions(
    picture: UInt8[Tensor, "3 h w"],
    wanted: Float[Tensor, "2 h w"],
    answers: Mapping[str, Float[Tensor, "2 h w"]],
) -> list[list[Axes]]:
    """A picture and two questions about it, one a row: what is wanted, and what each layer answers.

    Args:
        picture: red, green, blue.
        wanted: the right answers; those to the first are drawn around 0, those to the second from their least to their
            largest.
        answers: of each layer, by its name.
    """
    _, axes = plt.subplots(2, 2 + len(answers), figsize=(6, 2.2))
    axes[0, 0].imshow(rearrange(picture, "c h w -> h w c").cpu().numpy())
    axes[0, 0].set_title("image", fontsize=8)
    axes[1, 0].axis("off")
    low, high = float(wanted[1].min()), float(wanted[1].max())
    for column, (name, both) in enumerate({"wanted": wanted, **answers}.items(), start=1):
        both = both.detach().float().cpu()
        axes[0, column].imshow(both[0].numpy(), cmap=SIGNED_MAP, vmin=-1, vmax=1)
        axes[1, column].imshow(both[1].numpy(), cmap="gray", vmin=low, vmax=high)
        axes[0, column].set_title(name, fontsize=8)
    axes[0, 1].set_ylabel("edge", fontsize=8)
    axes[1, 1].set_ylabel("mean", fontsize=8)
    for ax in axes.flat:
        _thin_frame(ax)
    return axes.tolist()


def skew_steps(
    by_offset: Int64[Tensor, "l l2"],
    padded: Int64[Tensor, "l l3"],
    strip: Int64[Tensor, " cells"],
    rows: Int64[Tensor, "l4 l2"],
    by_position: Int64[Tensor, "l l"],
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

    Raises:
        ValueError: more than 4 queries, for which there is neither room nor colour.
    """
    length = len(by_offset)
    if length > len(_QUERY_COLOURS):
        raise ValueError(f"skew_steps draws at most {len(_QUERY_COLOURS)} queries, got {length}")
    figure, ax = plt.subplots(figsize=(6, 3))
    figure.get_layout_engine().set(w_pad=0, h_pad=0)
    ax.set(xlim=(0, _WIDTH), ylim=(_HEIGHT, 0), aspect="equal")
    ax.axis("off")
    left, top, bottom, middle = 2.4, 2.5, 13.4, 9.2
    wide, long = by_offset.shape[1], padded.shape[1]

    _cells(ax, left, top, by_offset, length)
    _words(ax, left, top - 1.8, "1  by offset j - i", weight="bold")
    for column in range(wide):
        _words(ax, left + column + 0.5, top - 0.6, f"{column - length + 1}", ha="center", color=QUIET)
    _query_names(ax, left, top, length)
    second = left + wide + 4.6
    _arrow(ax, (left + wide + 0.5, top + length / 2), (second - 0.5, top + length / 2))
    _cells(ax, second, top, padded, length)
    _words(ax, second, top - 1.8, "2  one zero more a row", weight="bold")
    _legend(ax, second + long + 2.0, top - 1.9, length)

    start = (_WIDTH - len(strip)) / 2
    _words(ax, start, middle - 1.7, "3  the same memory in one row", weight="bold")
    _cells(ax, start, middle, strip[None], length)
    for begin in range(0, length * long, long):
        _bracket(ax, start + begin, start + begin + long, middle - 0.25, -0.4)
    for begin in range(0, len(strip), wide):
        _bracket(ax, start + begin, start + begin + wide, middle + 1.25, 0.4)
    _words(ax, start + len(strip), middle - 1.35, f"written in rows of {long}", ha="right", color=QUIET)
    _words(ax, start + len(strip), middle + 2.35, f"read in rows of {wide}", ha="right", color=QUIET)

    _cells(ax, left, bottom, rows, length)
    _words(ax, left, bottom - 0.7, f"4  in rows of {wide}", weight="bold")
    cut = {"fill": False, "color": "black", "linewidth": 2.2, "zorder": 5}
    ax.add_patch(Rectangle((left + length - 1, bottom), length, length, **cut))
    last = left + wide + 4.6
    _arrow(ax, (left + wide + 0.5, bottom + length / 2), (last - 0.5, bottom + length / 2))
    _cells(ax, last, bottom, by_position, length)
    ax.add_patch(Rectangle((last, bottom), length, length, **cut))
    _words(ax, last, bottom - 0.7, "5  by position", weight="bold")
    for i in range(length):
        _words(ax, last + length + 0.5, bottom + i + 0.5, f"query {i}", color=QUIET)
    _words(ax, last, bottom + length + 0.8, "keys 0 to " + str(length - 1), color=QUIET)
    formula = f"out[i, j] = in[i, j - i + {length - 1}]"
    _words(ax, last + length + 6.5, bottom + length / 2, formula, fontsize=9)
    return ax


def one_factor_or_many(
    image: Float[Tensor, "3 h w"],
    rescaled: Float[Tensor, "3 h w"],
    factor: float,
    mixed: Float[Tensor, "3 h w"],
    queries: Mapping[str, tuple[int, int]],
    mixtures: Mapping[str, Float[Tensor, "h w"]],
) -> list[Axes]:
    """Channels rescaled as a whole, with one factor for all pixels, against a mixture for each pixel.

    Args:
        image: red, green, blue, from 0 to 1.
        rescaled: the image after the first kind of layer.
        factor: of its red channel, from 0 to 1.
        mixed: the image after the second kind.
        queries: row and column of some pixels, by name.
        mixtures: over which pixels each of them takes its mean.
    """
    _, axes = plt.subplots(1, 4 + len(queries), figsize=(6, 1.45))
    names = (f"weights\nof {name}" for name in queries)
    titles = ("image", "after SE", "SE's factor\n(red)", "after\nattention", *names)
    for ax, pixels in ((axes[0], image), (axes[1], rescaled), (axes[3], mixed)):
        ax.imshow(rearrange(pixels.clamp(0, 1), "c h w -> h w c").cpu().numpy())
    matrix(torch.full(image.shape[1:], factor), signed=False, limit=1, rows="", cols="", ax=axes[2])
    middle = ((image.shape[2] - 1) / 2, (image.shape[1] - 1) / 2)
    axes[2].text(*middle, f"{factor:.2f}", ha="center", va="center", fontsize=9, color="white")
    for ax, name in zip(axes[4:], queries, strict=True):
        matrix(mixtures[name], signed=False, rows="", cols="", ax=ax)
        _name_pixel(axes[0], queries[name], name)
        _name_pixel(ax, queries[name], name)
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=8)
        _thin_frame(ax)
    return list(axes)


def _name_pixel(ax: Axes, pixel: tuple[int, int], name: str) -> None:
    """A ring around the pixel, and its name above."""
    halo = [withStroke(linewidth=2.5, foreground="black")]
    row, column = pixel
    ring = {"marker": "o", "markersize": 5, "markerfacecolor": "none", "markeredgecolor": "white"}
    ax.plot(column, row, path_effects=halo, **ring)
    style = {"ha": "center", "va": "center", "color": "white", "weight": "bold", "path_effects": halo}
    ax.text(column, row - 5, name, **style)


def _thin_frame(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color=QUIET, linewidth=0.5)


def _cells(ax: Axes, left: float, top: float, values: Int64[Tensor, "rows cols"], length: int) -> None:
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            query, key = divmod(value, length)
            paint = "white" if value == _PADDING else _NO_PIXEL if value == _OUTSIDE else _QUERY_COLOURS[query]
            edge = {"edgecolor": "#9A9A9A" if value == _PADDING else "white", "linewidth": 0.7}
            ax.add_patch(Rectangle((left + column, top + row), 1, 1, facecolor=paint, zorder=2, **edge))
            if value != _OUTSIDE:
                ink, text = ("#6A6A6A", "0") if value == _PADDING else (_QUERY_INK[query], str(key))
                place = (left + column + 0.5, top + row + 0.53)
                style = "normal" if value == _PADDING else "bold"
                ax.text(*place, text, ha="center", va="center", fontsize=7, color=ink, weight=style, zorder=3)


def _words(ax: Axes, x: float, y: float, text: str, **options: object) -> None:
    ax.text(x, y, text, **{"ha": "left", "va": "center", "fontsize": 7.5, "color": "black", **options})


def _query_names(ax: Axes, left: float, top: float, length: int) -> None:
    for i in range(length):
        _words(ax, left - 0.3, top + i + 0.5, f"i={i}", ha="right", fontsize=7, color=QUIET)


def _legend(ax: Axes, left: float, top: float, length: int) -> None:
    for i in range(length):
        ax.add_patch(Rectangle((left + 0.9 * i, top), 0.9, 0.9, color=_QUERY_COLOURS[i], linewidth=0))
    _words(ax, left + 4.2, top + 0.5, "colour: query i")
    _words(ax, left + 2.7, top + 2.0, "0 1 2 3", ha="center", weight="bold")
    _words(ax, left + 4.2, top + 2.0, "number: key j")
    ax.add_patch(Rectangle((left + 2.7, top + 3.0), 0.9, 0.9, facecolor=_NO_PIXEL, linewidth=0))
    _words(ax, left + 4.2, top + 3.5, "no such pixel")
    ax.add_patch(Rectangle((left + 2.7, top + 4.5), 0.9, 0.9, facecolor="white", edgecolor="#9A9A9A", linewidth=0.7))
    _words(ax, left + 3.15, top + 4.98, "0", ha="center", fontsize=7, color="#6A6A6A")
    _words(ax, left + 4.2, top + 5.0, "padding")


def _arrow(ax: Axes, tail: tuple[float, float], head: tuple[float, float]) -> None:
    ax.add_patch(FancyArrowPatch(tail, head, arrowstyle="-|>", mutation_scale=10, color=ACCENT, linewidth=1.4))


def _bracket(ax: Axes, left: float, right: float, y: float, depth: float) -> None:
    """A bracket over (depth < 0) or under some cells of the strip."""
    xs, ys = (left + 0.12, left + 0.12, right - 0.12, right - 0.12), (y, y + depth, y + depth, y)
    ax.plot(xs, ys, color="black", linewidth=0.9)
