"""Recorded results for a notebook to show: what was measured, never what should come out, also that nothing was."""

import matplotlib.pyplot as plt

from sasa_tutorial.experiments.comparison import best_profile, compare, comparison_table, conclusion
from sasa_tutorial.experiments.grid import studies
from sasa_tutorial.experiments.results import lesson_rows, markdown_table
from sasa_tutorial.teaching.ablation_figures import published_and_ours
from sasa_tutorial.training.records import committed_records, read_records


def recorded_results(*mechanisms: str) -> "Markdown":  # noqa: F821
    """The table of the committed runs on CIFAR-100, of these mechanisms or of all, for a notebook to display."""
    from IPython.display import Markdown  # comes with Jupyter; the rest of the library does without

    return Markdown(markdown_table(lesson_rows(read_records(committed_records()), mechanisms)))


def recorded_study(name: str) -> None:
    """Display a study: its table, its figure, and what its seeds decide.

    Raises:
        ValueError: no study has this name.
    """
    from IPython.display import Markdown, display  # comes with Jupyter; the rest of the library does without

    (chosen,) = studies((name,))
    records = read_records(committed_records())
    profile = best_profile(chosen, records)
    found = compare(chosen, records, profile)
    display(Markdown(comparison_table(chosen, found)))
    published_and_ours(chosen, found)
    plt.show()
    display(Markdown(conclusion(chosen, found, profile)))
