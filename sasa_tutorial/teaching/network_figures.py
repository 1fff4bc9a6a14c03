"""Figures of the lesson on whole networks: what a reading of the text costs, and what cost buys.

Each takes data and returns Axes; none counts, trains, shows or keeps anything.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, POSITIVE_MAP, QUIET

_MARKERS = "os^Dv"


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
