"""Figures of the lesson on augmented convolution: the layer, two questions, the skew trick, one factor or many."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, POSITIVE_MAP, QUIET, SIGNED_MAP

_PADDING, _OUTSIDE = -1, -2  # in the cells of `skew_steps`: a zero that was added; an offset that leads to no pixel
_QUERY_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_QUERY_INK = ("white", "black", "white", "black")
_NO_PIXEL = "#E3E3E3"
_QUERY_OF_SCHEMATIC = (2, 2)
_HUES_OF_SCHEMATIC = (
    (0, 0, 1, 1, 2, 2),
    (0, 1, 1, 2, 2, 1),
    (1, 1, 0, 2, 0, 0),
    (2, 1, 0, 0, 0, 1),
    (2, 2, 1, 0, 1, 1),
    (0, 2, 2, 1, 1, 0),
)
SKEW_FRAMES = 11  # of `skew_steps` with four queries: all, four lines written, five read, all again
_WIDTH, _HEIGHT = 37.5, 18.75  # cells of 0.16 inch: 6 x 3 inches


def augmented_convolution_schematic() -> Axes:
    """The layer for one pixel: nine neighbours with fixed weights, all pixels with weights made of three terms."""
    figure, ax = plt.subplots(figsize=(6, 2.6))
    figure.get_layout_engine().set(w_pad=0, h_pad=0)
    ax.set(xlim=(0.5, 61), ylim=(26, 0), aspect="equal")
    ax.axis("off")
    hues = torch.tensor(_HUES_OF_SCHEMATIC)
    colours = torch.tensor([to_rgb(name) for name in ("#F0C987", "#9CC5E8", "#B7D7A8")])
    picture = colours[hues]
    i, j = _QUERY_OF_SCHEMATIC
    rows, columns = torch.arange(6)[:, None] - i, torch.arange(6)[None] - j
    content = torch.where(hues == hues[i, j], 1.6, -1.2)
    by_row, by_column = (1.1 - 0.85 * rows.abs()).expand(6, 6), (0.9 * columns.sign()).expand(6, 6)
    weights = torch.softmax((content + by_row + by_column).flatten(), dim=0).view(6, 6)

    blue = MECHANISM_COLOURS["global_attention"]
    _grid(ax, (1, 9.6), 1.75, picture)
    _box(ax, (0.85, 9.45), 10.8, blue)
    _box(ax, (1 + 1.75 * (j - 1), 9.6 + 1.75 * (i - 1)), 5.25, "black", linestyle=(0, (2, 1.2)))
    _box(ax, (1 + 1.75 * j, 9.6 + 1.75 * i), 1.75, ACCENT)
    _words(ax, 6.0, 6.6, "input,", ha="center")
    _words(ax, 6.0, 8.2, "$c_{in}$ channels", ha="center")
    _words(ax, 6.25, 21.2, "pixel $i$", ha="center", color=ACCENT, weight="bold")

    _words(ax, 14, 1.3, "Convolution: nine neighbours, the same weights everywhere", weight="bold")
    _arrow(ax, (9.6, 11.0), (15.2, 6.4), color="black")
    _grid(ax, (16, 3.1), 1.7, picture[i - 1 : i + 2, j - 1 : j + 2])
    _words(ax, 22.4, 5.65, "×", ha="center", fontsize=11)
    kernel = torch.tensor([[-0.5, 0.1, 0.6], [-1.0, 0.2, 1.0], [-0.6, 0.0, 0.5]])
    _grid(ax, (23.8, 3.1), 1.7, _signed(kernel))
    _words(ax, 26.35, 9.2, "kernel", ha="center", color=QUIET)
    _arrow(ax, (29.6, 5.65), (46.6, 8.2), color="black")

    _words(ax, 14, 13.0, "Attention: all pixels, weights made for this pixel", weight="bold", color=blue)
    _arrow(ax, (12.1, 18.4), (14.7, 18.4), color=blue)
    terms = (("content", r"$q_i \cdot k_j$", content), ("row", r"$q_i \cdot r^H$", by_row))
    for place, (name, formula, values) in enumerate((*terms, ("column", r"$q_i \cdot r^W$", by_column))):
        left = 15.2 + 7.7 * place
        _grid(ax, (left, 15.4), 1.0, _signed(values / 2))
        _box(ax, (left + j, 15.4 + i), 1.0, ACCENT)
        _words(ax, left + 3, 22.9, name, ha="center")
        _words(ax, left + 3, 24.9, formula, ha="center")
        if place:
            _words(ax, left - 0.85, 18.4, "+", ha="center", fontsize=11)
    _arrow(ax, (37.0, 18.4), (40.3, 18.4), color=blue)
    _words(ax, 38.6, 16.9, "softmax", ha="center", fontsize=6.5)
    _grid(ax, (40.8, 15.4), 1.0, torch.tensor(plt.get_cmap(POSITIVE_MAP)((weights / weights.max()).numpy()))[..., :3])
    _box(ax, (40.8 + j, 15.4 + i), 1.0, ACCENT)
    _words(ax, 43.8, 22.9, "weights", ha="center")
    _words(ax, 43.8, 24.9, "× values", ha="center")
    _arrow(ax, (47.2, 18.4), (49.0, 18.4), color=blue)

    _words(ax, 53, 2.6, "output,", ha="center")
    _words(ax, 53, 4.3, "$c_{out}$ channels", ha="center")
    for sheet in range(8):
        top = 6.4 + 1.55 * sheet + (0.6 if sheet > 5 else 0)
        paint = "#B9B9B9" if sheet < 6 else blue
        corners = ((49.6, top + 1.7), (51.2, top), (56.8, top), (55.2, top + 1.7))
        ax.add_patch(Polygon(corners, facecolor=paint, edgecolor="white", linewidth=0.8, zorder=2 + sheet))
        ax.plot(53.3, top + 0.9, "o", color=ACCENT, markersize=2.6, zorder=12)
    _words(ax, 57.1, 11.3, "share\n" + r"$1 - \upsilon$")
    _words(ax, 57.1, 18.4, "share\n" + r"$\upsilon$", color=blue)
    return ax


def two_questions(
    picture: UInt8[Tensor, "3 h w"],
    kinds: Int64[Tensor, "h w"],
    wanted: Float[Tensor, "2 h w"],
    answers: Mapping[str, Float[Tensor, "2 h w"]],
) -> list[list[Axes]]:
    """A picture and two questions about it, one a row: the right answers, and how sure each layer is of a yes.

    All maps share one scale: blue for no, red for yes, white for undecided.

    Args:
        picture: red, green, blue.
        kinds: of each pixel, 0 to 3: a shape in it, for those who do not tell the hues apart.
        wanted: 1 for yes, 0 for no.
        answers: of each layer, by its name: the probability of a yes.

    Returns:
        The panel of the picture alone, then one row of panels for each question.
    """
    figure = plt.figure(figsize=(6, 2.2))
    grid = figure.add_gridspec(2, 2 + len(answers), width_ratios=[1.75] + [1] * (1 + len(answers)))
    whole = figure.add_subplot(grid[:, 0])
    whole.imshow(rearrange(picture, "c h w -> h w c").cpu().numpy())
    for kind, shape in enumerate("os^D"):
        rows, columns = (place.tolist() for place in (kinds == kind).nonzero(as_tuple=True))
        whole.plot(columns, rows, shape, markersize=3.5, color="white", markeredgecolor="black", markeredgewidth=0.6)
    panels = [[whole]]
    for row, name in enumerate(("edge", "mean")):
        panels.append([figure.add_subplot(grid[row, column]) for column in range(1, 2 + len(answers))])
        panels[-1][0].set_ylabel(name, fontsize=8)
        for ax, answer in zip(panels[-1], (wanted, *answers.values()), strict=True):
            ax.imshow(answer[row].detach().float().cpu().numpy(), cmap=SIGNED_MAP, vmin=0, vmax=1)
    for ax, name in zip((whole, *panels[1]), ("picture", "right answer", *answers), strict=True):
        ax.set_title(name, fontsize=8)
    everything = [ax for row in panels for ax in row]
    for ax in everything:
        _thin_frame(ax)
    bar = figure.colorbar(panels[1][0].images[0], ax=everything, pad=0.02, shrink=0.8, label="probability of yes")
    bar.set_ticks([0, 0.5, 1])
    return panels


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
    _cells(ax, start, middle, strip[None], length, filled=written * long)
    for begin in range(0, length * long, long):
        _bracket(ax, start + begin, start + begin + long, middle - 0.25, -0.4)
    for begin in range(0, len(strip), wide):
        _bracket(ax, start + begin, start + begin + wide, middle + 1.25, 0.4)
    _words(ax, start + len(strip), middle - 1.35, f"written in rows of {long}", ha="right", color=QUIET)
    _words(ax, start + len(strip), middle + 2.35, f"read in rows of {wide}", ha="right", color=QUIET)

    _cells(ax, left, bottom, rows, length, filled=read * wide)
    _words(ax, left, bottom - 0.7, f"4  in rows of {wide}", weight="bold")
    cut = {"fill": False, "color": "black", "linewidth": 2.2, "zorder": 5}
    last = left + wide + 4.6
    _cells(ax, last, bottom, by_position, length, filled=0 if moving else length**2)
    if not moving:
        ax.add_artist(Rectangle((left + length - 1, bottom), length, length, **cut))
        ax.add_artist(Rectangle((last, bottom), length, length, **cut))
        _arrow(ax, (left + wide + 0.5, bottom + length / 2), (last - 0.5, bottom + length / 2))
    if writes:
        _mark(ax, second, top + frame - 1, long)
        _mark(ax, start + long * (frame - 1), middle, long)
    if reads:
        _mark(ax, start + wide * (read - 1), middle, wide)
        _mark(ax, left, bottom + read - 1, wide)
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
    titles = ("image", "after SE", "SE's factor\nfor red", "after\nattention", *names)
    for ax, pixels in ((axes[0], image), (axes[1], rescaled), (axes[3], mixed)):
        ax.imshow(rearrange(pixels.clamp(0, 1), "c h w -> h w c").cpu().numpy())
    axes[2].imshow(torch.full(image.shape[1:], factor).numpy(), cmap="gray", vmin=0, vmax=1)
    middle = ((image.shape[2] - 1) / 2, (image.shape[1] - 1) / 2)
    axes[2].text(*middle, f"{factor:.2f}", ha="center", va="center", fontsize=9, color="black")
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
    frame = Rectangle((left - 0.1, top - 0.1), cells + 0.2, 1.2, fill=False, edgecolor=ACCENT, linewidth=2, zorder=6)
    ax.add_artist(frame)


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


def _arrow(ax: Axes, tail: tuple[float, float], head: tuple[float, float], color: str = ACCENT) -> None:
    ax.add_patch(FancyArrowPatch(tail, head, arrowstyle="-|>", mutation_scale=10, color=color, linewidth=1.4))


def _grid(ax: Axes, corner: tuple[float, float], cell: float, colours: Float[Tensor, "rows cols 3"]) -> None:
    """Squares of these colours, the first at a corner."""
    for row, line in enumerate(colours.tolist()):
        for column, paint in enumerate(line):
            place = (corner[0] + cell * column, corner[1] + cell * row)
            ax.add_patch(Rectangle(place, cell, cell, facecolor=paint, edgecolor="white", linewidth=0.5, zorder=2))


def _box(ax: Axes, corner: tuple[float, float], side: float, color: str, **options: object) -> None:
    style = {"fill": False, "edgecolor": color, "linewidth": 1.5, "zorder": 4, **options}
    ax.add_patch(Rectangle(corner, side, side, **style))


def _signed(values: Float[Tensor, "rows cols"]) -> Float[Tensor, "rows cols 3"]:
    """Colours of numbers from -1 to 1."""
    return torch.tensor(plt.get_cmap(SIGNED_MAP)(((values + 1.3) / 2.6).clamp(0, 1).numpy()))[..., :3]


def _bracket(ax: Axes, left: float, right: float, y: float, depth: float) -> None:
    """A bracket over (depth < 0) or under some cells of the strip."""
    xs, ys = (left + 0.12, left + 0.12, right - 0.12, right - 0.12), (y, y + depth, y + depth, y)
    ax.plot(xs, ys, color="black", linewidth=0.9)
