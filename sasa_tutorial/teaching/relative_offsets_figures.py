"""Figures of the lesson on relative offsets: two halves that make a square, parts of the logits, moved images, aim.

Each takes data and returns Axes; none trains, shows or keeps anything.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from einops import rearrange
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.strokes import border, outline
from sasa_tutorial.teaching.style import MECHANISM_COLOURS


def halves_make_a_square(row: Float[Tensor, " kh"], col: Float[Tensor, " kw"]) -> list[Axes]:
    """The k logits of the row offsets, the k logits of the column offsets, and the k x k sums of one and one."""
    square = rearrange(row, "kh -> kh 1") + rearrange(col, "kw -> 1 kw")
    _, axes = plt.subplots(1, 3, figsize=(5.4, 2.2), gridspec_kw={"width_ratios": [1.6, len(col), len(col)]})
    end = float(square.abs().max())
    parts = (
        (axes[0], rearrange(row, "kh -> kh 1"), "by row", "a - i", ""),
        (axes[1], rearrange(col, "kw -> 1 kw"), "+   by column", "", "b - j"),
        (axes[2], square, "=   of the window", "a - i", "b - j"),
    )
    for ax, values, title, rows, cols in parts:
        matrix(values, numbers=True, limit=end, title=title, rows=rows, cols=cols, ax=ax)
        for axis, size, named in ((ax.yaxis, values.shape[0], rows), (ax.xaxis, values.shape[1], cols)):
            if named:
                axis.set_ticks(range(size), [f"{offset:+d}" if offset else "0" for offset in _offsets(size)])
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    return list(axes)


def logit_parts(
    content: Float[Tensor, "cases kh kw"],
    offsets: Float[Tensor, "cases kh kw"],
    weights: Float[Tensor, "cases kh kw"],
    *,
    names: Sequence[str],
    images: UInt8[Tensor, "cases 3 kh kw"] | None = None,
) -> list[list[Axes]]:
    """What a query's logits are made of: content, offsets and their sum, and the weights that come of it.

    Logits share one scale, weights another; the centre of each window, which asks, is framed.

    Args:
        content: q·k in the window of one query, for some heads or some images, one row each.
        offsets: q·r in the same window.
        weights: the softmax of their sum.
        names: of the rows.
        images: the pixels of the windows, to draw first in each row.
    """
    cases, first = len(content), int(images is not None)
    size = min(4.3 / (first + 4), 2.5 / cases)
    figure, grid = plt.subplots(cases, first + 4, figsize=(6, cases * (size + 0.08) + 0.2), squeeze=False)
    figure.get_layout_engine().set(h_pad=0.03, w_pad=0.03)
    total = content + offsets
    end = max(float(part.abs().max()) for part in (content, offsets, total)) or 1.0
    titles = ("content q·k", "offsets q·r", "their sum", "weights")
    for case, axes in enumerate(grid):
        title = case == 0
        if images is not None:
            axes[0].imshow(rearrange(images[case].cpu(), "c h w -> h w c").numpy())
            axes[0].set(xticks=[], yticks=[], title="window" * title)
        for ax, part, name in zip(axes[first:], (content, offsets, total, weights), titles, strict=True):
            limits = {"signed": False, "limit": float(weights.max())} if part is weights else {"limit": end}
            matrix(part[case], rows="", cols="", title=name * title, ax=ax, **limits)
        axes[0].set_ylabel(names[case])
        for ax in axes:
            _frame_the_centre(ax)
    bar = {"shrink": 0.9, "pad": 0.02, "aspect": 14}
    figure.colorbar(grid[0, -2].images[0], ax=grid[:, : first + 3], label="logit", location="left", **bar)
    figure.colorbar(grid[0, -1].images[0], ax=grid[:, -1], label="weight", **bar)
    return grid.tolist()


def moved_differences(
    differences: Sequence[Float[Tensor, "h w"]], titles: Sequence[str], *, inside: tuple[slice, slice]
) -> list[Axes]:
    """How much it matters whether one moves first or answers first: one panel a layer, one scale for all.

    Args:
        differences: magnitudes, as shares of the largest answer.
        titles: one for each.
        inside: rows and columns that no border touches, to be framed.
    """
    figure, axes = plt.subplots(1, len(differences), figsize=(6, 1.9), squeeze=False)
    end = float(max(difference.max() for difference in differences)) or 1.0
    rows, cols = inside
    for ax, difference, title in zip(axes[0], differences, titles, strict=True):
        shown = matrix(difference, signed=False, limit=end, rows="", cols="", title=title, ax=ax).images[0]
        border(ax)
        height, width = difference.shape
        top, bottom, _ = rows.indices(height)
        left, right, _ = cols.indices(width)
        corner, size = (left - 0.5, top - 0.5), (right - left, bottom - top)
        outline(ax, corner, *size, color="white", linewidth=1.6)
        outline(ax, corner, *size, linewidth=1.6, linestyle="--")
    figure.colorbar(shown, ax=list(axes[0]), shrink=0.75, pad=0.02, label="difference")
    return list(axes[0])


def sharper_and_sharper(
    weights: Sequence[Float[Tensor, "kh kw"]],
    titles: Sequence[str],
    scales: Sequence[float],
    errors: Sequence[float],
) -> list[Axes]:
    """A head that takes aim: its window of weights at some scales, and the error against the scale.

    Args:
        weights: of one head, from 0 to 1.
        titles: one for each window.
        scales: of the logits, for the curve.
        errors: one for each scale, drawn on a logarithmic axis.
    """
    _, axes = plt.subplots(1, len(weights) + 1, figsize=(6, 1.9), width_ratios=[1] * len(weights) + [2.2])
    for ax, window, title in zip(axes, weights, titles, strict=False):
        matrix(window.round(decimals=2), signed=False, limit=1, numbers=True, rows="", cols="", title=title, ax=ax)
        _frame_the_centre(ax)
    axes[-1].plot(scales, errors, marker="o", markersize=3.5, color=MECHANISM_COLOURS["relative_offsets"])
    axes[-1].set(yscale="log", xlabel="scale of the queries", ylabel="largest error")
    return list(axes)


def kernels_of_colours(
    image: UInt8[Tensor, "3 h w"], kernels: Sequence[Float[Tensor, "kh kw"]], titles: Sequence[str]
) -> list[Axes]:
    """An image, and the windows of weights that some of its pixels use, on one scale from 0."""
    _, axes = plt.subplots(1, 1 + len(kernels), figsize=(6, 1.8))
    axes[0].imshow(rearrange(image.cpu(), "c h w -> h w c").numpy())
    axes[0].set(xticks=[], yticks=[], title="image")
    border(axes[0])
    end = float(max(kernel.max() for kernel in kernels))
    for ax, kernel, title in zip(axes[1:], kernels, titles, strict=True):
        matrix(kernel.round(decimals=2), signed=False, limit=end, numbers=True, rows="", cols="", title=title, ax=ax)
        _frame_the_centre(ax)
    return list(axes)


def _offsets(size: int) -> range:
    return range(-(size // 2), size // 2 + 1)


def _frame_the_centre(ax: Axes) -> None:
    rows, cols = ax.images[0].get_array().shape[:2]
    outline(ax, (cols // 2 - 0.5, rows // 2 - 0.5), 1)
    border(ax)
