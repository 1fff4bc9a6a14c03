"""Figures of ablations: each takes data and returns Axes; none reads records, shows or keeps anything."""

import math
import statistics
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from sasa_tutorial.experiments.comparison import Comparison
from sasa_tutorial.experiments.result_tables import METRIC_WORDS
from sasa_tutorial.experiments.study import Entry, Study
from sasa_tutorial.teaching.strokes import arrow
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, QUIET

_ROW, _REST, _HIGHEST = 0.27, 0.66, 3.0  # inches: a row, axis and margins, a figure
_LEAST_SPAN = 4.0  # points on an axis, however near the values are: a point is not to look like a mile
_MEAN, _SEEDS = -0.12, 0.2  # heights of both in a row, from above
_QUIETLY = {"color": QUIET, "fontsize": 8, "va": "center"}


def published_and_ours(study: Study, comparisons: Sequence[Comparison]) -> list[Axes]:
    """Top-1 accuracies of a study, network by network: published on the left, ours on the right, at one scale.

    Hollow circles were published; without any, the left panel is left out. A small dot is a run of ours, a diamond the
    mean of two or more. Its bar is the 95 % interval of the difference to the reference, laid from the reference's
    mean, so what it is to be compared with is the dotted line there; the diamond is filled where Holm's procedure
    decides. A network with a reference of its own has that one's mean as a short line.
    """
    entries = [comparison.row.entry for comparison in comparisons]
    published = any(entry.published is not None for entry in entries)
    height = min(_HIGHEST, _REST + _ROW * len(entries))
    panels = 2 if published else 1
    _, axes = plt.subplots(1, panels, figsize=(6, height), sharey=True, squeeze=False)
    drawn = [_draw_published(axes[0, 0], study, entries)] if published else []
    drawn.append(_draw_ours(axes[0, -1], study, comparisons))
    span = max(_LEAST_SPAN, *(max(values) - min(values) for values in drawn if values))
    for ax, values in zip(axes[0], drawn, strict=True):
        _limit(ax, values, span)
        ax.tick_params(axis="y", length=0)
    first = axes[0, 0]
    first.set_yticks(range(len(entries)), [entry.label for entry in entries])
    first.set_ylim(len(entries) - 0.5, -0.5)
    for label, entry in zip(first.get_yticklabels(), entries, strict=True):
        label.set_fontweight("bold" if study.reference_of(entry) is entry else "normal")
    return list(axes[0])


def in_words(study: Study, comparisons: Sequence[Comparison]) -> str:
    """The figure of a study for those who cannot see it: how many networks, the lowest and the highest."""
    ours = {c.row.entry.label: mean for c in comparisons if (mean := c.row.mean(study.metric)) is not None}
    published = {c.row.entry.label: c.row.entry.published for c in comparisons if c.row.entry.published is not None}
    words = f"{METRIC_WORDS[study.metric]} of the study's networks, one a row, dots for runs and diamonds for means"
    for whose, values in (("ours", ours), ("published", published)):
        if values:
            low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
            words += f"; {whose} from {values[low]:.1f} % ({low}) to {values[high]:.1f} % ({high})"
    return words + "."


