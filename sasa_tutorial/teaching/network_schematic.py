"""Drawn networks: ResNet-50 as its blocks become attention, and the places where a block of attention can stride."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

from sasa_tutorial.teaching.strokes import arrow
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, QUIET

_BLOCKS = (3, 4, 6, 3)  # of ResNet-50, in its four groups
_CONVOLUTIONAL = (25.557, 8.178)  # its millions of parameters and GFLOPs, as `ledger.count` gives them
NETWORK_FRAMES = sum(_BLOCKS) + 2  # none, one, two … all; and all of them comes first too


def network_schematic(frame: int = 0) -> Axes:
    """ResNet-50 whose 3x3 convolutions become attention, block after block; below it one block, and what all cost.

    Args:
        frame: 0 to NETWORK_FRAMES - 1, for `teaching.show_loop`. In frame n, the first n - 1 blocks attend; in frame 0,
            which stands for the whole, all of them do.
    """
    attending = frame - 1 if frame else sum(_BLOCKS)
    ax = plt.figure(figsize=(6, 3), layout="none").add_axes((0, 0, 1, 1))  # one unit is a tenth of an inch
    ax.set(xlim=(0, 60), ylim=(30, 0))
    ax.axis("off")
    small, name = {"fontsize": 7.5, "color": "#444444", "ha": "center"}, {"fontsize": 8.5, "ha": "center"}
    convolution, attention = (MECHANISM_COLOURS[kind] for kind in ("convolution", "relative_offsets"))
    _box(ax, (0.8, 2), (5, 6), "stem", QUIET)
    left, middle, seen, opened = 7.6, 5.0, 0, 0.0
    for group, blocks in enumerate(_BLOCKS, 1):
        height = 9 - 1.5 * group
        for block in range(blocks):
            seen += 1
            x = left + 1.9 * block
            colour = attention if seen <= attending else convolution
            ax.add_artist(Rectangle((x, middle - height / 2), 1.5, height, facecolor=colour, edgecolor="none"))
            if seen == max(attending, 1):
                opened, bottom = x, middle + height / 2
                frame_around = {"fill": False, "edgecolor": ACCENT, "linewidth": 2}
                ax.add_artist(Rectangle((x - 0.2, middle - height / 2 - 0.2), 1.9, height + 0.4, **frame_around))
        centre = left + 0.95 * blocks - 0.2
        white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        ax.text(centre, 10.4, f"group {group}", weight="bold", bbox=white, **name)
        ax.text(centre, 12, f"{64 * 2 ** (group - 1)} channels, {56 // 2 ** (group - 1)}²", bbox=white, **small)
        left += 1.9 * blocks + (4.7 if group < 4 else 2)
    _box(ax, (left - 0.2, 2.5), (5.4, 5), "classes", QUIET)
    for corner, end in ((opened - 0.2, 3), (opened + 1.7, 57)):
        line = Line2D([corner, end], [bottom + 0.2, 14], color=ACCENT, linewidth=0.8, alpha=0.6, zorder=0)
        ax.add_artist(line)
    _opened_block(ax, attending=attending > 0, small=small, name=name)
    _cost_bars(ax, attending)
    return ax


def _opened_block(ax: Axes, *, attending: bool, small: Mapping, name: Mapping) -> None:
    ax.add_artist(Rectangle((3, 14), 54, 9, facecolor="white", edgecolor=ACCENT, linewidth=1.2))
    _box(ax, (8, 16.6), (7.5, 5), "1x1\n4c → c", QUIET)
    colours = MECHANISM_COLOURS["convolution"], MECHANISM_COLOURS["relative_offsets"]
    _box(ax, (20, 16.2), (19, 2.7), "3x3 convolution", colours[0], filled=not attending)
    _box(ax, (20, 19.5), (19, 2.7), "7x7 attention", colours[1], filled=attending)
    _box(ax, (43.5, 16.6), (7.5, 5), "1x1\nc → 4c", QUIET)
    for start, end in ((4, 8), (15.5, 20), (39, 43.5), (51, 56.5)):
        arrow(ax, (start, 19.1), (end, 19.1), QUIET, mutation_scale=9, linewidth=1.2, shrinkA=0, shrinkB=0)
    ax.add_artist(Line2D([5.3, 5.3, 53.3, 53.3], [19.1, 15.3, 15.3, 19.1], color=QUIET, linewidth=1.2))
    ax.text(29.5, 15.7, "shortcut", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}, **small)
    ax.text(53.3, 19.1, "+", va="center", bbox={"facecolor": "white", "edgecolor": QUIET, "boxstyle": "circle"}, **name)


def _cost_bars(ax: Axes, attending: int) -> None:
    colour = MECHANISM_COLOURS["relative_offsets" if attending else "convolution"]
    now = _cost_of_attending(attending)
    for y, value, start, what in zip((24.4, 27.4), now, _CONVOLUTIONAL, ("M parameters", "GFLOPs"), strict=True):
        full, of_all = 33, f" of {start:.1f}" if attending else ""
        ax.add_artist(Rectangle((3, y), full, 1.9, fill=False, edgecolor=QUIET, linewidth=0.8))
        ax.add_artist(Rectangle((3, y), full * value / start, 1.9, facecolor=colour, edgecolor="none"))
        ax.text(37.5, y + 1, f"{value:.1f}{of_all} {what}", va="center", fontsize=9, weight="bold", color=colour)


def _cost_of_attending(blocks: int) -> tuple[float, float]:
    """Millions of parameters and GFLOPs of ResNet-50 whose first so many blocks attend, counted as the paper counts.

    An attention layer has a product q . r for every cell of its 7x7 window, and attends before it pools.
    """
    params, flops = _CONVOLUTIONAL
    sizes = [(group, block) for group, count in enumerate(_BLOCKS) for block in range(count)]
    for group, block in sizes[:blocks]:
        c, pixels = 64 * 2**group, (56 // 2**group) ** 2
        params -= (6 * c**2 - 7 * c / 8) / 1e6
        attends_at = 4 * pixels if group and not block else pixels
        flops += 2 * (attends_at * (3 * c**2 + 3 * 49 * c) - pixels * 9 * c**2) / 1e9
    return params, flops


def _box(
    ax: Axes, corner: tuple[float, float], size: tuple[float, float], words: str, colour: str, *, filled: bool = False
) -> None:
    style = {"boxstyle": "round,pad=0,rounding_size=0.6", "edgecolor": colour, "linewidth": 1.5}
    ax.add_artist(FancyBboxPatch(corner, *size, facecolor=colour if filled else "white", **style))
    place = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    ax.text(*place, words, ha="center", va="center", fontsize=8.5, color="white" if filled else "black")


_STEPS = {  # of the first block of a group, in order; "pool" halves both sides
    "attend, then pool": ("1x1", "attention", "pool", "1x1"),
    "pool, then attend": ("1x1", "pool", "attention", "1x1"),
    "pool after the block": ("1x1", "attention", "1x1", "pool"),
}


def places_to_stride(gflops: Mapping[str, float], printed: float) -> Axes:
    """The first block of group 2 with its 2x2 pooling in three places; beside each, what the whole network costs.

    A box is as tall as the image that it works on.

    Args:
        gflops: of ResNet-50 with each of "attend, then pool", "pool, then attend" and "pool after the block".
        printed: what the paper's table has; the count nearest to it is set in bold.
    """
    ax = plt.subplots(figsize=(6, 2.3))[1]
    ax.set(xlim=(0, 60), ylim=(22.6, -1.2))
    ax.axis("off")
    nearest = min(gflops, key=lambda name: abs(gflops[name] - printed))
    for number, (name, steps) in enumerate(_STEPS.items()):
        y, x, tall = 4.2 + 7.6 * number, 16.5, 5.6
        ax.text(0, y, name, va="center", fontsize=9, weight="bold" if name == nearest else "normal")
        arrow(ax, (x - 2.2, y), (x, y), QUIET, mutation_scale=8, linewidth=1.1, shrinkA=0, shrinkB=0)
        for step in steps:
            x, tall = _draw_step(ax, step, x, y, tall)
        cost = f"{gflops[name]:.2f} GFLOPs"
        ax.text(60, y, cost, va="center", ha="right", fontsize=9, weight="bold" if name == nearest else "normal")
    ax.text(60, -0.2, f"printed: {printed:.1f}", ha="right", va="center", fontsize=8, color="#555555")
    ax.text(16.5, -0.2, "tall: 56 x 56 pixels, low: 28 x 28", va="center", fontsize=8, color="#555555")
    return ax


def _draw_step(ax: Axes, step: str, x: float, y: float, tall: float) -> tuple[float, float]:
    """One step of a block from x on; returns where the next begins, and how tall it is."""
    if step == "pool":
        low, end = tall / 2, x + 4
        corners = [(x, y - tall / 2), (end, y - low / 2), (end, y + low / 2), (x, y + tall / 2)]
        ax.add_patch(Polygon(corners, facecolor="#E4E4E4", edgecolor=QUIET, linewidth=1))
        ax.text(x + 2, y, "pool", ha="center", va="center", fontsize=7)
        tall = low
    else:
        end = x + (12 if step == "attention" else 5)
        attends = step == "attention"
        face = MECHANISM_COLOURS["relative_offsets"] if attends else "white"
        ax.add_patch(Rectangle((x, y - tall / 2), end - x, tall, facecolor=face, edgecolor=QUIET, linewidth=1))
        ax.text((x + end) / 2, y, step, ha="center", va="center", fontsize=8, color="white" if attends else "black")
    arrow(ax, (end, y), (end + 1, y), QUIET, mutation_scale=8, linewidth=1.1, shrinkA=0, shrinkB=0)
    return end + 1, tall
