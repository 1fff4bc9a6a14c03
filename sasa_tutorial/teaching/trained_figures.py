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
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.style import ACCENT, QUIET

_NO_PIXEL = 229.0  # grey
_HALO = [withStroke(linewidth=3, foreground="white")]


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
        _frame(whole, (left - reach * scale - 0.5, top - reach * scale - 0.5), side)
        middle = (left + scale / 2 - 0.5, top + scale / 2 - 0.5)
        style = {"fontsize": 8, "weight": "bold", "ha": "center", "va": "center", "path_effects": _HALO}
        whole.text(*middle, name[0].upper(), **style)
        panels = [figure.add_subplot(grid[place, 1 + column]) for column in range(heads + 1)]
        patch = outside[:, top : top + side, left : left + side] / 255
        panels[0].imshow(rearrange(patch, "c h w -> h w c").numpy())
        panels[0].set_ylabel(name, fontsize=8)
        for ax, window in zip(panels[1:], weights[:, i, j].detach().cpu(), strict=True):
            pixels = float(torch.special.entr(window).sum().exp())
            matrix(
                window, signed=False, rows="", cols=f"{pixels:.0f} px" if pixels > 9.5 else f"{pixels:.1f} px", ax=ax
            )
            ax.xaxis.label.set_size(7)
            ax.xaxis.labelpad = 1
        for ax, cell in zip(panels, (scale, *[1] * heads), strict=True):
            _frame(ax, (reach * cell - 0.5, reach * cell - 0.5), cell)
        rows.append(panels)
    whole.set(xlim=(-0.5, image.shape[2] - 0.5), ylim=(image.shape[1] - 0.5, -0.5))
    counted = titles or [f"head {head}" for head in range(1, heads + 1)]
    for ax, title in zip(rows[1], ("pixels", *counted), strict=True):
        ax.set_title(title, fontsize=8)
    for ax in (ax for row in rows for ax in row):
        _quiet_frame(ax)
    return rows


def preferences_of_heads(rows: Mapping[str, Float[Tensor, "heads kh kw"]]) -> list[list[Axes]]:
    """Which directions each head likes: q·r by offset, red for more than its mean over the window; one scale for all.

    Args:
        rows: for each network, by name, the mean logit of every head and offset.
    """
    centred = {name: logits - logits.mean(dim=(1, 2), keepdim=True) for name, logits in rows.items()}
    end = max(float(logits.abs().max()) for logits in centred.values())
    heads, extent, _ = next(iter(centred.values())).shape
    figure, grid = plt.subplots(len(rows), heads, figsize=(6, 0.3 + 0.72 * len(rows)), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015)
    for axes, (name, logits) in zip(grid, centred.items(), strict=True):
        for head, ax in enumerate(axes):
            matrix(logits[head], limit=end, rows="", cols="", ax=ax)
            _frame(ax, (extent // 2 - 0.5,) * 2, 1)
            _quiet_frame(ax)
        axes[0].set_ylabel(name, fontsize=8)
    for head, ax in enumerate(grid[0]):
        ax.set_title(f"head {head + 1}", fontsize=8)
    figure.colorbar(grid[0, 0].images[0], ax=grid, pad=0.02, label="q·r")
    return grid.tolist()


def _frame(ax: Axes, corner: tuple[float, float], side: float) -> None:
    ax.add_patch(Rectangle(corner, side, side, fill=False, color=ACCENT, linewidth=1.3, path_effects=_HALO, zorder=3))


def _quiet_frame(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color=QUIET, linewidth=0.5)
