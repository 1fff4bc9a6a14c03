"""Figures of the lesson on time: where a machine's ceilings are, what is moved, what a kernel loads, where time goes.

Each takes data and returns Axes; none measures, shows or keeps anything.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator

from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, QUIET

_MARKERS = {  # a mark stays with its layer, from one figure to the next
    "convolution 3x3": "s",
    "convolution 7x7": "^",
    "attention, unfold": "o",
    "attention, streaming": "D",
    "attention, native": "v",
    "attention, triton": "P",
}
_GREYS = (QUIET, "#D5D5D5", "#B5B5B5")


def roofline(
    points: Mapping[str, tuple[float, float, float]], *, flops_per_second: float, bytes_per_second: float
) -> Axes:
    """What layers reach under the two ceilings of a machine, both axes logarithmic.

    Args:
        points: by name, the FLOPs of one call, the bytes its operators read and write, and its seconds.
        flops_per_second: the flat ceiling.
        bytes_per_second: the slope of the other one.
    """
    ax = plt.subplots(figsize=(6, 3.0))[1]
    unit, scale = ("TFLOP/s", 1e12) if flops_per_second >= 1e14 else ("GFLOP/s", 1e9)
    reached = {name: (flops / moved, flops / seconds / scale) for name, (flops, moved, seconds) in points.items()}
    peak, slope, ridge = flops_per_second / scale, bytes_per_second / scale, flops_per_second / bytes_per_second
    left = min(ridge, *(x for x, _ in reached.values())) / 2.5
    right = max(ridge, *(x for x, _ in reached.values())) * 6
    lowest = min(y for _, y in reached.values()) / 3
    ax.plot([left, ridge, right], [left * slope, peak, peak], color=QUIET, linewidth=2)
    ax.vlines(ridge, lowest, peak, color=QUIET, linewidth=1, linestyle=":")
    place = {"textcoords": "offset points", "ha": "right"}
    ax.annotate(f"fastest arithmetic: {peak:,.0f} {unit}", (right, peak), (0, 9), **place)
    ax.annotate(f"slope, a copy: {bytes_per_second / 1e9:,.0f} GB/s", (right, lowest), (-2, 18), fontsize=8, **place)
    ax.annotate(f"dotted, the ridge: {ridge:.0f} FLOPs a byte", (right, lowest), (-2, 6), fontsize=8, **place)
    other_markers = cycle("*X<>h")
    for name, (x, y) in reached.items():
        marker = _MARKERS.get(name) or next(other_markers)
        colour = MECHANISM_COLOURS["convolution" if "conv" in name else "relative_offsets"]
        ax.vlines(x, *sorted((y, min(peak, x * slope))), color=colour, linewidth=1, alpha=0.6)
        ax.plot(x, y, marker, linestyle="none", markersize=7, color=colour, label=name)
    ax.set(xscale="log", yscale="log", xlabel="arithmetic intensity (FLOPs a byte)", ylabel=f"reached ({unit})")
    ax.set(xlim=(left, right), ylim=(lowest, 4 * peak))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def moved_and_held(rows: Mapping[str, tuple[float, float]], mechanisms: Mapping[str, str]) -> list[Axes]:
    """What the operators of each form read and write, and the largest tensor, as multiples of the queries' bytes.

    Args:
        rows: by name, all bytes read and written and the bytes of the largest tensor, over the bytes of q.
        mechanisms: whose colour each has.
    """
    _, axes = plt.subplots(1, 2, figsize=(6, 0.9 + 0.3 * len(rows)), sharey=True)
    labels = ("read and written, q = 1", "largest tensor, q = 1")
    for number, (ax, label) in enumerate(zip(axes, labels, strict=True)):
        widths = [row[number] for row in rows.values()]
        ax.barh(range(len(rows)), widths, height=0.62, color=[MECHANISM_COLOURS[mechanisms[name]] for name in rows])
        for place, width in enumerate(widths):
            ax.annotate(_short(width), (width, place), (4, 0), textcoords="offset points", va="center")
        ax.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5), xlim=(0, 1.25 * max(widths)))
        ax.set_yticks(range(len(rows)), list(rows))
        ax.tick_params(axis="y", length=0)
    return list(axes)


def shared_loads(kernel_size: int = 7, lanes: int = 8) -> Axes:
    """Two rows of neighbouring pixels, everything in their windows, and one load that serves both.

    Args:
        kernel_size: of the windows.
        lanes: pixels in a vector.
    """
    reach = kernel_size // 2
    columns, rows = lanes + 2 * reach, kernel_size + 1
    ax = plt.subplots(figsize=(6, 3.0))[1]
    for y in range(rows):
        for x in range(columns):
            ax.add_patch(Rectangle((x, y), 1, 1, facecolor="white", edgecolor=QUIET, linewidth=0.5))
    colours = (MECHANISM_COLOURS["local_attention"], MECHANISM_COLOURS["relative_offsets"])
    for row, colour in enumerate(colours):
        place, name = (reach, reach + row), f"a vector of {lanes} pixels, row {'i' if row == 0 else 'i + 1'}"
        ax.add_patch(Rectangle(place, lanes, 1, facecolor=colour, edgecolor="none", alpha=0.65, label=name))
        window = (reach, row)  # of the leftmost pixel, one cell to the left for each step of reach
        frame = {"facecolor": "none", "edgecolor": colour, "linewidth": 2, "linestyle": "--" if row else "-"}
        name = "window of its first pixel" if row == 0 else "window of the one below"
        ax.add_patch(Rectangle((window[0] - reach, row), kernel_size, kernel_size, **frame, label=name))
    load = {"facecolor": "none", "edgecolor": ACCENT, "linewidth": 2.2, "hatch": "///"}
    ax.add_patch(Rectangle((1, 1), lanes, 1, **load, label="one load: a cell of\nall these windows"))
    ax.set(xlim=(-0.2, columns + 0.2), ylim=(rows + 0.2, -0.2), aspect="equal")
    ax.set(xlabel="columns of keys or values", ylabel="rows", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return ax


def time_shares(shares: Mapping[str, Mapping[str, float]], mechanisms: Mapping[str, str], *, label: str) -> Axes:
    """Where the time of each network goes: bars of parts that sum to 1, in percent.

    Args:
        shares: by network, the share of each part; the same parts in the same order.
        mechanisms: whose colour a part has; the others are grey.
        label: of the axis: what was measured, and where.
    """
    ax = plt.subplots(figsize=(6, 1.0 + 0.4 * len(shares)))[1]
    parts: Sequence[str] = list(next(iter(shares.values())))
    greys = cycle(_GREYS)
    for part in parts:
        colour = MECHANISM_COLOURS[mechanisms[part]] if part in mechanisms else next(greys)
        widths = [100 * row[part] for row in shares.values()]
        starts = [100 * sum(row[other] for other in parts[: parts.index(part)]) for row in shares.values()]
        ax.barh(range(len(shares)), widths, left=starts, height=0.62, color=colour, label=part)
        for place, (start, width) in enumerate(zip(starts, widths, strict=True)):
            if width >= 6:
                colours = {"color": "white" if colour == MECHANISM_COLOURS["convolution"] else "black"}
                ax.text(start + width / 2, place, f"{width:.0f}", ha="center", va="center", fontsize=8, **colours)
    ax.set(xlabel=label, xlim=(0, 100), ylim=(len(shares) - 0.5, -0.5))
    ax.set_yticks(range(len(shares)), list(shares))
    ax.tick_params(axis="y", length=0)
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=len(parts), fontsize=8)
    return ax


def walks_to_memory(kernel_size: int = 7, head_dim: int = 8) -> list[Axes]:
    """Attention as five operators and as one, with arrows to memory and back as thick as what is carried.

    Args:
        kernel_size: of the windows.
        head_dim: channels of a head.
    """
    cells, logits = kernel_size**2, kernel_size**2 / head_dim  # in units of the queries' bytes
    steps = {
        "gather\nkeys": (1, cells),
        "q · k": (1 + cells, logits),
        "softmax": (logits, logits),
        "gather\nvalues": (1, cells),
        "weights\n· v": (cells + logits, 1),
    }
    fused = {"all of it,\nin registers": (3, 1 + 1 / head_dim)}
    _, axes = plt.subplots(1, 2, figsize=(6, 2.8), width_ratios=(4, 1.25))
    titles = ("one operator after the other", "fused")
    for ax, operators, title in zip(axes, (steps, fused), titles, strict=True):
        carried = sum(map(sum, operators.values()))
        ax.add_patch(Rectangle((-0.5, 0), len(operators), 0.55, color="#D5D5D5"))
        ax.text(len(operators) / 2 - 0.5, 0.27, "memory", ha="center", va="center", fontsize=9)
        for place, (name, amounts) in enumerate(operators.items()):
            ax.add_patch(Rectangle((place - 0.42, 2.3), 0.84, 0.75, facecolor="white", edgecolor="black"))
            ax.text(place, 2.67, name, ha="center", va="center", fontsize=8)
            for side, amount, (foot, head) in ((-1, amounts[0], (0.6, 2.25)), (1, amounts[1], (2.25, 0.6))):
                width = max(0.012, 0.0058 * amount)
                colour = MECHANISM_COLOURS["local_attention"] if side < 0 else ACCENT
                arrow = {"width": width, "head_width": width + 0.08, "head_length": 0.17, "length_includes_head": True}
                ax.arrow(place + 0.19 * side, foot, 0, head - foot, color=colour, linewidth=0, **arrow)
                ax.text(place + 0.19 * side, 3.12, _short(amount), ha="center", va="bottom", fontsize=8, color=colour)
        ax.set_title(f"{title}: {_short(carried)}", fontsize=10, fontweight="bold")
        ax.set(xlim=(-0.6, len(operators) - 0.4), ylim=(-0.05, 3.5))
        ax.set_axis_off()
    key = "blue: read, orange: written; numbers and widths in units of the bytes of q"
    axes[0].figure.supxlabel(key, fontsize=8)
    return list(axes)


def _short(value: float) -> str:
    return f"{value:.3g}" if value >= 10 else f"{value:.2g}"
