"""Figures of the lesson on convolution: moved images, windows, the matrix product, kernels, receptive fields."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from torch import Tensor

from sasa_tutorial.layers import inside_image
from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.strokes import border
from sasa_tutorial.teaching.style import ACCENT, POSITIVE_MAP, SIGNED_MAP

_FRAMES = ((ACCENT, "-"), ("black", "--"))  # told apart without colour too
_NO_VALUE = "#E6E6E6"


def move_and_answer(
    image: Float[Tensor, "h w"],
    moved: Float[Tensor, "h w"],
    answer_moved: Float[Tensor, "h w"],
    moved_answered: Float[Tensor, "h w"],
) -> list[Axes]:
    """Does it matter whether one moves first or answers first? The last panel is the difference of the two before it.

    Args:
        image: a grey image, from 0 to 1.
        moved: the same image, moved.
        answer_moved: the layer's answer to `image`, moved afterwards.
        moved_answered: the layer's answer to `moved`.
    """
    _, axes = plt.subplots(1, 5, figsize=(6, 1.65))
    answer_moved, moved_answered = answer_moved.detach(), moved_answered.detach()
    difference = moved_answered - answer_moved
    end = float(torch.stack((answer_moved, moved_answered)).abs().max()) or 1.0
    for ax, pixels, title in zip(axes, (image, moved), ("image", "moved image"), strict=False):
        ax.imshow(pixels.detach().cpu().numpy(), cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, fontsize=8)
    answers = (answer_moved, moved_answered, difference)
    titles = ("layer,\nthen move", "move,\nthen layer", "difference of\nthe two")
    for ax, values, title in zip(axes[2:], answers, titles, strict=True):
        matrix(values, limit=end, rows="", cols="", ax=ax)
        ax.set_title(title, fontsize=8)
    for ax in axes:
        border(ax)
    return list(axes)


def kernels_on_a_photograph(
    photo: UInt8[Tensor, "3 h w"],
    kernels: Mapping[str, Float[Tensor, "kh kw"]],
    outputs: Sequence[Float[Tensor, "h w"]],
) -> list[Axes]:
    """A photograph, and what hand-made kernels make of it; each kernel lies with its numbers on its output.

    Args:
        photo: red, green, blue.
        kernels: by name.
        outputs: one for each kernel; each has a scale of its own around 0, which a hundredth of the pixels exceed.
    """
    _, axes = plt.subplots(1, 1 + len(kernels), figsize=(6, 1.75))
    axes[0].imshow(rearrange(photo.cpu(), "c h w -> h w c").numpy())
    axes[0].set_title("photograph", fontsize=8)
    for ax, (name, kernel), output in zip(axes[1:], kernels.items(), outputs, strict=True):
        end = float(output.abs().quantile(0.99)) or 1.0
        ax.imshow(output.cpu().numpy(), cmap=SIGNED_MAP, vmin=-end, vmax=end)
        ax.set_title(name, fontsize=8)
        inset = ax.inset_axes((0.0, 0.0, 0.36, 0.36))
        matrix(kernel, numbers=True, rows="", cols="", ax=inset)
        for text in inset.texts:
            text.set(fontsize=6, text=text.get_text().replace("-", "−"))
        border(inset)
    for ax in axes:
        border(ax)
    return list(axes)


def windows_of(
    image: Float[Tensor, "h w"],
    windows: Float[Tensor, "h w kh kw"],
    pixels: Sequence[tuple[int, int]],
) -> list[Axes]:
    """An image with its border of zeros, and beside it the windows of two pixels.

    Args:
        image: one channel.
        windows: of that channel.
        pixels: row and column of the two whose windows are shown.
    """
    h, w, kernel_size = *image.shape, windows.shape[-1]
    reach = kernel_size // 2
    grid = {"width_ratios": [w + 2 * reach, *[kernel_size] * len(pixels)]}
    _, axes = plt.subplots(1, 1 + len(pixels), figsize=(6, 2.5), gridspec_kw=grid)
    end = float(image.abs().max()) or 1.0
    border = (reach, reach, reach, reach)
    title = f"image, with {reach} zero{'s' * (reach > 1)} on each side"
    matrix(F.pad(image, border), numbers=True, limit=end, rows="h", cols="w", title=title, ax=axes[0])
    _shade_outside(axes[0], F.pad(torch.ones(h, w, dtype=torch.bool), border))
    inside = inside_image(h, w, kernel_size)
    for ax, (i, j), (colour, line) in zip(axes[1:], pixels, _FRAMES, strict=False):
        frame = {"fill": False, "color": colour, "linestyle": line, "linewidth": 2.5, "clip_on": False}
        # Padding moves the window's first cell onto the pixel's own index.
        axes[0].add_patch(Rectangle((j - 0.5, i - 0.5), kernel_size, kernel_size, **frame))
        matrix(windows[i, j], numbers=True, limit=end, rows="kh", cols="kw", title=f"window of ({i}, {j})", ax=ax)
        _shade_outside(ax, inside[i, j])
        ax.add_patch(Rectangle((-0.5, -0.5), kernel_size, kernel_size, **frame))
    for ax in axes:
        ax.spines[:].set_visible(False)
    return list(axes)


def windows_times_weights(
    rows: Float[Tensor, "n inside"],
    columns: Float[Tensor, "inside c_out"],
    product: Float[Tensor, "n c_out"],
    *,
    highlight: int,
) -> list[Axes]:
    """The convolution as one matrix product.

    Args:
        rows: one window a row.
        columns: one output channel a column.
        product: rows times columns.
        highlight: a row to frame, on the left and in the product.
    """
    grid = {"width_ratios": [rows.shape[1], columns.shape[1], product.shape[1]]}
    _, axes = plt.subplots(1, 3, figsize=(5, 3), gridspec_kw=grid)
    inside = r"$c_{in} \cdot kh \cdot kw$"
    for ax, values, title, vertical, horizontal in (
        (axes[0], rows, "windows", "h · w", inside),
        (axes[1], columns, "× weights", inside, "$c_{out}$"),
        (axes[2], product, "= outputs", "h · w", "$c_{out}$"),
    ):
        matrix(values, rows=vertical, cols=horizontal, ax=ax)
        ax.set_title(f"{title}\n{values.shape[0]} x {values.shape[1]}", fontsize=9)
    for ax, width in ((axes[0], rows.shape[1]), (axes[2], product.shape[1])):
        ax.add_patch(Rectangle((-0.5, highlight - 0.5), width, 1, fill=False, color="black", linewidth=1.8))
    return list(axes)


def receptive_fields(
    influences: Sequence[Float[Tensor, "h w"]],
    titles: Sequence[str],
    *,
    image: tuple[int, int] | None = None,
    decades: int = 4,
) -> list[Axes]:
    """How strongly each input pixel moves one output, on a logarithmic scale; grey where it cannot at all.

    Args:
        influences: magnitudes of gradients, 0 where there is no path.
        titles: one for each.
        image: height and width of a frame to draw in the middle.
        decades: powers of ten below the largest influence that get a colour of their own.
    """
    figure, axes = plt.subplots(1, len(influences), figsize=(6, 1 + 3.6 / len(influences)), squeeze=False)
    colours = plt.get_cmap(POSITIVE_MAP).copy()
    colours.set_bad(_NO_VALUE)
    for ax, influence, title in zip(axes[0], influences, titles, strict=True):
        share = (influence / influence.max()).detach().cpu().numpy()
        masked = np.ma.masked_equal(share, 0)
        shown = ax.imshow(masked, cmap=colours, norm=LogNorm(10.0**-decades, 1))
        ax.set_title(title, fontsize=8)
        border(ax)
        if image is not None:
            height, width = image
            corner = ((share.shape[1] - width) / 2 - 0.5, (share.shape[0] - height) / 2 - 0.5)
            ax.add_patch(Rectangle(corner, width, height, fill=False, color=ACCENT, linewidth=1.5))
    figure.colorbar(shown, ax=list(axes[0]), shrink=0.7, pad=0.02, label="influence\n(share of the largest)")
    return list(axes[0])


def stems_compared(
    photo: UInt8[Tensor, "3 h w"],
    stems: Mapping[str, tuple[Float[Tensor, "m 3 kh kw"], Float[Tensor, "m h2 w2"]]],
) -> list[list[Axes]]:
    """First layers of some networks: for each a row of kernels, as colours around grey, and below it their answers.

    Every kernel, and every answer, has a scale of its own around 0.

    Args:
        photo: what they answer to: red, green, blue.
        stems: kernels and their answers, by name.
    """
    count = len(next(iter(stems.values()))[0])
    ratios = [0.5, 0.9] * len(stems)
    figure = plt.figure(figsize=(6, 2.9))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.add_gridspec(2 * len(stems), count + 2, height_ratios=ratios, width_ratios=[2, *[1] * count, 0.01])
    whole = figure.add_subplot(grid[:, 0])
    whole.imshow(rearrange(photo.cpu(), "c h w -> h w c").numpy())
    whole.set_title("photograph", fontsize=9)
    rows = [[whole]]
    for place, (name, (kernels, answers)) in enumerate(stems.items()):
        for part in range(2):
            rows.append([figure.add_subplot(grid[2 * place + part, 1 + column]) for column in range(count)])
        for ax, kernel in zip(rows[-2], kernels.detach().float().cpu(), strict=True):
            end = float(kernel.abs().max()) or 1.0
            ax.imshow((0.5 + rearrange(kernel, "c kh kw -> kh kw c") / (2 * end)).numpy())
        for ax, answer in zip(rows[-1], answers.detach().float().cpu(), strict=True):
            end = float(answer.abs().max()) or 1.0
            ax.imshow(answer.numpy(), cmap=SIGNED_MAP, vmin=-end, vmax=end)
        rows[-2][0].set_ylabel("kernel", fontsize=8)
        rows[-1][0].set_ylabel("output", fontsize=8)
        rows[-2][count // 2].set_title(name, fontsize=9)
    for ax in (ax for row in rows for ax in row):
        border(ax)
    return rows


def _shade_outside(ax: Axes, inside: Bool[Tensor, "rows cols"]) -> None:
    for i, j in (~inside).nonzero().tolist():
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, color=_NO_VALUE, linewidth=0))
