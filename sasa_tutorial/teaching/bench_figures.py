"""Figures of what was measured: each takes the document of one machine and returns Axes; none measures anything."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from sasa_tutorial.teaching.style import MECHANISM_COLOURS, QUIET

CROWDED = 1.25  # ratio of two values on an axis
LINE_HEIGHT = 10.5  # of a label, in points
_FACTORS = {"batch": "images a batch", "channels": "channels", "kernel_size": "window k", "heads": "heads"}
_CURVES = {
    # name in the document: mechanism, line, label
    "convolution 3x3": ("convolution", "s-", "3x3 convolution"),
    "convolution k x k": ("convolution", "^--", "k x k convolution"),
    "attention": ("relative_offsets", "o-", "attention"),
}


def layer_times(document: Mapping[str, Any]) -> Axes:
    """Forward and backward time of every layer as a multiple of the 3x3 convolution's, quartiles as lines."""
    rows = document["layers"]
    base = next(row["both"]["median"] for row in rows if row["name"] == "convolution 3x3")
    ax = plt.subplots(figsize=(6, min(3.0, 0.7 + 0.34 * len(rows))))[1]
    places = range(len(rows))
    ratios = [row["both"]["median"] / base for row in rows]
    colours = [MECHANISM_COLOURS["convolution" if "conv" in row["name"] else "relative_offsets"] for row in rows]
    spread = [[row["both"][end] / base for row in rows] for end in ("low", "high")]
    # A bar on a logarithmic axis has no natural foot, so dots.
    ax.hlines(places, *spread, color=QUIET, linewidth=1.2)
    ax.scatter(ratios, places, s=42, c=colours, zorder=3)
    ax.axvline(1, color=QUIET, linewidth=1)
    for place, ratio, high in zip(places, ratios, spread[1], strict=True):
        ax.annotate(f"{ratio:.3g}", (max(ratio, high, 1), place), (5, 0), textcoords="offset points", va="center")
    ax.set(xscale="log", xlabel="time of forward and backward, 3x3 convolution = 1", ylim=(len(rows) - 0.5, -0.5))
    ax.set_yticks(places, [row["name"] for row in rows])
    ax.tick_params(axis="y", length=0)
    ax.margins(x=0.12)
    _plain_ticks(ax.xaxis)
    return ax


def growth_of_time(document: Mapping[str, Any]) -> list[Axes]:
    """Time over batch, channels, window and heads, logarithmic both ways; at each line's end its exponent."""
    factors = [factor for factor in _FACTORS if any(row["factor"] == factor for row in document["growth"])]
    _, axes = plt.subplots(1, len(factors), figsize=(6, 2.6), sharey=True, squeeze=False)
    panels = [[row for row in document["growth"] if row["factor"] == factor] for factor in factors]
    for ax, factor, curves in zip(axes[0], factors, panels, strict=True):
        _lines(ax, curves, lambda point: point["both"]["median"])
        ax.set_xlabel(_FACTORS[factor])
        ax.margins(x=0.12)
    axes[0, 0].set_ylabel("forward and backward (ms)")
    _plain_ticks(axes[0, 0].yaxis)
    axes[0, 0].figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(_CURVES))
    for ax, curves in zip(axes[0], panels, strict=True):
        _at_the_ends(ax, ["" if row["exponent"] is None else f"{row['exponent']:z.1f}" for row in curves])
    return list(axes[0])


def _lines(ax: Axes, curves: Sequence[Mapping[str, Any]], height: Any) -> None:
    for row in curves:
        mechanism, line, label = _CURVES[row["name"]]
        values = [point["value"] for point in row["points"]]
        colour = MECHANISM_COLOURS[mechanism]
        hollow = "white" if "--" in line else colour
        heights = list(map(height, row["points"]))
        ax.plot(values, heights, line, markersize=4, markerfacecolor=hollow, color=colour, label=label)
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_major_locator(FixedLocator(values))
    ax.xaxis.set_minor_locator(NullLocator())
    # Where two are too near for both, the first keeps its tick and loses its name.
    nexts = [*values[1:], 2 * values[-1]]
    ax.set_xticklabels([str(a) if b / a > CROWDED else "" for a, b in zip(values, nexts, strict=True)])


def _at_the_ends(ax: Axes, labels: Sequence[str]) -> None:
    """A label for each line in its colour, moved up where it would lie on the one below."""
    figure = ax.figure
    figure.draw_without_rendering()  # heights in points are known only once the layout is
    ends = [(line.get_xdata()[-1], line.get_ydata()[-1]) for line in ax.lines]
    points = [ax.transData.transform(end)[1] * 72 / figure.dpi for end in ends]
    free = ax.bbox.y0 * 72 / figure.dpi
    for number in sorted(range(len(ends)), key=points.__getitem__):
        room = LINE_HEIGHT * (1 + labels[number].count("\n"))
        height = max(points[number], free + room / 2)
        free = height + room / 2
        place = {"xytext": (5, height - points[number]), "textcoords": "offset points", "va": "center"}
        colour = ax.lines[number].get_color()
        ax.annotate(labels[number], ends[number], color=colour, fontsize=8, annotation_clip=False, **place)


def _plain_ticks(axis: Any) -> None:
    """1, 2, 5, 10, … as they are, not as powers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
