"""The picture that opens the lesson on relative offsets: red walks, and keeps what it likes by direction."""

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from torch import Tensor

from sasa_tutorial.teaching.animation import stage
from sasa_tutorial.teaching.strokes import arrow, cells, outline
from sasa_tutorial.teaching.style import POSITIVE_MAP, QUIET, SIGNED_MAP

_RED, _BLUE, _GREYS = "#E24A33", "#3B6FD4", ("#D9D9D9", "#CFCFCF", "#DFDFDF", "#D4D4D4")
_BLUE_PIXELS = ((1, 4), (3, 1), (3, 3), (5, 1))
_WALK = ((3, 2), (4, 2), (5, 2), (5, 3), (5, 4), (4, 4), (3, 4), (2, 4), (2, 3), (1, 3), (1, 2), (2, 2), (3, 2))
OFFSETS_FRAMES = len(_WALK)
_ROW, _COL = torch.tensor([-1.0, 0.0, -1.0]), torch.tensor([-2.0, 0.0, 2.0])  # what red likes
_OFFSETS = rearrange(_ROW, "kh -> kh 1") + rearrange(_COL, "kw -> 1 kw")
_SIDES = (
    *("the upper left", "above", "the upper right"),
    *("the left", "itself", "the right"),
    *("the lower left", "below", "the lower right"),
)  # of a window's nine cells
_HEAVY, _LIGHT = {"fontsize": 9, "weight": "bold"}, {"fontsize": 8, "color": "#444444"}


def relative_offsets_schematic(frame: int = 0) -> Axes:
    """Red walks through a picture: what lies around it changes, what it likes by direction does not.

    Logits, weights and the colour of the output are worked out, not drawn by hand: q·k + (row + column), the softmax,
    the mean of the window's colours.

    Args:
        frame: 0 to OFFSETS_FRAMES - 1, for `teaching.show_loop`: a step of the walk each. In the first and the last,
            red stands between two blue pixels, which content alone cannot tell apart.
    """
    i, j = _WALK[frame]
    pixels = [[_GREYS[(3 * row + 5 * col) % 4] for col in range(6)] for row in range(7)]
    for row, col in _BLUE_PIXELS:
        pixels[row][col] = _BLUE
    pixels[i][j] = _RED
    window = [line[j - 1 : j + 2] for line in pixels[i - 1 : i + 2]]
    content = torch.tensor([[8.0 * (colour == _BLUE) for colour in line] for line in window])
    weights = (content + _OFFSETS).flatten().softmax(dim=0)
    output = weights @ torch.tensor([to_rgb(colour) for line in window for colour in line])

    ax = stage(_still, size=(6, 3), xlim=(0, 60), ylim=(30.5, 0.5))  # one unit is a tenth of an inch
    cells(ax, (1, 8), pixels, 2.1, linewidth=0.8)
    outline(ax, (1 + 2.1 * (j - 1), 8 + 2.1 * (i - 1)), 6.3, linewidth=2)
    _numbers(ax, (21, 2.9), 2.9, content, SIGNED_MAP, Normalize(-8, 8))
    _numbers(ax, (38.2, 11.2), 2.9, weights.unflatten(0, (3, 3)), POSITIVE_MAP, Normalize(0, 1))
    cells(ax, (54.6, 14), output[None, None], 3.1, linewidth=0.8)
    outline(ax, (54.6, 14), 3.1, linewidth=2)
    most = int(weights.argmax())
    ax.text(55, 18.2, f"{100 * weights[most]:.0f} % from\n{_SIDES[most]}", ha="center", va="top", **_LIGHT)
    return ax


def _still(ax: Axes) -> None:
    for values, corner in ((_ROW[:, None], (17.6, 19.3)), (_COL[None], (21, 16.1)), (_OFFSETS, (21, 19.3))):
        _numbers(ax, corner, 2.9, values, SIGNED_MAP, Normalize(-8, 8))
    for x, y, title in (
        (7.3, 6.6, "image"),
        (25.35, 2, "q·k   what is there"),
        (24.2, 15.2, "q·r   in which direction"),
        (42.55, 10.2, "weights"),
        (56.15, 12.8, "output"),
    ):
        ax.text(x, y, title, ha="center", **_HEAVY)
    for x, y, words, side in (
        (7.3, 23.9, "red walks, and asks:\nwhere is blue?", "top"),
        (25.35, 11.9, "changes as red walks", "top"),
        (24.2, 28.3, "row + column, always the same", "top"),
        (35.1, 15.6, "sum,\nsoftmax", "center"),
        (50.6, 14.9, "weighted\nsum of v", "baseline"),
    ):
        ax.text(x, y, words, ha="center", va=side, **_LIGHT)
    for tail, head in (
        ((14.2, 12.8), (20.3, 8.2)),
        ((14.2, 16.3), (17.1, 20.8)),
        ((30.3, 8.2), (37.6, 14.2)),
        ((30.3, 22.3), (37.6, 17)),
        ((47.5, 15.55), (53.9, 15.55)),
    ):
        arrow(ax, tail, head, QUIET, mutation_scale=9)


def _numbers(
    ax: Axes, corner: tuple[float, float], side: float, values: Float[Tensor, "rows cols"], scale: str, norm: Normalize
) -> None:
    """Cells in the colours of their values, which stand in them."""
    colours = plt.get_cmap(scale)(norm(values.numpy()))
    cells(ax, corner, colours, side, linewidth=0.8)
    for i, line in enumerate(values.tolist()):
        for j, value in enumerate(line):
            bright = colours[i, j, :3] @ (0.3, 0.59, 0.11) > 0.5
            said = f"{value:.2f}".lstrip("0") if scale == POSITIVE_MAP else f"{value:+.0f}" if value else "0"
            said = said.replace("-", "−")
            middle = corner[0] + (j + 0.5) * side, corner[1] + (i + 0.53) * side
            ax.text(*middle, said, ha="center", va="center", fontsize=7, color="black" if bright else "white")