def ablation_schematic(with_part: Sequence[float], without: Sequence[float], luck: float) -> Axes:
    """An ablation at a glance: two networks that differ in one part, their runs, and the difference of the means.

    Args:
        with_part: accuracies (percent) of the network that has the part, one a seed.
        without: the same of the network that lacks it.
        luck: standard deviation of the difference of the means, in points, were there nothing to find.
    """
    ax = plt.subplots(figsize=(6, 2.3))[1]
    ax.set(xlim=(0, 600), ylim=(250, 22), aspect="equal")
    ax.axis("off")
    low = 2 * math.floor(min(*with_part, *without) / 2 - 0.5)
    high = 2 * math.ceil(max(*with_part, *without) / 2 + 0.5)

    def place(top1: float) -> float:
        return 375 + (top1 - low) / (high - low) * 205

    rows = (("with the part r", 75, with_part, "relative_offsets"), ("without it", 155, without, "local_attention"))
    for words, y, runs, name in rows:
        _draw_network(ax, y, words, has_part=runs is with_part)
        arrow(ax, (292, y), (350, y), QUIET, linewidth=1.6)
        ax.text(320, y - 8, f"{len(runs)} seeds", ha="center", va="bottom", fontsize=8)
        colour = MECHANISM_COLOURS[name]
        ax.plot([place(run) for run in runs], [y] * len(runs), "o", color=colour, markersize=6, alpha=0.75)
        mean = statistics.mean(runs)
        above = runs is with_part
        out, side = (-1, "bottom") if above else (1, "top")
        ax.plot(place(mean), y + 13 * out, "D", color="black", markersize=6)  # beside its runs, so that none is hidden
        ax.text(place(mean), y + 22 * out, f"{mean:.1f} %", ha="center", va=side, fontsize=8)
        ax.plot([place(mean)] * 2, [y + 7 if above else y - 7, 115], ":", color=QUIET, linewidth=1)
    ends = [place(statistics.mean(runs)) for runs in (without, with_part)]
    ax.annotate("", (ends[1], 115), (ends[0], 115), arrowprops={"arrowstyle": "<->", "color": ACCENT, "linewidth": 1.6})
    gap = statistics.mean(with_part) - statistics.mean(without)
    ax.text(sum(ends) / 2, 110, f"{gap:+.1f}", ha="center", va="bottom", fontsize=10, weight="bold", color=ACCENT)
    half = luck * 205 / (high - low)
    middle = sum(ends) / 2
    ax.plot([middle - half, middle + half], [195, 195], "-", color=QUIET, linewidth=5, solid_capstyle="butt")
    ax.text(middle, 203, f"luck alone: ± {luck:.1f}", ha="center", va="top", fontsize=8, color="#555555")
    ax.plot([375, 580], [228, 228], color="black", linewidth=0.8)
    for tick in range(low, high + 1, 2):
        ax.plot([place(tick)] * 2, [228, 232], color="black", linewidth=0.8)
        ax.text(place(tick), 235, f"{tick}", ha="center", va="top", fontsize=8)
    ax.text(368, 229, "top-1 (%)", ha="right", va="center", fontsize=8)
    return ax


def _draw_network(ax: Axes, y: float, words: str, *, has_part: bool) -> None:
    """A network as a row of boxes; in the four groups the part, or the hole it leaves."""
    ax.text(12, y - 30, words, ha="left", va="bottom", fontsize=9, weight="bold")
    for number, name in enumerate(("stem", "1", "2", "3", "4", "head")):
        left = 12 + 46 * number
        shape = {"boxstyle": "round,pad=0,rounding_size=5", "facecolor": "#F0F0F0", "edgecolor": QUIET}
        ax.add_patch(FancyBboxPatch((left, y - 24), 40, 48, linewidth=0.8, **shape))
        if name.isdigit():
            face = MECHANISM_COLOURS["relative_offsets"] if has_part else "white"
            line = {"linestyle": "-" if has_part else "--", "edgecolor": "black" if has_part else QUIET}
            ax.add_patch(Rectangle((left + 9, y - 17), 22, 20, facecolor=face, linewidth=1, **line))
            if has_part:
                ax.text(left + 20, y - 7, "r", ha="center", va="center", fontsize=9, color="white", style="italic")
            ax.text(left + 20, y + 14, name, ha="center", va="center", fontsize=7)
        else:
            ax.text(left + 20, y, name, ha="center", va="center", fontsize=7)


