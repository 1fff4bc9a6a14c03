"""Figures of the lesson on the attention stem: what a pixel lacks, shares of a mixture, signed answers.

Each takes data and returns Axes; none trains, shows or keeps anything.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import matplotlib.pyplot as plt
import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.strokes import border
from sasa_tutorial.teaching.style import ACCENT


def same_colour_windows(
    image: UInt8[Tensor, "3 H W"], places: Mapping[str, tuple[int, int]], *, reach: int = 3
) -> list[list[Axes]]:
    """Pixels of one colour: framed in the image, alone, and in the window around each.

    Args:
        image: red, green, blue.
        places: row and column of the pixels, by name.
        reach: of a window to each side, in pixels.
    """
    shown = rearrange(image.cpu(), "c h w -> h w c").numpy()
    figure = plt.figure(figsize=(5.6, 2.7))
    grid = figure.add_gridspec(2, 1 + len(places), width_ratios=[2.1] + [1] * len(places))
    whole = figure.add_subplot(grid[:, 0])
    whole.imshow(shown)
    rows = [[whole], [], []]
    halo = [withStroke(linewidth=3, foreground="white")]
    for column, (name, (i, j)) in enumerate(places.items()):
        corner = (j - reach - 0.5, i - reach - 0.5)
        whole.add_patch(Rectangle(corner, 2 * reach + 1, 2 * reach + 1, fill=False, color=ACCENT, path_effects=halo))
        style = {"fontsize": 9, "weight": "bold", "ha": "left", "va": "bottom", "path_effects": halo, "color": ACCENT}
        whole.text(j + reach + 1, i - reach, chr(ord("A") + column), **style)
        alone, around = (figure.add_subplot(grid[row, 1 + column]) for row in (0, 1))
        alone.imshow(shown[i : i + 1, j : j + 1])
        alone.set_title(f"{chr(ord('A') + column)}: one pixel", fontsize=8)
        around.imshow(shown[i - reach : i + reach + 1, j - reach : j + reach + 1])
        around.add_patch(
            Rectangle((reach - 0.5,) * 2, 1, 1, fill=False, color=ACCENT, linewidth=1.6, path_effects=halo)
        )
        around.set_title(name, fontsize=8)
        rows[1].append(alone)
        rows[2].append(around)
    for ax in (ax for row in rows for ax in row):
        border(ax)
    return rows


def mirrored_blocks(
    blocks: Mapping[str, Float[Tensor, "rows cols"]], signs: Mapping[str, Float[Tensor, "rows cols"]]
) -> list[list[Axes]]:
    """What each block becomes under values of several kinds: the values, and their mean in a cell of its own.

    Args:
        blocks: brightness of the pixels, 0 for the mean of the data, by name: one row of panels each.
        signs: what the value matrix of every place does to brightness, by name: two columns of panels each.
    """
    end = max(float(block.abs().max()) for block in blocks.values())
    figure, grid = plt.subplots(
        len(blocks), 1 + 2 * len(signs), figsize=(5.8, 2.6), width_ratios=[1] + [1, 0.42] * len(signs), squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    for panels, (name, block) in zip(grid, blocks.items(), strict=True):
        panels[0].imshow(block.numpy(), cmap="gray", vmin=-1.2 * end, vmax=1.2 * end)
        _lines(panels[0], block)
        panels[0].set_ylabel(name, fontsize=8)
        for place, sign in enumerate(signs.values()):
            values, answer = panels[1 + 2 * place : 3 + 2 * place]
            matrix(sign * block, limit=1.4 * end, rows="", cols="", numbers=True, ax=values)
            _lines(values, block)
            mean = round(float((sign * block).mean()), 2) + 0.0
            matrix(torch.tensor([[mean]]), limit=1.4 * end, rows="", cols="", ax=answer)
            strong = abs(mean) > 0.84 * end
            answer.text(0, 0, f"{mean:.1f}", ha="center", va="center", fontsize=8, color="white" if strong else "black")
    grid[0, 0].set_title("pixels", fontsize=8)
    for place, name in enumerate(signs):
        grid[0, 1 + 2 * place].set_title(name, fontsize=8)
        grid[0, 2 + 2 * place].set_title("mean", fontsize=8)
    for ax in grid.flat:
        border(ax)
    return grid.tolist()


def edge_mosaic(image: UInt8[Tensor, "3 H W"], lighter: Sequence[Sequence[str]]) -> list[Axes]:
    """An image, and the same with a frame around each block and an arrow from its darker half to its lighter one.

    Args:
        image: red, green, blue.
        lighter: for each block, row by row, which half is lighter: "left", "right", "upper" or "lower".
    """
    _, axes = plt.subplots(1, 2, figsize=(5, 2.5))
    for ax in axes:
        ax.imshow(rearrange(image.cpu(), "c h w -> h w c").numpy())
        border(ax)
    side = image.shape[1] / len(lighter)
    steps = {"left": (-1, 0), "right": (1, 0), "upper": (0, -1), "lower": (0, 1)}
    for (i, row), j in product(enumerate(lighter), range(len(lighter[0]))):
        frame = {"fill": False, "edgecolor": "white", "linewidth": 1.5}
        axes[1].add_patch(Rectangle((j * side - 0.5, i * side - 0.5), side, side, **frame))
        x, y = (j + 0.5) * side - 0.5, (i + 0.5) * side - 0.5
        dx, dy = (0.25 * side * step for step in steps[row[j]])
        arrow = FancyArrowPatch((x - dx, y - dy), (x + dx, y + dy), arrowstyle="-|>", mutation_scale=12, linewidth=1.6)
        arrow.set(color="black", path_effects=[withStroke(linewidth=3.5, foreground="white")])
        axes[1].add_patch(arrow)
    return list(axes)


def edges_in_image(image: UInt8[Tensor, "3 H W"], answers: Mapping[str, Float[Tensor, "2 h w"]]) -> list[list[Axes]]:
    """The image, and for each network two maps with a sign: right against left, lower against upper.

    Every map has its own scale around 0, whose ends are the highest per cent of its magnitudes.

    Args:
        image: red, green, blue.
        answers: by name of the network, one column of panels each.
    """
    figure = plt.figure(figsize=(6, 3))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    grid = figure.add_gridspec(2, 1 + len(answers), width_ratios=[1.15] + [1] * len(answers))
    whole = figure.add_subplot(grid[:, 0])
    whole.imshow(rearrange(image.cpu(), "c h w -> h w c").numpy())
    whole.set_title("photograph", fontsize=8)
    rows = [[whole], [], []]
    for column, (name, maps) in enumerate(answers.items()):
        for side, words in enumerate(("right − left", "lower − upper")):
            ax = figure.add_subplot(grid[side, 1 + column])
            matrix(maps[side], limit=float(maps[side].abs().float().quantile(0.99)), rows="", cols="", ax=ax)
            if side == 0:
                ax.set_title(name, fontsize=8)
            if column == 0:
                ax.set_ylabel(words, fontsize=8)
            rows[1 + side].append(ax)
    for ax in (ax for row in rows for ax in row):
        border(ax)
    return rows


def parts_of_matrices(image: UInt8[Tensor, "3 H W"], shares: Mapping[str, Float[Tensor, "m p q"]]) -> list[list[Axes]]:
    """The image as each value matrix reads it: a pixel fades to white as the share of the matrix at its place falls.

    Args:
        image: red, green, blue; its sides are multiples of the block's.
        shares: of each network, by name: one row of panels each.
    """
    mixtures, rows, cols = next(iter(shares.values())).shape
    figure, grid = plt.subplots(len(shares), mixtures, figsize=(6, 0.25 + 1.4 * len(shares)), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.04)
    colours = rearrange(image.cpu().float() / 255, "c h w -> h w c")
    tiles = {"hb": image.shape[1] // rows, "wb": image.shape[2] // cols}
    for panels, (name, p) in zip(grid, shares.items(), strict=True):
        for m, ax in enumerate(panels):
            share = repeat(p[m].detach().cpu(), "p q -> (hb p) (wb q) 1", **tiles)
            ax.imshow((1 - share * (1 - colours)).clamp(0, 1).numpy())
            ax.set_title(f"matrix {m + 1}: {p[m].mean():.0%}", fontsize=8)
            border(ax)
        panels[0].set_ylabel(name, fontsize=8)
    return grid.tolist()


def read_by_heads(
    image: UInt8[Tensor, "3 H W"], weights: Mapping[str, Float[Tensor, "2 hb wb n n"]]
) -> list[list[Axes]]:
    """The image as each of two heads reads it, and in levels how much lighter every block is to the second head.

    Args:
        image: red, green, blue.
        weights: of each network, by name, one row of panels each; n = p x p pixels of a block, row by row.
    """
    side = round(next(iter(weights.values())).shape[-1] ** 0.5)
    pixels = rearrange(image.cpu().float(), "c (hb p) (wb q) -> hb wb (p q) c", p=side, q=side)
    figure, grid = plt.subplots(len(weights), 4, figsize=(6, 0.2 + 1.36 * len(weights)), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    for panels, (name, table) in zip(grid, weights.items(), strict=True):
        read = einsum(table.detach().cpu(), pixels, "heads hb wb i j, hb wb j c -> heads hb wb i c")
        pictures = rearrange(read, "heads hb wb (p q) c -> heads (hb p) (wb q) c", p=side, q=side)
        shown = [rearrange(image.cpu(), "c h w -> h w c"), *pictures.round().clamp(0, 255).to(torch.uint8)]
        for ax, one in zip(panels, shown, strict=False):
            ax.imshow(one.numpy())
        matrix((read[1] - read[0]).mean(dim=(2, 3)), limit=100, rows="", cols="", ax=panels[3])
        panels[0].set_ylabel(name, fontsize=8)
    for ax, title in zip(grid[0], ("photograph", "head 1 reads", "head 2 reads", "head 2 − head 1"), strict=True):
        ax.set_title(title, fontsize=8)
    for ax in grid.flat:
        border(ax)
    bar = figure.colorbar(grid[0, 3].images[0], ax=list(grid[:, 3]), ticks=(-100, 0, 100), shrink=0.8)
    bar.set_label("brightness, of 255 levels", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return grid.tolist()


def windows_of_blocks(weights: Float[Tensor, "heads hb wb n n"]) -> Float[Tensor, "heads h w k k"]:
    """Weights inside blocks as windows around every query, as `explorer` takes them; 0 outside the block.

    Args:
        weights: from every pixel of a block of n = p x p pixels, row by row, to every pixel of the same block.

    Raises:
        ValueError: n is not a square.
    """
    heads, down, across, n, _ = weights.shape
    block = round(n**0.5)
    if block**2 != n:
        raise ValueError(f"expected blocks of p x p pixels, got {n} pixels a block")
    windows = weights.new_zeros(heads, down, block, across, block, 2 * block - 1, 2 * block - 1)
    for i, j, a, b in product(range(block), repeat=4):
        row, col = a - i + block - 1, b - j + block - 1
        windows[:, :, i, :, j, row, col] = weights[..., i * block + j, a * block + b]
    return rearrange(windows, "heads hb p wb q kh kw -> heads (hb p) (wb q) kh kw")


def mixture_shares(shares: Float[Tensor, "m p q"]) -> list[Axes]:
    """p(a, b, m): one panel for each value matrix, on one scale from 0 to 1."""
    mixtures, rows, cols = shares.shape
    figure, axes = plt.subplots(1, mixtures, figsize=(min(6, 1.4 * mixtures + 0.8), 1.9), squeeze=False)
    for m, (ax, share) in enumerate(zip(axes[0], shares.detach().cpu(), strict=True)):
        rounded = (share * 100).round() / 100
        matrix(rounded, signed=False, numbers=max(rows, cols) <= 4, limit=1, rows="", cols="b", title=f"m = {m}", ax=ax)
        ax.set(xticks=range(cols), yticks=range(rows))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0, 0].set_ylabel("a", rotation=0, labelpad=8)
    figure.colorbar(axes[0, -1].images[0], ax=list(axes[0]), shrink=0.8, pad=0.02, label="p(a, b, m)")
    return list(axes[0])


def shares_over_image(shares: Mapping[str, Float[Tensor, "h w"]]) -> list[Axes]:
    """The share of one value matrix at every pixel of an image, for several ways to count places; one scale, from 0."""
    figure, axes = plt.subplots(1, len(shares), figsize=(6, 2.6), squeeze=False)
    largest = max(float(share.max()) for share in shares.values())
    for ax, (name, share) in zip(axes[0], shares.items(), strict=True):
        matrix(share, signed=False, limit=largest, rows="h (pixels)", cols="w (pixels)", title=name, ax=ax)
    figure.colorbar(axes[0, -1].images[0], ax=list(axes[0]), label="share of one matrix")
    return list(axes[0])


def _lines(ax: Axes, cells: Float[Tensor, "rows cols"]) -> None:
    """White lines between the cells."""
    for edge in range(1, cells.shape[0]):
        ax.axhline(edge - 0.5, color="white", linewidth=0.8)
    for edge in range(1, cells.shape[1]):
        ax.axvline(edge - 0.5, color="white", linewidth=0.8)
