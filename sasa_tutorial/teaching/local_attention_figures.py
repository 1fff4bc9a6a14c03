"""Figures of the lesson on local attention: logits and weights of windows, windows in another order.

Each takes data and returns Axes; none trains, shows or keeps anything.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.local_attention_schematic import NO_PIXEL
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, QUIET


def logits_and_weights(
    logits: Float[Tensor, "h w kh kw"],
    weights: Float[Tensor, "h w kh kw"],
    inside: Bool[Tensor, "h w kh kw"],
    *,
    pixels: Sequence[tuple[int, int]],
) -> list[Axes]:
    """The windows of a few queries, twice: before the softmax and after it. Cells outside the image are grey.

    Args:
        logits: before the softmax; what stands in cells outside the image is not drawn.
        weights: after it.
        inside: which cells are pixels.
        pixels: row and column of the queries.
    """
    _, axes = plt.subplots(1, 2 * len(pixels), figsize=(6, 1.9))
    inner = logits.masked_fill(~inside, 0)
    for place, (i, j) in enumerate(pixels):
        for ax, values, name, signed in (
            (axes[2 * place], inner, "logits", True),
            (axes[2 * place + 1], weights, "weights", False),
        ):
            end = float(values.abs().max())
            rounded = (values[i, j] * 100).round() / 100
            title = f"{name} of ({i}, {j})"
            matrix(rounded, numbers=True, signed=signed, limit=end, rows="kh", cols="kw", title=title, ax=ax)
            for a, b in (~inside[i, j]).nonzero().tolist():
                ax.add_patch(Rectangle((b - 0.5, a - 0.5), 1, 1, color=NO_PIXEL, linewidth=0, zorder=3))
    for ax in axes:
        ax.spines[:].set_visible(False)
    return list(axes)


def same_neighbours(
    patches: UInt8[Tensor, "n 3 k k"], titles: Sequence[str], answers: Mapping[str, Float[Tensor, "n c"]]
) -> list[list[Axes]]:
    """Windows with the same pixels in another order, and below each what layers answer at its centre.

    Args:
        patches: red, green, blue; k is odd.
        titles: one for each patch.
        answers: for each mechanism, the c output channels at the centre of every patch.
    """
    count, centre = len(patches), patches.shape[-1] // 2
    ratios = [2.1] + [1] * len(answers)
    _, axes = plt.subplots(1 + len(answers), count, figsize=(6, 3), height_ratios=ratios, squeeze=False)
    halo = [withStroke(linewidth=3, foreground="white")]
    for ax, patch, title in zip(axes[0], patches, titles, strict=True):
        ax.imshow(rearrange(patch.cpu(), "c h w -> h w c").numpy())
        frame = {"fill": False, "color": ACCENT, "linewidth": 1.5, "path_effects": halo}
        ax.add_patch(Rectangle((centre - 0.5, centre - 0.5), 1, 1, **frame))
        ax.set(title=title, xticks=[], yticks=[])
    for row, (mechanism, values) in zip(axes[1:], answers.items(), strict=True):
        end = 1.15 * float(values.detach().abs().max())
        for ax, channels in zip(row, values.detach().cpu(), strict=True):
            ax.bar(range(len(channels)), channels.numpy(), color=MECHANISM_COLOURS[mechanism], width=0.7)
            ax.axhline(0, color=QUIET, linewidth=0.8)
            ax.set(ylim=(-end, end), xticks=[], yticks=[])
        row[0].set_ylabel(mechanism.replace("_", "\n"), fontsize=7)
    axes[-1, 0].set_xlabel("output channel", fontsize=8)
    return axes.tolist()
