"""Studies of the grid for a notebook to show: whatever the records say, also that there are none."""

from collections.abc import Sequence

from sasa_tutorial.experiments.comparison import (
    METRIC,
    PROFILE_ORDER,
    Comparison,
    best_profile,
    compare,
    findings,
)
from sasa_tutorial.experiments.result_tables import (
    NOT_RUN,
    NOTHING,
    Table,
    comparison_table,
    conclusion,
    markdown,
    tried_table,
)
from sasa_tutorial.experiments.studies import STUDIES, studies_named
from sasa_tutorial.experiments.study import Study
from sasa_tutorial.teaching.ablation_figures import in_words, published_and_ours
from sasa_tutorial.teaching.showing import show
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import Record, committed_records, read_records


def recorded_study(name: str) -> None:
    """Display a study: its table, its figure, and what its seeds decide.

    Raises:
        ValueError: no study has this name.
    """
    (chosen,) = studies_named((name,))
    records = read_records(committed_records())
    profile = best_profile(chosen, records)
    known = findings(records, profile)
    found = compare(chosen, records, profile, known)
    if not found:
        published = f"Published ({chosen.source}): {chosen.trend}" if chosen.source else chosen.trend
        _show(f"{published} {NOT_RUN}")
        return
    _show(markdown(comparison_table(chosen, found)))
    published_and_ours(chosen, found)
    show(in_words(chosen, found))
    _show(conclusion(chosen, found, known))


def other_recorded_studies(*shown: str) -> None:
    """Display what all studies but these compare on test images: one table, or one for each profile that ran.

    Raises:
        ValueError: no study has one of these names.
    """
    in_depth, records = studies_named(shown) if shown else (), read_records(committed_records())
    rest = [one for one in STUDIES if one.metric == METRIC and one not in in_depth]
    best = {one.name: best_profile(one, records) for one in rest}
    text = []
    for profile in PROFILE_ORDER:
        mine = [one for one in rest if best[one.name] == profile]
        table = table_of_studies(mine, records, profile, apart_from=in_depth)
        if len(table) > 1:
            text += [f"**{profile}**, {PROFILES[profile].recipe.epochs} epochs:", markdown(table)]
    _show("\n\n".join(text) or NOT_RUN)


def table_of_studies(
    chosen: Sequence[Study], records: Sequence[Record], profile: str, apart_from: Sequence[Study] = ()
) -> Table:
    """Every network of the studies that ran beside what it is compared with: differences, not accuracies.

    Two studies may ask about the same two networks. Their runs are the same, so they are shown once, and again only
    where something else was published about them.
    """
    known = findings(records, profile)
    seen = {_pair(c) for one in apart_from for c in compare(one, records, profile, known)}
    table = [["Study", "Network", "Against", "Published, points", "Here, points (95 %)", "n", "Verdict"]]
    for one in chosen:
        for found in compare(one, records, profile, known):
            published, pair = _published(found), _pair(found)
            if found.verdict == "reference" or (pair in seen and published == NOTHING):
                continue
            seen.add(pair)
            table.append(
                [
                    f"[{one.name}]({one.lesson}.ipynb)",
                    found.row.entry.label,
                    found.reference.entry.label,
                    published,
                    _ours(found),
                    f"{found.row.n} and {found.reference.n}",
                    found.verdict,
                ]
            )
    return table


def recorded_trials() -> None:
    """Display what was tried on validation images before a recipe was fixed, as far as it ran."""
    records, text = read_records(committed_records()), []
    for one in STUDIES:
        if one.metric == METRIC:
            continue
        profile = best_profile(one, records)
        if found := compare(one, records, profile):
            text += [f"**{profile}**: {one.question}", markdown(tried_table(one, found))]
    _show("\n\n".join(text) or NOT_RUN)


def _pair(found: Comparison) -> tuple[str, str]:
    profile = PROFILES[found.row.profile]
    return tuple(row.entry.plan(profile, seed=0).identity for row in (found.row, found.reference))


def _published(found: Comparison) -> str:
    ours, theirs = found.row.entry.published, found.reference.entry.published
    return NOTHING if ours is None or theirs is None else f"{ours - theirs:+.1f}"


def _ours(found: Comparison) -> str:
    """One decimal: a seed is worth several tenths."""
    gap = found.difference
    return NOTHING if gap is None else f"{gap.mean:+.1f} ({gap.low:+.1f} to {gap.high:+.1f})"


def _show(text: str) -> None:
    from IPython.display import Markdown, display  # comes with Jupyter; the rest of the library does without

    display(Markdown(text))
