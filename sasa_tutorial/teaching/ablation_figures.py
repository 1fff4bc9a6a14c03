"""Figures of ablations: each takes data and returns Axes; none reads records, shows or keeps anything."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sasa_tutorial.experiments.comparison import Comparison
from sasa_tutorial.experiments.result_tables import METRIC_WORDS
from sasa_tutorial.experiments.results import Row
from sasa_tutorial.experiments.study import Entry, Study
from sasa_tutorial.teaching.style import MECHANISM_COLOURS, QUIET

_ROW, _REST, _HIGHEST = 0.27, 0.66, 3.0  # inches: a row, axis and margins, a figure
_LEAST_RANGE = 1.0  # points on an axis, however near the values are
_MEAN, _SEEDS = -0.1, 0.2  # heights of both in a row, from above
_QUIETLY = {"color": QUIET, "fontsize": 8, "va": "center"}


def published_and_ours(study: Study, comparisons: Sequence[Comparison]) -> list[Axes]:
    """Top-1 accuracies of a study, network by network: published on the left, ours on the right.

    Hollow circles were published; without any, the left panel is left out. A small dot is a run of ours, a diamond the
    mean of two or more, its bar one sample standard deviation to either side. A dotted line marks the reference.
    """
    entries = [comparison.row.entry for comparison in comparisons]
    published = any(entry.published is not None for entry in entries)
    height = min(_HIGHEST, _REST + _ROW * len(entries))
    widths = [1, 1.5] if published else [1]
    _, axes = plt.subplots(1, len(widths), figsize=(6, height), sharey=True, width_ratios=widths, squeeze=False)
    if published:
        _draw_published(axes[0, 0], study, entries)
    _draw_ours(axes[0, -1], study, [comparison.row for comparison in comparisons])
    for ax in axes[0]:
        ax.tick_params(axis="y", length=0)
    first = axes[0, 0]
    first.set_yticks(range(len(entries)), [entry.label for entry in entries])
    first.set_ylim(len(entries) - 0.5, -0.5)
    for label, entry in zip(first.get_yticklabels(), entries, strict=True):
        label.set_fontweight("bold" if study.reference_of(entry) is entry else "normal")
    return list(axes[0])


def _draw_published(ax: Axes, study: Study, entries: Sequence[Entry]) -> None:
    values = []
    for place, entry in enumerate(entries):
        if entry.published is None:
            _say(ax, place, "no number")
            continue
        values.append(entry.published)
        ax.plot(entry.published, place, "o", markersize=6, markerfacecolor="white", color=_colour(entry))
        if entry.label == study.reference:
            _mark_reference(ax, entry.published)
    _room_for(ax, values)
    ax.set_xlabel("published top-1 (%)")


def _draw_ours(ax: Axes, study: Study, rows: Sequence[Row]) -> None:
    values = []
    for place, row in enumerate(rows):
        values += _draw_row(ax, place, row, study.metric)
        if row.n and row.entry.label == study.reference:
            _mark_reference(ax, row.mean(study.metric))
    _room_for(ax, values)
    ax.set_xlabel(f"{METRIC_WORDS[study.metric].lower()} here, profile {rows[0].profile} (%)")


def _draw_row(ax: Axes, place: int, row: Row, metric: str) -> list[float]:
    """One network's runs; returns what must be inside the limits."""
    found, colour = row.values(metric), _colour(row.entry)
    height = place + (_SEEDS if row.n > 1 else 0)
    ax.plot(found, [height] * row.n, "o", markersize=4, color=colour, alpha=0.8, markeredgewidth=0)
    if row.diverged and row.n:
        words = f"{row.diverged} diverged"
        ax.annotate(words, (max(found), height), (6, 0), textcoords="offset points", **_QUIETLY)
    elif not row.n:
        _say(ax, place, f"{row.diverged} diverged")
    if row.n < 2:
        return found
    mean, deviation = row.mean(metric), row.deviation(metric)
    ax.errorbar(mean, place + _MEAN, xerr=deviation, fmt="D", markersize=4.5, capsize=3, color=colour)
    return [*found, mean - deviation, mean + deviation]


def _say(ax: Axes, place: int, words: str) -> None:
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    ax.text(0.03, place, words, transform=ax.get_yaxis_transform(), bbox=ground, **_QUIETLY)


def _mark_reference(ax: Axes, value: float) -> None:
    ax.axvline(value, color=QUIET, linewidth=1, linestyle=":", zorder=0)


def _room_for(ax: Axes, values: Sequence[float]) -> None:
    """Limits around the values; an axis without any has no ticks."""
    if not values:
        ax.set(xlim=(0, 1), xticks=[])
        return
    middle, half = (min(values) + max(values)) / 2, max(max(values) - min(values), _LEAST_RANGE) / 2
    ax.set_xlim(middle - 1.2 * half, middle + 1.2 * half)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=(1, 2, 5, 10)))


def _colour(entry: Entry) -> str:
    """A mechanism's own; networks that are no lesson's have that of what they are made of."""
    other = "augmented_convolution" if entry.options.get("augmented") else "convolution"
    return MECHANISM_COLOURS[entry.model if entry.model in MECHANISM_COLOURS else other]
