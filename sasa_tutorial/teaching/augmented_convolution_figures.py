"""Figures of the lesson on augmented convolution: the layer, two questions, one factor or many."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon
from matplotlib.patheffects import withStroke
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.strokes import arrow, border, cells, outline, words
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, POSITIVE_MAP, QUIET, SIGNED_MAP

_QUERY_OF_SCHEMATIC = (2, 2)
_HUES_OF_SCHEMATIC = (
    (0, 0, 1, 1, 2, 2),
    (0, 1, 1, 2, 2, 1),
    (1, 1, 0, 2, 0, 0),
    (2, 1, 0, 0, 0, 1),
    (2, 2, 1, 0, 1, 1),
    (0, 2, 2, 1, 1, 0),
)


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
    cells(ax, (1, 9.6), picture, 1.75)
    outline(ax, (0.85, 9.45), 10.8, color=blue, linewidth=1.5)
    outline(ax, (1 + 1.75 * (j - 1), 9.6 + 1.75 * (i - 1)), 5.25, color="black", linewidth=1.5, linestyle=(0, (2, 1.2)))
    outline(ax, (1 + 1.75 * j, 9.6 + 1.75 * i), 1.75, linewidth=1.5)
    words(ax, 6.0, 6.6, "input,", ha="center")
    words(ax, 6.0, 8.2, "$c_{in}$ channels", ha="center")
    words(ax, 6.25, 21.2, "pixel $i$", ha="center", color=ACCENT, weight="bold")

    words(ax, 14, 1.3, "Convolution: nine neighbours, the same weights everywhere", weight="bold")
    arrow(ax, (9.6, 11.0), (15.2, 6.4), color="black")
    cells(ax, (16, 3.1), picture[i - 1 : i + 2, j - 1 : j + 2], 1.7)
    words(ax, 22.4, 5.65, "×", ha="center", fontsize=11)
    kernel = torch.tensor([[-0.5, 0.1, 0.6], [-1.0, 0.2, 1.0], [-0.6, 0.0, 0.5]])
    cells(ax, (23.8, 3.1), _signed(kernel), 1.7)
    words(ax, 26.35, 9.2, "kernel", ha="center", color=QUIET)
    arrow(ax, (29.6, 5.65), (46.6, 8.2), color="black")

    words(ax, 14, 13.0, "Attention: all pixels, weights made for this pixel", weight="bold", color=blue)
    arrow(ax, (12.1, 18.4), (14.7, 18.4), color=blue)
    terms = (("content", r"$q_i \cdot k_j$", content), ("row", r"$q_i \cdot r^H$", by_row))
    for place, (name, formula, values) in enumerate((*terms, ("column", r"$q_i \cdot r^W$", by_column))):
        left = 15.2 + 7.7 * place
        cells(ax, (left, 15.4), _signed(values / 2), 1.0)
        outline(ax, (left + j, 15.4 + i), 1.0, linewidth=1.5)
        words(ax, left + 3, 22.9, name, ha="center")
        words(ax, left + 3, 24.9, formula, ha="center")
        if place:
            words(ax, left - 0.85, 18.4, "+", ha="center", fontsize=11)
    arrow(ax, (37.0, 18.4), (40.3, 18.4), color=blue)
    words(ax, 38.6, 16.9, "softmax", ha="center", fontsize=6.5)
    cells(ax, (40.8, 15.4), plt.get_cmap(POSITIVE_MAP)((weights / weights.max()).numpy()), 1.0)
    outline(ax, (40.8 + j, 15.4 + i), 1.0, linewidth=1.5)
    words(ax, 43.8, 22.9, "weights", ha="center")
    words(ax, 43.8, 24.9, "× values", ha="center")
    arrow(ax, (47.2, 18.4), (49.0, 18.4), color=blue)

    words(ax, 53, 2.6, "output,", ha="center")
    words(ax, 53, 4.3, "$c_{out}$ channels", ha="center")
    for sheet in range(8):
        top = 6.4 + 1.55 * sheet + (0.6 if sheet > 5 else 0)
        paint = "#B9B9B9" if sheet < 6 else blue
        corners = ((49.6, top + 1.7), (51.2, top), (56.8, top), (55.2, top + 1.7))
        ax.add_patch(Polygon(corners, facecolor=paint, edgecolor="white", linewidth=0.8, zorder=2 + sheet))
        ax.plot(53.3, top + 0.9, "o", color=ACCENT, markersize=2.6, zorder=12)
    words(ax, 57.1, 11.3, "share\n" + r"$1 - \upsilon$")
    words(ax, 57.1, 18.4, "share\n" + r"$\upsilon$", color=blue)
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
        border(ax)
    bar = figure.colorbar(panels[1][0].images[0], ax=everything, pad=0.02, shrink=0.8, label="probability of yes")
    bar.set_ticks([0, 0.5, 1])
    return panels


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
        border(ax)
    return list(axes)


def _name_pixel(ax: Axes, pixel: tuple[int, int], name: str) -> None:
    """A ring around the pixel, and its name above."""
    halo = [withStroke(linewidth=2.5, foreground="black")]
    row, column = pixel
    ring = {"marker": "o", "markersize": 5, "markerfacecolor": "none", "markeredgecolor": "white"}
    ax.plot(column, row, path_effects=halo, **ring)
    style = {"ha": "center", "va": "center", "color": "white", "weight": "bold", "path_effects": halo}
    ax.text(column, row - 5, name, **style)


def _signed(values: Float[Tensor, "rows cols"]) -> Float[Tensor, "rows cols 3"]:
    """Colours of numbers from -1 to 1."""
    return torch.tensor(plt.get_cmap(SIGNED_MAP)(((values + 1.3) / 2.6).clamp(0, 1).numpy()))[..., :3]
