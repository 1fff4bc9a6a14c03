"""Tables and sentences made from records, for the README, the notebooks and the terminal: only what has run."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from sasa_tutorial.experiments.comparison import Comparison, Difference, Findings, best_profile, compare, findings
from sasa_tutorial.experiments.results import Row, lesson_rows
from sasa_tutorial.experiments.study import Study
from sasa_tutorial.experiments.tried import TRIED
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import Record

METRIC_WORDS = {"test_top1": "Test top-1", "val_top1": "Validation top-1"}
WHOLE = {"train_images": 45_000, "validation_images": 5_000, "test_images": 10_000}  # a profile's None, of CIFAR-100
NOTHING = "–"
NOT_RUN = "Nothing has run yet: `sasa-tutorial results --missing` lists what is planned."

Table = list[list[str]]
"""Rows of cells; the first row is the header, and all columns but the first hold numbers or short words."""


def markdown(table: Table) -> str:
    """A table for a page: names on the left, numbers on the right."""
    rule = ["---", *("---:" for _ in table[0][1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (table[0], rule, *table[1:]))


def aligned(table: Table) -> str:
    """The same for a terminal."""
    widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in table
    )


def lesson_tables(rows: Sequence[Row], layout: Callable[[Table], str] = markdown) -> str:
    """The lessons' networks, a table for each profile with a sentence on what was trained on what."""
    if not rows:
        return NOT_RUN
    parts = []
    for name, group in groupby(rows, key=lambda row: row.profile):
        group = list(group)
        parts += [_setting(name, group, bold=layout is markdown), layout(_lesson_table(group))]
    return "\n\n".join(parts)


def _setting(name: str, rows: Sequence[Row], *, bold: bool) -> str:
    profile = PROFILES[name]
    images = {field: profile.image_settings[field] or most for field, most in WHOLE.items()}
    title = f"**{name}**" if bold else name
    return (
        f"{title}: {images['train_images']:,} training images, {profile.recipe.epochs} epochs; "
        f"{images['validation_images']:,} validation and {images['test_images']:,} test images."
    )


def _lesson_table(rows: Sequence[Row]) -> Table:
    """Times of different devices stand in columns of their own: they are not averaged."""
    devices = sorted({device for row in rows for device in row.seconds})
    header = ["Network", "Parameters", "MFLOPs", "Validation top-1, %", "Test top-1, %", "n"]
    lines = [
        [
            row.entry.model,
            *_sizes(row),
            mean_cell(row, "val_top1"),
            mean_cell(row, "test_top1"),
            _count(row),
            *(_minutes(row.seconds.get(device)) for device in devices),
        ]
        for row in rows
    ]
    return [[*header, *(f"Minutes, {device}" for device in devices)], *lines]


def comparison_table(study: Study, comparisons: Sequence[Comparison]) -> Table:
    """A study: published beside ours, where anything was published; each against its reference."""
    references = {c.reference.entry.label for c in comparisons}
    against = next(iter(references)) if len(references) == 1 else "reference"
    columns: dict[str, Callable[[Comparison], str]] = {
        "Network": lambda c: c.row.entry.label,
        "Published, %": lambda c: NOTHING if c.row.entry.published is None else f"{c.row.entry.published:.1f}",
        f"{METRIC_WORDS[study.metric]}, %": lambda c: mean_cell(c.row, study.metric),
        "n": lambda c: _count(c.row),
        f"Minus {against} (95 %)": lambda c: _interval(c.difference),
        "p": lambda c: "" if c.difference is None else probability(c.difference.p),
        "Verdict": lambda c: c.verdict,
        "Parameters": lambda c: _sizes(c.row)[0],
        "MFLOPs": lambda c: _sizes(c.row)[1],
    }
    if all(c.row.entry.published is None for c in comparisons):
        del columns["Published, %"]
    return [list(columns), *([cell(c) for cell in columns.values()] for c in comparisons)]


def tried_table(study: Study, comparisons: Sequence[Comparison]) -> Table:
    """A study of one seed a variant, on validation images: what each change came to.

    Times are left out: the runs shared their machine with other work, each with something else.
    """
    header = ["Variant", f"{METRIC_WORDS[study.metric]}, %", "Minus reference, points", "Device"]
    return [
        header,
        *(
            [c.row.entry.label, mean_cell(c.row, study.metric), _gain(c, study.metric), c.row.device]
            for c in comparisons
        ),
    ]


