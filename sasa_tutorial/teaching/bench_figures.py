"""Figures of what was measured: each takes the document of one machine and returns Axes; none measures anything."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from sasa_tutorial.teaching.style import MECHANISM_COLOURS, QUIET

_FACTORS = {"batch": "images", "channels": "channels", "kernel_size": "window k", "heads": "heads"}
_CURVES = {
    # name in the document: (mechanism, marker, label)
    "convolution 3x3": ("convolution", "s", "3x3 conv."),
    "convolution k x k": ("augmented_convolution", "^", "k x k conv."),
    "attention": ("relative_offsets", "o", "attention"),
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
    # A bar on a logarithmic axis has no natural foot: it begins at 1, where a layer is as fast as the convolution.
    ax.barh(places, [ratio - 1 for ratio in ratios], left=1, height=0.62, color=colours)
    ax.hlines(places, *spread, color=QUIET, linewidth=1.2)
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
    """Time over batch, channels, window and heads, logarithmic both ways; the number at a line's end is its exponent."""
    factors = [factor for factor in _FACTORS if any(row["factor"] == factor for row in document["growth"])]
    _, axes = plt.subplots(1, len(factors), figsize=(6, 2.6), sharey=True, squeeze=False)
    for ax, factor in zip(axes[0], factors, strict=True):
        curves = [row for row in document["growth"] if row["factor"] == factor]
        _lines(ax, curves, lambda point: point["both"]["median"])
        ends = {row["name"]: row["points"][-1]["both"]["median"] for row in curves}
        exponents = {row["name"]: "" if row["exponent"] is None else f"{row['exponent']:.1f}" for row in curves}
        _at_the_ends(ax, curves[0]["points"][-1]["value"], ends, exponents)
        ax.set_xlabel(_FACTORS[factor])
        ax.margins(x=0.12)
    axes[0, 0].set_ylabel("forward and backward (ms)")
    _plain_ticks(axes[0, 0].yaxis)
    _names(axes[0, 0])
    return list(axes[0])


def time_per_pixel(document: Mapping[str, Any]) -> Axes:
    """Time of one pixel over the side of the image: a flat line is a cost that grows with the pixels and no faster."""
    curves = [row for row in document["growth"] if row["factor"] == "size"]
    ax = plt.subplots(figsize=(6, 2.6))[1]
    _lines(ax, curves, lambda point: point["ns_per_pixel"])
    ends = {row["name"]: row["points"][-1]["ns_per_pixel"] for row in curves}
    labels = {row["name"]: f"{_CURVES[row['name']][2]}, max / min {row['spread']:.2g}" for row in curves}
    _at_the_ends(ax, curves[0]["points"][-1]["value"], ends, labels)
    ax.set(xlabel="side of the image (pixels)", ylabel="time of one pixel (ns)")
    _plain_ticks(ax.yaxis)
    return ax


def training_speed(document: Mapping[str, Any]) -> Axes:
    """Images a second that each network trains, and that as a share of the convolutional network's."""
    rows = document["network"]
    ax = plt.subplots(figsize=(6, 0.8 + 0.4 * len(rows)))[1]
    places = range(len(rows))
    speeds = [row["images_per_second"] for row in rows]
    ax.barh(places, speeds, height=0.62, color=[MECHANISM_COLOURS[row["name"]] for row in rows])
    for place, row, speed in zip(places, rows, speeds, strict=True):
        share = "" if row["name"] == "convolution" else f" ({100 * row['of_convolution']:.0f} %)"
        ax.annotate(f"{speed:,.0f}{share}", (speed, place), (4, 0), textcoords="offset points", va="center")
    setting = rows[0]["setting"]
    label = f"images a second, training, ResNet-{setting['depth']}, width {setting['width']:g}, batch {setting['batch']}"
    ax.set(xlabel=label, xlim=(0, 1.2 * max(speeds)), ylim=(len(rows) - 0.5, -0.5))
    ax.set_yticks(places, [row["name"].replace("_", " ") for row in rows])
    ax.tick_params(axis="y", length=0)
    return ax


def _lines(ax: Axes, curves: Sequence[Mapping[str, Any]], height: Any) -> None:
    for row in curves:
        mechanism, marker, label = _CURVES[row["name"]]
        values = [point["value"] for point in row["points"]]
        colour = MECHANISM_COLOURS[mechanism]
        ax.plot(values, list(map(height, row["points"])), marker, ls="-", markersize=4, color=colour, label=label)
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_major_locator(FixedLocator(values))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([str(value) for value in values])


def _at_the_ends(ax: Axes, x: float, heights: Mapping[str, float], labels: Mapping[str, str]) -> None:
    for name, height in heights.items():
        colour = MECHANISM_COLOURS[_CURVES[name][0]]
        place = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
        ax.annotate(labels[name], (x, height), (5, 0), color=colour, fontsize=8, **place)


def _names(ax: Axes) -> None:
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=len(_CURVES))


def _plain_ticks(axis: Any) -> None:
    """1, 2, 5, 10, … as they are, not as powers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
