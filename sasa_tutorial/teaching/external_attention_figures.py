"""Figures of the lesson on external attention: the same few slots over many images, and how evenly slots are used."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from sasa_tutorial.teaching.style import ACCENT, POSITIVE_MAP, QUIET


def pictures_and_maps(rows: Sequence[Tensor], names: Sequence[str]) -> list[list[Axes]]:
    """Small panels in rows: one image a column; each row shows the images themselves, or one map of each.

    Args:
        rows: pictures (n, 3, h, w), as uint8 or from 0 to 1; or maps (n, h, w), which share one colour scale within
            the row; it begins at 0, and the highest half per cent of the values have one colour.
        names: one for each row, written at its left.

    Raises:
        ValueError: a number of names that is not the number of rows.
    """
    if len(names) != len(rows):
        raise ValueError(f"expected one name for each of {len(rows)} rows, got {len(names)}")
    columns = len(rows[0])
    size = min(5.2 / columns, 2.95 / len(rows))
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(0.8 + columns * size, 0.05 + len(rows) * size), squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015)
    for panels, row, name in zip(axes, rows, names, strict=True):
        values = row.detach().cpu()
        # A single high cell would leave everything else dark. All zeros: any scale will do.
        end = float(values.float().quantile(0.995)) or float(values.max()) or 1.0
        for ax, value in zip(panels, values, strict=True):
            if value.ndim == 3:
                colours = value if value.dtype == torch.uint8 else value.float().clamp(0, 1)
                ax.imshow(rearrange(colours, "c h w -> h w c").numpy())
            else:
                ax.imshow(value.float().numpy(), cmap=POSITIVE_MAP, vmin=0, vmax=end)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color=QUIET, linewidth=0.5)
        panels[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return axes.tolist()


def use_of_slots(
    shares: dict[str, Float[Tensor, " s"]], contrasts: dict[str, Float[Tensor, " s"]], colour: str
) -> list[Axes]:
    """How much of all weights each slot takes, and how much its map varies over an image; slots sorted in each curve.

    Args:
        shares: for each way to normalise, the share of every slot; each sums to 1.
        contrasts: for each layer, the standard deviation of a slot's weights over the pixels, in units of their mean.
        colour: of the first curve of each panel; the second is dashed and grey.
    """
    _, axes = plt.subplots(1, 2, figsize=(6, 2.5))
    for ax, curves, label in ((axes[0], shares, "share of all weights"), (axes[1], contrasts, "contrast of the map")):
        for (name, values), style in zip(
            curves.items(), ({"color": colour}, {"color": QUIET, "linestyle": "--"}), strict=True
        ):
            ax.plot(values.detach().cpu().sort(descending=True).values.numpy(), label=name, **style)
        ax.set(xlabel="s (slots, sorted)", ylabel=label)
        ax.set_ylim(bottom=0)
        ax.legend(fontsize=8)
    slots = len(next(iter(shares.values())))
    axes[0].axhline(1 / slots, color=ACCENT, linewidth=1, linestyle=":")
    return list(axes)