def _gain(comparison: Comparison, metric: str) -> str:
    ours, theirs = comparison.row.mean(metric), comparison.reference.mean(metric)
    if comparison.verdict == "reference":
        return ""
    return NOTHING if ours is None or theirs is None else f"{ours - theirs:+.2f}"


def _sizes(row: Row) -> tuple[str, str]:
    if not row.records:
        return NOTHING, NOTHING
    return f"{row.records[0].params / 1e6:.2f} M", f"{row.records[0].flops_per_image / 1e6:,.0f}"


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    return f"{seconds / 60:.0f}" if seconds > 570 else f"{seconds / 60:.1f}"


def _count(row: Row) -> str:
    return f"{row.n}" + (f" ({row.diverged} diverged)" if row.diverged else "")


def mean_cell(row: Row, name: str) -> str:
    """Mean ± standard deviation, as far as there are runs."""
    mean, deviation = row.mean(name), row.deviation(name)
    if mean is None:
        return NOTHING
    return f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"


def probability(p: float) -> str:
    """A p-value as it is printed."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _interval(found: Difference | None) -> str:
    return "" if found is None else f"{found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def conclusion(study: Study, comparisons: Sequence[Comparison], known: Findings) -> str:
    """One honest paragraph: what was published, and what these records decide."""
    sentences = [f"Published ({study.source}): {study.trend}" if study.source else study.trend]
    profile = PROFILES[known.profile]
    compared = [c for c in comparisons if c.difference is not None]
    sentences.append(f"Here ({known.profile}, {profile.recipe.epochs} epochs):" if compared else "")
    decided = [c for c in compared if c.decided]
    if compared:
        sentences.append("; ".join(map(_sentence, decided)) or "no difference is decided")
        sentences[-1] += "."
    if decided and len(compared) > len(decided):
        sentences.append(f"Not decided: {_listed(c for c in compared if not c.decided)}.")
    if alone := [c for c in comparisons if c.verdict == "one seed"]:
        sentences.append(f"One seed, so not compared: {_listed(alone)}.")
    if lost := [c for c in comparisons if c.row.diverged]:
        sentences.append(f"Diverged: {_listed(lost)}.")
    ran = {c.row.entry.label for c in comparisons}
    if missing := [entry.label for entry in study.entries if entry.label not in ran]:
        sentences.append(f"Not run under this profile: {', '.join(missing)}.")
    return " ".join(filter(None, sentences))


def _sentence(comparison: Comparison) -> str:
    found, reference = comparison.difference, comparison.reference.entry.label
    side = "above" if found.mean > 0 else "below"
    p = probability(found.p)
    verdict = f", {comparison.verdict}" if comparison.verdict in ("confirmed", "opposite") else ""
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    return f"{comparison.row.entry.label} ended {abs(found.mean):.2f} points {side} {reference} ({p}){verdict}"


def _listed(comparisons: Iterable[Comparison]) -> str:
    return ", ".join(c.row.entry.label for c in comparisons)


def study_text(
    study: Study, records: Sequence[Record], profile: str = "auto", layout: Callable[[Table], str] = markdown
) -> str:
    """A study as text: its question, its table, and what its seeds decide.

    Args:
        profile: auto for the largest in which it has run.
    """
    profile = best_profile(study, records) if profile == "auto" else profile
    known = findings(records, profile)
    found = compare(study, records, profile, known)
    make = tried_table if study is TRIED else comparison_table
    table = [layout(make(study, found))] if found else []
    return "\n\n".join((study.question, *table, conclusion(study, found, known)))


def with_current_tables(document: str, records: Sequence[Record]) -> str:
    """A Markdown document whose tables are those of these records: between `<!-- NAME: begin -->` and its end.

    Names: "results", the lessons' networks; "tried", the recipes that were tried.

    Raises:
        ValueError: there is no place for any table, or one without its end.
    """
    makers = {"results": lambda: lesson_tables(lesson_rows(records)), "tried": lambda: _tried(records)}
    found = False
    for name, make in makers.items():
        first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if first not in document:
            continue
        before, _, rest = document.partition(first)
        _, end, after = rest.partition(last)
        if not end:
            raise ValueError(f"the document has {first} and no {last} after it")
        document, found = f"{before}{first}\n{make()}\n{last}{after}", True
    if not found:
        raise ValueError("the document has no place for a table: <!-- results: begin --> and its end are expected")
    return document


def _tried(records: Sequence[Record]) -> str:
    (profile,) = TRIED.profiles
    return markdown(tried_table(TRIED, compare(TRIED, records, profile)))
