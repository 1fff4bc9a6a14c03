"""Figures of the lessons on attention: weights over an image, windows in their place, tables of relative offsets.

Each takes data and returns Axes; none trains, shows or keeps anything.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from einops import rearrange
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from sasa_tutorial.teaching.strokes import border, outline
from sasa_tutorial.teaching.style import POSITIVE_MAP

_MOST_HEADS = 8
_IN_ONE_ROW = 5  # panels; more of them are drawn in two rows


def attention_over_image(
    image: UInt8[Tensor, "3 H W"],
    weights: Float[Tensor, "heads h w"],
    query: tuple[int, int],
    *,
    titles: Sequence[str] = (),
) -> list[Axes]:
    """Where one query looks: the image, then one panel a head. All heads share one colour scale, which starts at 0.

    Args:
        image: red, green, blue.
        weights: of one query, as a map that may be coarser than the image: each weight then covers a patch.
        query: its row and column in that map.
        titles: one for each head; by default the heads are counted from 1.

    Returns:
        The panel of the image, then those of the heads.

    Raises:
        ValueError: more than 8 heads, a query outside the map, or a number of titles that is not the number of heads.
    """
    heads, height, width = weights.shape
    _check_query(query, (height, width))
    if heads > _MOST_HEADS:
        raise ValueError(f"at most {_MOST_HEADS} heads fit, got {heads}: choose some")
    if titles and len(titles) != heads:
        raise ValueError(f"expected one title for each of {heads} heads, got {len(titles)}")
    rows = 1 if heads < _IN_ONE_ROW else 2
    columns = -(-(heads + 1) // rows)
    shape = image.shape[1] / image.shape[2]
    size = min(5.1 / columns, 1.9, (2.9 / rows - 0.25) / shape)  # of a panel's width, in inches; 6 x 3 is the most
    figsize = (columns * size + 0.85, rows * (size * shape + 0.25) + 0.1)
    figure, axes = plt.subplots(rows, columns, figsize=figsize, squeeze=False)
    for ax in list(axes.flat)[heads + 1 :]:
        ax.axis("off")
    panels = list(axes.flat)[: heads + 1]
    panels[0].imshow(rearrange(image.cpu(), "c h w -> h w c").numpy())
    panels[0].set_title(f"query ({query[0]}, {query[1]})", fontsize=8)
    values = weights.detach().float().cpu()
    end = float(values.max()) or 1.0  # all zeros: any scale will do
    for ax, head, title in zip(panels[1:], values, titles or _counted(heads), strict=True):
        shown = ax.imshow(head.numpy(), cmap=POSITIVE_MAP, vmin=0, vmax=end)
        ax.set_title(title, fontsize=8)
    for ax in panels:
        _mark(ax, query, (height, width), points=0.9 * 72 * size / width)
    bar = figure.colorbar(shown, ax=list(axes.flat), shrink=0.9, pad=0.02, label="attention weight")
    bar.locator = MaxNLocator(5 if len(panels) > _IN_ONE_ROW else 4)
    return panels


def _check_query(query: tuple[int, int], size: tuple[int, int]) -> None:
    """A query is a pixel of the map."""
    if not all(0 <= place < side for place, side in zip(query, size, strict=True)):
        raise ValueError(f"the query {tuple(query)} lies outside the map of {size[0]} x {size[1]}")


def _counted(heads: int) -> list[str]:
    return [f"head {head}" for head in range(1, heads + 1)]


def _mark(ax: Axes, query: tuple[int, int], size: tuple[int, int], points: float) -> None:
    """A hollow square around the query's cell, whatever the size of the picture it is drawn on; frame, no ticks.

    Args:
        points: what a cell measures, 1/72 inch each: the line is thinner where cells are small, and hides none of it.
    """
    rows, columns = ax.images[0].get_array().shape[:2]
    cell_height, cell_width = rows / size[0], columns / size[1]
    line = min(max(points / 4, 0.8), 1.8)
    apart = line / points  # in cells: the halo ends where the cell begins
    corner = ((query[1] - apart) * cell_width - 0.5, (query[0] - apart) * cell_height - 0.5)
    sides = ((1 + 2 * apart) * cell_width, (1 + 2 * apart) * cell_height)
    halo = [withStroke(linewidth=2 * line, foreground="white")]
    outline(ax, corner, *sides, linewidth=line, path_effects=halo, clip_on=False)
    border(ax)