def one_run_or_ten(runs: Float[Tensor, "designs runs"], shown: int | None = None) -> list[Axes]:
    """Designs in the order of their first runs: that one run each, then all runs with their means (diamonds).

    Args:
        runs: accuracies, in percent.
        shown: how many runs of each the right panel has so far; None for all. The axes are those of all runs.
    """
    count = shown or runs.shape[1]
    order = runs[runs[:, 0].argsort(descending=True)]
    _, axes = plt.subplots(1, 2, figsize=(6, 2.4), sharex=True, sharey=True)
    for place, values in enumerate(order[:, :count].tolist()):
        colour = ACCENT if place == 0 else QUIET
        axes[0].plot(values[0], place, "o", color=colour)
        axes[1].plot(values, [place] * count, "o", color=colour, markersize=3, alpha=0.6)
        mean = statistics.mean(values)
        axes[1].plot(mean, place, "D", color=colour, markersize=6, markeredgecolor="white")
    names = [f"design {chr(ord('A') + place)}" for place in range(len(order))]
    margin = 0.06 * float(runs.max() - runs.min())
    axes[0].set(yticks=range(len(order)), yticklabels=names, ylim=(len(order) - 0.4, -0.6))
    axes[0].set_xlim(float(runs.min()) - margin, float(runs.max()) + margin)
    for ax, title in zip(axes, ("one run each", f"{count} run{'s' * (count > 1)} each"), strict=True):
        ax.set(title=title, xlabel="test top-1 (%)")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=(1, 2, 5, 10)))
        ax.tick_params(axis="y", length=0)
    return list(axes)


def own_spreads(runs: Mapping[str, Sequence[float]], pooled: float) -> Axes:
    """Each network's own standard deviation over its seeds, beside the pooled one.

    The bar of a network is where 90 % of such numbers lie if its true spread is the pooled one (chi-squared).

    Args:
        runs: accuracies of each network, by its name; two seeds or more each.
        pooled: the standard deviation over all of them, in points.
    """
    from scipy.stats import chi2

    ordered = sorted(runs.items(), key=lambda item: statistics.stdev(item[1]))
    ax = plt.subplots(figsize=(6, 0.7 + 0.18 * len(runs)))[1]
    for place, (_, values) in enumerate(ordered):
        freedom, own = len(values) - 1, statistics.stdev(values)
        low, high = (pooled * math.sqrt(chi2.ppf(tail, freedom) / freedom) for tail in (0.05, 0.95))
        ax.plot([low, high], [place] * 2, "-", color=QUIET, alpha=0.35, linewidth=5, solid_capstyle="butt")
        outside = not low <= own <= high
        ax.plot(own, place, "D" if outside else "o", markersize=5, color=ACCENT if outside else "black")
    ax.axvline(pooled, color="black", linewidth=0.8, linestyle=":")
    ax.set(xlim=(0, None), ylim=(-0.7, len(runs) - 0.3), xlabel="standard deviation over seeds (points)")
    ax.set_yticks(range(len(runs)), [name for name, _ in ordered], fontsize=8)
    ax.tick_params(axis="y", length=0)
    return ax


def then_and_now(
    accuracies: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    correlations: tuple[Sequence[float], Sequence[float]],
    periods: tuple[str, str] = ("3 epochs", "10 epochs"),
) -> list[Axes]:
    """A study that was run twice: its accuracies in each, and how far its learned tables had moved by then.

    Args:
        accuracies: by name of a network, its runs in both periods (percent).
        correlations: of each table with the numbers it began with, in both periods.
        periods: what to call them.
    """
    _, axes = plt.subplots(1, 3, figsize=(6, 2.4), width_ratios=(1, 1, 1))
    colours = dict(zip(accuracies, ("#56B4E9", QUIET, "#009E73"), strict=False))
    for panel, (ax, period) in enumerate(zip(axes, periods, strict=False)):
        for place, (name, both) in enumerate(accuracies.items()):
            runs, mean = both[panel], statistics.mean(both[panel])
            ax.plot([place] * len(runs), runs, "o", color=colours[name], markersize=4, alpha=0.7)
            ax.plot([place - 0.28, place + 0.28], [mean] * 2, color=colours[name], linewidth=2.5)
        values = [run for both in accuracies.values() for run in both[panel]]
        middle = (min(values) + max(values)) / 2
        ax.set(title=period, ylim=(middle - 5, middle + 5), xlim=(-0.6, len(accuracies) - 0.4))
        ax.set_xticks(range(len(accuracies)), list(accuracies), fontsize=7)
    axes[0].set_ylabel("test top-1 (%)")
    for place, values in enumerate(correlations):
        nudges = [0.18 * ((number * 5 % 7) / 3 - 1) for number in range(len(values))]
        spots = [place + nudge for nudge in nudges]
        axes[2].plot(spots, values, "o", color=MECHANISM_COLOURS["relative_offsets"], markersize=4, alpha=0.7)
    axes[2].set(title="the tables of r", ylim=(0, 1.05), xlim=(-0.6, 1.6), ylabel="correlation with their start")
    axes[2].set_xticks((0, 1), periods, fontsize=8)
    return list(axes)


