"""Figures of the lesson on the attention stem: what a pixel knows, shares of a mixture, signed answers side by side.

Each takes data and returns Axes; none trains, shows or keeps anything.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.style import POSITIVE_MAP, QUIET


def what_a_pixel_knows(
    own: Float[Tensor, " pixels"], neighbour: Float[Tensor, " pixels"], edge: Float[Tensor, " pixels"]
) -> list[Axes]:
    """How often a brightness meets the brightness of the next pixel, and how often it meets an edge.

    Args:
        own: brightness of pixels, from 0 to 1.
        neighbour: brightness of the pixel to the right of each.
        edge: signed answer of an edge detector at each.
    """
    _, axes = plt.subplots(1, 2, figsize=(6, 2.5))
    reach = float(edge.abs().max())
    for ax, other, label, low, high in (
        (axes[0], neighbour, "brightness of its right neighbour", 0.0, 1.0),
        (axes[1], edge, "left-to-right edge at the pixel", -reach, reach),
    ):
        both = torch.stack((own, other), dim=1).cpu().double()
        limits = [0.0, 1.0, low, high]
        table, _ = torch.histogramdd(both, bins=[48, 48], range=limits)
        ax.imshow(table.T.numpy(), origin="lower", extent=limits, aspect="auto", cmap=POSITIVE_MAP)
        ax.set(xlabel="brightness of a pixel", ylabel=label)
    axes[1].axhline(0, color="white", linewidth=0.8, linestyle=":")
    return list(axes)


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


def signed_maps(
    rows: Sequence[Sequence[Float[Tensor, "h w"]]],
    titles: Sequence[str],
    *,
    names: Sequence[str] = (),
    together: bool = True,
) -> list[list[Axes]]:
    """Maps with a sign, blue below 0 and red above, in rows.

    Args:
        rows: the maps of each row.
        titles: one for each column.
        names: one for each row, or none.
        together: one colour scale for all, that of the first column; else each map has its own.

    Raises:
        ValueError: rows that are not as long as `titles`.
    """
    if any(len(row) != len(titles) for row in rows):
        raise ValueError(f"expected {len(titles)} maps in each row, got {[len(row) for row in rows]}")
    size = 5.7 / len(titles)
    height, width = rows[0][0].shape
    tall = min(len(rows) * size * height / width + 0.2 * (1 + max(title.count("\n") for title in titles)), 3)
    figure, axes = plt.subplots(len(rows), len(titles), figsize=(6, tall), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    end = max(float(row[0].abs().max()) for row in rows) if together else None
    for panels, row in zip(axes, rows, strict=True):
        for ax, values in zip(panels, row, strict=True):
            matrix(values, limit=end, rows="", cols="", ax=ax)
            for spine in ax.spines.values():
                spine.set(visible=True, color=QUIET, linewidth=0.5)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=8)
    for panels, name in zip(axes, names, strict=False):
        panels[0].set_ylabel(name, fontsize=8)
    return axes.tolist()
