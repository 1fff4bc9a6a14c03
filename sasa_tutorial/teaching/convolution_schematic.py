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
_PIXEL = (2, 1)  # whose window the picture shows when it stands still
_OUTPUT = 14.6  # from the left: where the output begins
CONVOLUTION_FRAMES = _IMAGE.numel() + 2  # one for each pixel; the whole picture comes first and last


def convolution_schematic(frame: int = 0) -> Axes:
    """A window slides over an image; its nine pixels meet the same nine weights everywhere; each sum is one output.

    The numbers are those of `conv2d_windows` with this image and kernel.

    Args:
        frame: 0 to CONVOLUTION_FRAMES - 1, for `teaching.show_loop`. In the first and the last the output is whole;
            in those between, the window walks from pixel to pixel, and the output grows behind it.
    """
    answer = conv2d_windows(_IMAGE[None, None], _KERNEL[None, None])[0, 0]
    walking = 0 < frame < CONVOLUTION_FRAMES - 1
    i, j = divmod(frame - 1, _IMAGE.shape[1]) if walking else _PIXEL
    figure = plt.figure(figsize=(6, 2.3), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    _grid(ax, _IMAGE, 0, 0, lambda value: str(1 - 0.85 * (1 - value)), dark=lambda value: value < 0.5)
    _grid(ax, _KERNEL, 9.4, 1, _signed(1), dark=lambda value: abs(value) > 0.6)
    done = _places(answer)[: frame if walking else None]
    _grid(ax, answer, _OUTPUT, 0, _signed(3), dark=lambda value: abs(value) > 1.8, only=done)
    ax.add_patch(Rectangle((j - 1, i - 1), 3, 3, fill=False, color=ACCENT, linewidth=2.5))
    ax.add_patch(Rectangle((_OUTPUT + j, i), 1, 1, fill=False, color=ACCENT, linewidth=2.5))
    _arrow(ax, (1.5, 7.4), (3.6, 7.4))
    ax.text(3.9, 7.45, "slide on", ha="left", va="center", color=ACCENT, fontsize=8)
    ax.text(8.6, 2.5, "×", ha="center", va="center", fontsize=16)
    _arrow(ax, (12.7, 2.5), (14.2, 2.5))
    ax.text(13.4, 1.75, "sum", ha="center", va="center", fontsize=9)
    for x, words in ((3.5, "image x"), (10.9, "weights W"), (_OUTPUT + 3.5, "output y")):
        ax.text(x, -1.5, words, ha="center", va="center", fontsize=10, weight="bold")
    ax.text(10.9, 4.75, "the same nine\neverywhere", ha="center", va="center", fontsize=8)
    words = f"nine products, added: {answer[i, j]:.0f}".replace("-", "−")
    ax.text(_OUTPUT + 3.5, 7.45, words, ha="center", va="center", fontsize=8, color=ACCENT)
    ax.set(xlim=(-1.4, 22.2), ylim=(8, -2.1), aspect="equal")
    ax.axis("off")
    return ax


def _signed(end):
    colours = plt.get_cmap(SIGNED_MAP)
    return lambda value: colours(0.5 + 0.42 * value / end)


def _grid(ax, values, left, top, colour, *, dark, only=None) -> None:
    """Cells with numbers, their upper left corner at (left, top). Where only some are drawn, the others are empty."""
    drawn = _places(values) if only is None else only
    for row, col in _places(values):
        filled = {"facecolor": colour(values[row, col].item())} if (row, col) in drawn else {"fill": False}
        # Not add_patch, which looks for new limits of the axes with every cell: half the time of a frame.
        ax.add_artist(Rectangle((left + col, top + row), 1, 1, edgecolor=QUIET, linewidth=0.5, **filled))
    for row, col in drawn:
        value, place = values[row, col].item(), (left + col + 0.5, top + row + 0.53)
        words = f"{value:.0f}".replace("-", "−")
        ax.text(*place, words, ha="center", va="center", fontsize=7, color="white" if dark(value) else "black")


def _places(values) -> list[tuple[int, int]]:
    return [(row, col) for row in range(values.shape[0]) for col in range(values.shape[1])]


def _arrow(ax, start, end) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 12, "color": ACCENT, "linewidth": 1.8}
    ax.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **style))