def _draw_published(ax: Axes, study: Study, entries: Sequence[Entry]) -> list[float]:
    """The published accuracies; returns what must be inside the limits."""
    values = []
    for place, entry in enumerate(entries):
        if entry.published is None:
            _say(ax, place, "no number")
            continue
        values.append(entry.published)
        ax.plot(entry.published, place, "o", markersize=6, markerfacecolor="white", color=_colour(entry))
        if entry.label == study.reference:
            _mark_reference(ax, entry.published)
    ax.set_xlabel("published top-1 (%)")
    return values


def _draw_ours(ax: Axes, study: Study, comparisons: Sequence[Comparison]) -> list[float]:
    """Our runs; returns what must be inside the limits."""
    values = []
    for place, found in enumerate(comparisons):
        values += _draw_row(ax, place, found, study)
        if found.row.n and found.row.entry.label == study.reference:
            _mark_reference(ax, found.row.mean(study.metric))
    ax.set_xlabel(f"our {METRIC_WORDS[study.metric].lower()}, {comparisons[0].row.profile} (%)")
    return values


def _draw_row(ax: Axes, place: int, found: Comparison, study: Study) -> list[float]:
    row, colour = found.row, _colour(found.row.entry)
    runs = row.values(study.metric)
    height = place + (_SEEDS if row.n > 1 else 0)
    ax.plot(runs, [height] * row.n, "o", markersize=4, color=colour, alpha=0.8, markeredgewidth=0)
    if row.diverged and row.n:
        words = f"{row.diverged} diverged"
        ax.annotate(words, (max(runs), height), (6, 0), textcoords="offset points", **_QUIETLY)
    elif not row.n:
        _say(ax, place, f"{row.diverged} diverged")
    if row.n < 2:
        return runs
    middle = place + _MEAN
    inside = [*runs]
    if found.difference is not None:
        other = found.reference.mean(study.metric)
        ends = [other + found.difference.low, other + found.difference.high]
        ax.plot(ends, [middle] * 2, "-", linewidth=1.4, color=colour)
        inside += ends
        if found.reference.entry.label != study.reference:
            ax.plot([other] * 2, [middle - 0.25, middle + 0.25], ":", color=QUIET, linewidth=1)
            inside.append(other)
    sure = found.decided or found.verdict == "reference"
    face = colour if sure else "white"
    ax.plot(row.mean(study.metric), middle, "D", markersize=5, color=colour, markerfacecolor=face)
    return inside


def _say(ax: Axes, place: int, words: str) -> None:
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    ax.text(0.03, place, words, transform=ax.get_yaxis_transform(), bbox=ground, **_QUIETLY)


def _mark_reference(ax: Axes, value: float) -> None:
    ax.axvline(value, color=QUIET, linewidth=1, linestyle=":", zorder=0)


def _limit(ax: Axes, values: Sequence[float], span: float) -> None:
    """The values in the middle of as many points as every panel has; an axis without values has no ticks."""
    if not values:
        ax.set(xlim=(0, 1), xticks=[])
        return
    middle = (min(values) + max(values)) / 2
    ax.set_xlim(middle - 0.58 * span, middle + 0.58 * span)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=(1, 2, 5, 10)))


def _colour(entry: Entry) -> str:
    """A mechanism's own; networks that are no lesson's have that of what they are made of."""
    other = "augmented_convolution" if entry.options.get("augmented") else "convolution"
    return MECHANISM_COLOURS[entry.model if entry.model in MECHANISM_COLOURS else other]
