"""A study of the grid for a notebook to show: whatever the records say, also that there are none."""

import matplotlib.pyplot as plt

from sasa_tutorial.experiments.comparison import best_profile, compare, findings
from sasa_tutorial.experiments.result_tables import comparison_table, conclusion, markdown
from sasa_tutorial.experiments.studies import studies
from sasa_tutorial.teaching.ablation_figures import published_and_ours
from sasa_tutorial.training.records import committed_records, read_records


def recorded_study(name: str) -> None:
    """Display a study: its table, its figure, and what its seeds decide.

    Raises:
        ValueError: no study has this name.
    """
    from IPython.display import Markdown, display  # comes with Jupyter; the rest of the library does without

    (chosen,) = studies((name,))
    records = read_records(committed_records())
    profile = best_profile(chosen, records)
    known = findings(records, profile)
    found = compare(chosen, records, profile, known)
    if found:
        display(Markdown(markdown(comparison_table(chosen, found))))
        published_and_ours(chosen, found)
        plt.show()
    display(Markdown(conclusion(chosen, found, known)))
