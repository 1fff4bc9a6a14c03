"""Figures of what trained networks do with a photograph: windows of some queries, maps over the picture, preferences.

Each takes data and returns Axes; none trains, shows or keeps anything.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.strokes import border, outline
from sasa_tutorial.teaching.style import ACCENT

_NO_PIXEL = 229.0  # grey
_HALO = [withStroke(linewidth=3, foreground="white")]
_FRAMED = {"linewidth": 1.3, "path_effects": _HALO, "zorder": 3}


def windows_of_queries(
    image: UInt8[Tensor, "3 H W"],
    weights: Float[Tensor, "heads h w kh kw"],
    queries: Mapping[str, tuple[int, int]],
    *,
    titles: Sequence[str] = (),
) -> list[list[Axes]]:
    """The windows of some queries: framed in the image, as pixels, and as weights, one column a head.

    Every window of weights has its own scale, from 0 to its largest weight; below it stands the effective number of
    pixels, the exponential of the entropy of the weights.

    Args:
        image: red, green, blue; its sides are the same multiple of the map's.
        weights: of a layer of local attention.
        queries: row and column in the map, by name: one row of panels each. Names begin with different letters.
        titles: one for each head; by default the heads are counted from 1.

    Returns:
        The panel of the image alone, then for each query its pixels and its heads.
    """
    heads, height, _, extent, _ = weights.shape
    scale, reach = image.shape[1] // height, extent // 2
    size = min(3.75 / (heads + 1), 0.72)  # of a window, in inches; 6 x 3 is the most
    tall = len(queries) * (size + 0.2) + 0.2
    figure = plt.figure(figsize=(2.2 + (heads + 1) * size, tall))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.add_gridspec(len(queries), heads + 2, width_ratios=[2.0 / size] + [1] * (heads + 1))
    whole = figure.add_subplot(grid[:, 0])
    whole.imshow(rearrange(image.cpu(), "c h w -> h w c").numpy())
    rows = [[whole]]
    outside = F.pad(image.cpu().float(), (reach * scale,) * 4, value=_NO_PIXEL)
    for place, (name, (i, j)) in enumerate(queries.items()):
        top, left, side = i * scale, j * scale, extent * scale
        outline(whole, (left - reach * scale - 0.5, top - reach * scale - 0.5), side, **_FRAMED)
        middle = (left + scale / 2 - 0.5, top + scale / 2 - 0.5)
        style = {"fontsize": 8, "weight": "bold", "ha": "center", "va": "center", "path_effects": _HALO}
        whole.text(*middle, name[0].upper(), **style)
        panels = [figure.add_subplot(grid[place, 1 + column]) for column in range(heads + 1)]
        patch = outside[:, top : top + side, left : left + side] / 255
        panels[0].imshow(rearrange(patch, "c h w -> h w c").numpy())
        panels[0].set_ylabel(name, fontsize=8)
        for ax, window in zip(panels[1:], weights[:, i, j].detach().cpu(), strict=True):
            matrix(window, signed=False, rows="", cols=_effective(window), ax=ax)
            ax.xaxis.label.set_size(7)
            ax.xaxis.labelpad = 1
        for ax, cell in zip(panels, (scale, *[1] * heads), strict=True):
            outline(ax, (reach * cell - 0.5, reach * cell - 0.5), cell, **_FRAMED)
        rows.append(panels)
    whole.set(xlim=(-0.5, image.shape[2] - 0.5), ylim=(image.shape[1] - 0.5, -0.5))
    counted = titles or [f"head {head}" for head in range(1, heads + 1)]
    for ax, title in zip(rows[1], ("pixels", *counted), strict=True):
        ax.set_title(title, fontsize=8)
    for ax in (ax for row in rows for ax in row):
        border(ax)
    return rows


def maps_of_queries(
    image: UInt8[Tensor, "3 H W"],
    maps: Mapping[str, Float[Tensor, "heads parts h w"]],
    queries: Mapping[str, tuple[int, int]],
    parts: Sequence[str],
    *,
    one_scale: bool = False,
) -> list[list[Axes]]:
    """What some queries take from the whole map, by head: side by side for each query, one row a head.

    Every map has its own scale, from 0 to its largest weight; below it stands the effective number of pixels, the
    exponential of the entropy of the weights.

    Args:
        image: red, green, blue; its sides are the same multiple of the map's.
        maps: for each query, by name, weights that sum to 1 over the map, made in several ways.
        queries: row and column in the map, by the same names. Names begin with different letters.
        parts: the ways, as titles.
        one_scale: for all maps of a head, from 0 to the largest weight among them.

    Returns:
        The panel of the image alone, then one row of panels for each head.
    """
    heads, _, height, _ = next(iter(maps.values())).shape
    scale, columns = image.shape[1] // height, len(maps) * len(parts)
    size = min(4.5 / columns, 0.9)  # of a map, in inches; 6 x 3 is the most
    figure = plt.figure(figsize=(1.5 + columns * size, heads * (size + 0.22) + 0.35))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.add_gridspec(heads, columns + 1, width_ratios=[1.45 / size] + [1] * columns)
    whole = figure.add_subplot(grid[:, 0])
    whole.imshow(rearrange(image.cpu(), "c h w -> h w c").numpy())
    for name, (i, j) in queries.items():
        outline(whole, (j * scale - 0.5, i * scale - 0.5), scale, **_FRAMED)
        style = {"fontsize": 8, "weight": "bold", "ha": "center", "va": "center", "path_effects": _HALO}
        whole.text((j + 0.5) * scale - 0.5, (i - 0.9) * scale - 0.5, name[0].upper(), **style)
    rows = [[whole]]
    for head in range(heads):
        panels = []
        end = max(float(ways[head].max()) for ways in maps.values()) if one_scale else None
        for name, ways in maps.items():
            for part, weights in zip(parts, ways[head].detach().cpu(), strict=True):
                ax = figure.add_subplot(grid[head, 1 + len(panels)])
                matrix(weights, signed=False, limit=end, rows="", cols=_effective(weights), ax=ax)
                ax.xaxis.label.set_size(7)
                ax.xaxis.labelpad = 1
                if head == 0:
                    ax.set_title(f"{name}\n{part}" if part == parts[0] else f"\n{part}", fontsize=8)
                i, j = queries[name]
                outline(ax, (j - 0.5, i - 0.5), 1, **_FRAMED)
                panels.append(ax)
        panels[0].set_ylabel(f"head {head + 1}", fontsize=8)
        rows.append(panels)
    for ax in (ax for row in rows for ax in row):
        border(ax)
    return rows


def maps_of_two_queries(
    rows: Sequence[tuple[UInt8[Tensor, "3 H W"], Mapping[str, tuple[int, int]], Mapping[str, Mapping[str, Tensor]]]],
) -> list[list[Axes]]:
    """Does it matter who asks? For each image, what two of its pixels read, by head: untrained, trained, trained.

    Every map has its own scale, from 0 to its largest weight; below it stands the effective number of pixels, the
    exponential of the entropy of the weights.

    Args:
        rows: images; row and column of two pixels in each, by a letter; and by title of a head its weights
            (h, w, h, w), "untrained" and "trained". The sides of an image are multiples of those of the maps.

    Returns:
        For each image its panel, then for each head the first query untrained, the first and the second trained.
    """
    heads = len(rows[0][2])
    figure, grid = plt.subplots(len(rows), 1 + 3 * heads, figsize=(6, 0.45 + 1.0 * len(rows)), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.01, wspace=0, hspace=0)
    for place, (image, queries, maps) in enumerate(rows):
        axes = grid[place]
        axes[0].imshow(rearrange(image.cpu(), "c h w -> h w c").numpy())
        for letter, (i, j) in queries.items():
            style = {"fontsize": 8, "weight": "bold", "ha": "center", "va": "center", "path_effects": _HALO}
            axes[0].text(j, i, letter, color=ACCENT, **style)
        first, second = queries.items()
        panels = iter(axes[1:])
        for title, weights in maps.items():
            for name, (letter, (i, j)) in (("untrained", first), ("trained", first), ("trained", second)):
                height = len(weights[name])
                row, col = i * height // image.shape[1], j * height // image.shape[1]
                shown, ax = weights[name][row, col].detach().cpu(), next(panels)
                matrix(shown, signed=False, rows="", cols=_effective(shown), ax=ax)
                ax.xaxis.label.set_size(7)
                ax.xaxis.labelpad = 1
                outline(ax, (col - 0.5, row - 0.5), 1, **_FRAMED)
                if place == 0:
                    above = title if (letter, name) == (first[0], "trained") else ""
                    below = f"{letter} untrained" if name == "untrained" else letter
                    ax.set_title(f"{above}\n{below}", fontsize=8)
    for ax in grid.flat:
        border(ax)
    return grid.tolist()


def preferences_of_heads(
    rows: Mapping[str, Float[Tensor, "heads kh kw"]], names: Sequence[str] | None = None
) -> list[list[Axes]]:
    """Which directions each head likes: q·r by offset, red for more than its mean over the window; one scale for all.

    Args:
        rows: for each network, by name, the mean logit of every head and offset.
        names: of the heads; None for their numbers.
    """
    centred = {name: logits - logits.mean(dim=(1, 2), keepdim=True) for name, logits in rows.items()}
    end = max(float(logits.abs().max()) for logits in centred.values())
    heads, extent, _ = next(iter(centred.values())).shape
    figure, grid = plt.subplots(len(rows), heads, figsize=(6, 0.3 + 0.72 * len(rows)), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015)
    for axes, (name, logits) in zip(grid, centred.items(), strict=True):
        for head, ax in enumerate(axes):
            matrix(logits[head], limit=end, rows="", cols="", ax=ax)
            outline(ax, (extent // 2 - 0.5,) * 2, 1, **_FRAMED)
            border(ax)
        axes[0].set_ylabel(name, fontsize=8)
        axes[0].set_yticks([0, extent // 2, extent - 1], [-(extent // 2), 0, extent // 2], fontsize=6)
    for ax in grid[-1]:
        ax.set_xticks([0, extent // 2, extent - 1], [-(extent // 2), 0, extent // 2], fontsize=6)
    for name, ax in zip(names or range(1, heads + 1), grid[0], strict=True):
        ax.set_title(f"head {name}", fontsize=8)
    figure.colorbar(grid[0, 0].images[0], ax=grid, pad=0.02, label="q·r less its mean")
    return grid.tolist()


def _effective(weights: Float[Tensor, "h w"]) -> str:
    pixels = float(torch.special.entr(weights).sum().exp())
    return f"{pixels:.0f} px" if pixels > 9.5 else f"{pixels:.1f} px"
