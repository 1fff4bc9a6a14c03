"""Figures of ablations: each takes data and returns Axes; none reads records, shows or keeps anything."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sasa_tutorial.experiments.comparison import Comparison
from sasa_tutorial.experiments.result_tables import METRIC_WORDS
from sasa_tutorial.experiments.study import Entry, Study
from sasa_tutorial.teaching.style import MECHANISM_COLOURS, QUIET

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
