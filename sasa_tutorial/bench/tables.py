"""The sections of a document as text for a terminal, each with a headline; 100 columns at most."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sasa_tutorial.bench.setting import Setting

Row = Mapping[str, Any]


def machine(found: Row) -> str:
    """The rates that layers are held against."""
    return (
        f"The machine, in {found['dtype']}.\n\n"
        f"it computes  {found['flops_per_second'] / 1e9:.0f} GFLOP/s (the faster of a product of matrices,"
        f" {number(found['matmul']['median'])} ms, and a convolution, {number(found['convolution']['median'])} ms)\n"
        f"a copy moves {found['copy_bytes_per_second'] / 1e9:.1f} GB/s"
        f" ({found['copied_bytes'] / 1e6:.0f} MB read and written)"
    )


def layers(rows: Sequence[Row]) -> str:
    """Times and memory, and their ratios within this one run."""
    by_name = {row["name"]: row for row in rows}
    narrow, wide = (by_name[f"convolution {k}x{k}"]["both"]["median"] for k in (3, 7))
    unfold = by_name["attention, unfold"]["peak_bytes"]
    header = ("layer", "forward", "both", "quartiles", "/ 3x3", "/ 7x7", "peak, MB", "unfold /", "/ qkvo")
    lines = [header]
    for row in rows:
        both, peak = row["both"]["median"], row["peak_bytes"]
        memory = ("unknown", "", "")
        if peak:
            tensors = Setting(**row["setting"]).layer_bytes
            memory = (number(peak / 1e6), number(unfold / peak) if unfold else "", number(peak / tensors))
        times = (number(row["forward"]["median"]), number(both), _quartiles(row["both"]))
        lines.append((row["name"], *times, number(both / narrow), number(both / wide), *memory))
    headline = (
        f"Layers, forward and both passes in ms, at {_described(rows[0]['setting'])}.\n"
        "Time relative to a 3x3 and a 7x7 convolution; peak memory of both passes, how many times the\n"
        "unfold form needs it, and how many times the bytes of q, k, v and out it is."
    )
    return headline + "\n\n" + columns(lines)


def networks(rows: Sequence[Row]) -> str:
    """Images a second and memory of a training step, a table for each setting."""
    return "\n\n".join(_networks(setting, list(found)) for setting, found in groupby(rows, itemgetter("setting")))


def _networks(setting: Row, rows: Sequence[Row]) -> str:
    lines = [("network", "step, ms", "quartiles", "images / s", "/ convolution", "peak, MB")]
    for row in rows:
        memory = "unknown" if row["peak_bytes"] is None else number(row["peak_bytes"] / 1e6)
        speed = (number(row["images_per_second"]), f"{row['of_convolution']:.2f}")
        lines.append((row["name"], number(row["step"]["median"]), _quartiles(row["step"]), *speed, memory))
    headline = (
        f"A training step of ResNet-{setting['depth']}, width {setting['width']:g}: batch {setting['batch']}, "
        f"{setting['size']} x {setting['size']} pixels, images a second."
    )
    return headline + "\n\n" + columns(lines)


def growth(curves: Sequence[Row]) -> str:
    """Time over the values of one factor."""
    factor, size = curves[0]["factor"], curves[0]["factor"] == "size"
    last = ("max / min",) if size else ("exponent",)
    lines = [("layer", *(str(point["value"]) for point in curves[0]["points"]), *last)]
    for curve in curves:
        shown = curve["spread"] if size else curve["exponent"]
        times = (point["ns_per_pixel"] if size else point["both"]["median"] for point in curve["points"])
        lines.append((curve["name"], *map(number, times), "" if shown is None else f"{shown:z.2f}"))
    what = "ns a pixel" if size else "ms"
    return f"Growth over {factor.replace('_', ' ')}: forward and backward in {what}.\n\n" + columns(lines)


def floor(found: Row) -> str:
    """The operator's time as a multiple of what moving its tensors takes."""
    return (
        f"The floor, at {_described(found['setting'])}.\n\n"
        f"q, k, v and out   {found['moved_bytes'] / 1e6:.0f} MB\n"
        f"a copy moves      {found['copy_bytes_per_second'] / 1e9:.0f} GB/s\n"
        f"floor             {number(found['copy']['median'])} ms\n"
        f"forward           {number(found['forward']['median'])} ms, quartiles {_quartiles(found['forward'])}\n"
        f"forward / floor   {number(found['of_floor'])}"
    )


def number(value: float) -> str:
    """Three digits or more, and never an exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Names on the left, numbers aligned on the right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def _quartiles(times: Row) -> str:
    return f"{number(times['low'])} to {number(times['high'])}"


def _described(setting: Row) -> str:
    return (
        f"batch {setting['batch']}, {setting['channels']} channels, {setting['size']} x {setting['size']} pixels, "
        f"k {setting['kernel_size']}, {setting['heads']} heads, {setting['dtype']}"
    )
