"""Figures of the lesson on whole networks: what a reading of the text costs, and what cost buys.

Each takes data and returns Axes; none counts, trains, shows or keeps anything.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from sasa_tutorial.teaching.strokes import arrow
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, POSITIVE_MAP, QUIET

_MARKERS = "os^Dv"


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


def printed_and_counted(
    names: Sequence[str], printed: Sequence[float], readings: Mapping[str, Sequence[float]], *, digit: float = 0.1
) -> list[Axes]:
    """Parameters of networks as they are printed and as each reading of the text counts them, in millions.

    The second panel looks closely at the first reading: what it counts minus what is printed, on the range of numbers
    that are printed so, from half a digit below, rounded, to a whole digit above, cut off.

    Args:
        names: of the networks, from top to bottom.
        printed: the printed numbers.
        readings: counted numbers by name, one for each network; the first reading is drawn filled.
        digit: what one more in the last printed digit is worth.
    """
    _, (whole, close) = plt.subplots(1, 2, figsize=(6, 0.7 + 0.42 * len(names)), sharey=True, width_ratios=(3, 2))
    rows = range(len(names))
    whole.plot(printed, rows, "|", color=QUIET, markersize=16, markeredgewidth=3, label="printed")
    for number, (name, values) in enumerate(readings.items()):
        colour = ACCENT if number else MECHANISM_COLOURS["relative_offsets"]
        filled = "none" if number else colour
        whole.plot(values, rows, _MARKERS[number], color=colour, markerfacecolor=filled, markersize=6, label=name)
    whole.set(xlabel="parameters (M)", yticks=rows, yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    whole.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.98), ncols=3, handletextpad=0.2, columnspacing=1.2)

    first, values = next(iter(readings.items()))
    for row in rows:
        close.plot([-digit / 2, digit], [row, row], color=QUIET, alpha=0.35, linewidth=11, solid_capstyle="butt")
    close.axvline(digit / 2, color="black", linewidth=0.8, linestyle=":")
    rest = [value - target for value, target in zip(values, printed, strict=True)]
    close.plot(rest, rows, _MARKERS[0], color=MECHANISM_COLOURS["relative_offsets"], markersize=6)
    for place, words in ((0, "rounded"), (0.75 * digit, "cut off")):
        close.text(place, -0.42, words, ha="center", va="center", fontsize=8)
    close.set(xlabel=f"{first} minus printed (M)", xlim=(-0.7 * digit, 1.2 * digit))
    for ax in (whole, close):
        ax.tick_params(axis="y", length=0)
    return [whole, close]


def matches_over_constants(
    matches: Mapping[str, Float[Tensor, "norms logits"]],
    per_norm: Float[Tensor, " norms"],
    per_logit: Float[Tensor, " logits"],
    *,
    total: int,
    marked: tuple[float, float],
) -> list[Axes]:
    """How many printed numbers two constants reproduce: one panel for each rule, one scale for all.

    Args:
        matches: by rule, the number of matches at each pair of constants.
        per_norm: the first constant, ascending; the vertical axis.
        per_logit: the second constant, ascending; the horizontal axis.
        total: how many numbers there are; the pairs that match most are outlined.
        marked: the pair to mark with a cross in the first panel.
    """
    figure, axes = plt.subplots(
        1, len(matches), figsize=(min(6, 1.9 + 1.7 * len(matches)), 2.9), sharey=True, squeeze=False
    )
    steps = BoundaryNorm([count - 0.5 for count in range(total // 2, total + 2)], 256, extend="min")
    edges = [float(per_logit[0]), float(per_logit[-1]), float(per_norm[0]), float(per_norm[-1])]
    for ax, (name, counts) in zip(axes[0], matches.items(), strict=True):
        best = int(counts.max())
        image = ax.imshow(counts.numpy(), origin="lower", extent=edges, aspect="auto", cmap=POSITIVE_MAP, norm=steps)
        where = (counts == best).float().numpy()
        ax.contour(per_logit.numpy(), per_norm.numpy(), where, levels=[0.5], colors=[ACCENT], linewidths=1.4)
        ax.set(title=f"{name}:\nat best {best} of {total}", xlabel="FLOPs a logit")
    axes[0, 0].plot(marked[1], marked[0], "+", color="black", markersize=9, markeredgewidth=1)
    axes[0, 0].set_ylabel("FLOPs a norm output")
    figure.colorbar(image, ax=list(axes[0]), label=f"matches of {total}", ticks=range(total, total // 2, -3))
    return list(axes[0])


def cost_of_groups(convolution: Sequence[Sequence[float]], attention: Sequence[Sequence[float]]) -> list[Axes]:
    """What the spatial layers of each group cost: FLOPs on the left, parameters on the right.

    Args:
        convolution: GFLOPs of each group, then millions of parameters of each group.
        attention: the same of the network with attention.
    """
    _, axes = plt.subplots(1, 2, figsize=(6, 2.4))
    groups = range(1, len(convolution[0]) + 1)
    sides = (
        (-0.2, "convolution", "3x3 convolution", convolution),
        (0.2, "relative_offsets", "attention, k = 7", attention),
    )
    for panel, (ax, label) in enumerate(zip(axes, ("FLOPs (G)", "parameters (M)"), strict=True)):
        for shift, mechanism, name, values in sides:
            colour = MECHANISM_COLOURS[mechanism]
            ax.bar([group + shift for group in groups], values[panel], 0.38, color=colour, label=name)
        ax.set(xlabel="group", ylabel=label, xticks=list(groups))
    axes[1].legend(loc="upper left")
    return list(axes)


def growth(
    panels: Sequence[tuple[str, str, Sequence[float], Mapping[str, Sequence[float]]]],
    colours: Mapping[str, str],
    *,
    logarithmic: Sequence[bool] = (),
) -> list[Axes]:
    """Lines side by side: what a network costs as one size of it grows.

    Args:
        panels: for each panel the label of its x axis, of its y axis, the sizes, and the values of each line by name.
        colours: the mechanism whose colour each line has.
        logarithmic: which panels have two logarithmic axes; none by default.

    The legend is that of the last panel, which must have all the lines.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(6, 2.7), squeeze=False)
    for number, (ax, (xlabel, ylabel, sizes, lines)) in enumerate(zip(axes[0], panels, strict=True)):
        for marker, (name, values) in zip(_MARKERS, lines.items(), strict=False):
            ax.plot(sizes, values, marker, ls="-", markersize=4, color=MECHANISM_COLOURS[colours[name]], label=name)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        if number < len(logarithmic) and logarithmic[number]:
            ax.set(xscale="log", yscale="log")
        else:
            ax.set_ylim(bottom=0)
        ax.xaxis.set_major_locator(FixedLocator(list(sizes)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([f"{size:g}" for size in sizes])
    handles, names = axes[0, -1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return list(axes[0])


def cost_and_accuracy(
    rows: Mapping[str, Sequence[tuple[str, float, float, float]]], colours: Mapping[str, str]
) -> list[Axes]:
    """Accuracy against FLOPs and against parameters, one line for each kind of network.

    Args:
        rows: by kind, for each network its name, GFLOPs, millions of parameters and top-1 in percent.
        colours: the mechanism whose colour each kind has.
    """
    _, axes = plt.subplots(1, 2, figsize=(6, 2.9), sharey=True)
    for marker, (kind, networks) in zip(_MARKERS, rows.items(), strict=False):
        names, flops, params, top1 = zip(*networks, strict=True)
        colour = MECHANISM_COLOURS[colours[kind]]
        for ax, sizes in zip(axes, (flops, params), strict=True):
            ax.plot(sizes, top1, marker, ls="-", color=colour, markersize=5, linewidth=1.2, label=kind)
        if kind == next(iter(rows)):
            for ax, sizes in zip(axes, (flops, params), strict=True):
                for name, size, height in zip(names, sizes, top1, strict=True):
                    ax.annotate(name, (size, height), xytext=(4, -4), textcoords="offset points", va="top", fontsize=8)
    axes[0].set(xlabel="FLOPs (G)", ylabel="top-1 (%)")
    axes[1].set(xlabel="parameters (M)")
    for ax in axes:
        ax.margins(x=0.16, y=0.12)
    axes[0].legend(loc="lower right", fontsize=8)
    return list(axes)
