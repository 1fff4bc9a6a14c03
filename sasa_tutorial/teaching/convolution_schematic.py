"""The picture that opens the lesson on convolution: one window, nine weights, one output pixel, and on to the next."""

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

from sasa_tutorial.layers import conv2d_windows
from sasa_tutorial.teaching.style import ACCENT, QUIET, SIGNED_MAP

_IMAGE = torch.tensor(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
).float()
_KERNEL = torch.tensor([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]]).float()  # dark on the left, light on the right
_PIXEL = (2, 1)  # whose window is framed


def convolution_schematic() -> Axes:
    """A window slides over an image; its nine pixels meet the same nine weights everywhere; each sum is one output.

    The numbers are those of `conv2d_windows` with this image and kernel.
    """
    answer = conv2d_windows(_IMAGE[None, None], _KERNEL[None, None])[0, 0]
    _, ax = plt.subplots(figsize=(6, 2.5))
    i, j = _PIXEL
    _grid(ax, _IMAGE, 0, 0, lambda value: str(1 - 0.85 * (1 - value)), dark=lambda value: value < 0.5)
    _grid(ax, _KERNEL, 9.2, 1, _signed(1), dark=lambda value: abs(value) > 0.6)
    _grid(ax, answer, 14.4, 0, _signed(3), dark=lambda value: abs(value) > 1.8)
    ax.add_patch(Rectangle((j - 1 + 1, i - 1), 3, 3, fill=False, color=ACCENT, linewidth=1.5, linestyle=":"))
    ax.add_patch(Rectangle((j - 1, i - 1), 3, 3, fill=False, color=ACCENT, linewidth=2.5))
    ax.add_patch(Rectangle((14.4 + j, i), 1, 1, fill=False, color=ACCENT, linewidth=2.5))
    _arrow(ax, (1.5, 6.55), (3.6, 6.55))
    ax.text(3.9, 6.62, "slide on", ha="left", va="center", color=ACCENT, fontsize=8)
    ax.text(8.1, 2.5, "×", ha="center", va="center", fontsize=16)
    _arrow(ax, (12.5, 2.5), (14.2, 2.5))
    ax.text(13.3, 1.75, "sum", ha="center", va="center", fontsize=9)
    for x, words in ((3.5, "image x"), (10.7, "weights W"), (17.9, "output y")):
        ax.text(x, -0.6, words, ha="center", va="center", fontsize=10, weight="bold")
    ax.text(10.7, 4.75, "the same nine\neverywhere", ha="center", va="center", fontsize=8)
    ax.text(17.9, 6.65, f"nine products, added: {answer[i, j]:.0f}", ha="center", va="center", fontsize=8, color=ACCENT)
    ax.set(xlim=(-0.3, 21.7), ylim=(7.1, -1.1), aspect="equal")
    ax.axis("off")
    return ax


def _signed(end):
    colours = plt.get_cmap(SIGNED_MAP)
    return lambda value: colours(0.5 + 0.42 * value / end)


def _grid(ax, values, left, top, colour, *, dark) -> None:
    """Cells with numbers, their upper left corner at (left, top)."""
    for (row, col), value in ((place, values[place].item()) for place in _places(values)):
        ax.add_patch(Rectangle((left + col, top + row), 1, 1, facecolor=colour(value), edgecolor=QUIET, linewidth=0.5))
        words = f"{value:.0f}".replace("-", "−")
        place = (left + col + 0.5, top + row + 0.53)
        ax.text(*place, words, ha="center", va="center", fontsize=7, color="white" if dark(value) else "black")


def _places(values) -> list[tuple[int, int]]:
    return [(row, col) for row in range(values.shape[0]) for col in range(values.shape[1])]


def _arrow(ax, start, end) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 12, "color": ACCENT, "linewidth": 1.8}
    ax.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **style))
