"""Recorded results for a notebook to show: what was measured, never what should come out."""

from sasa_tutorial.experiments.comparison import best_profile
from sasa_tutorial.experiments.result_tables import lesson_tables
from sasa_tutorial.experiments.results import lesson_rows
from sasa_tutorial.experiments.studies import LESSONS
from sasa_tutorial.training.records import committed_records, read_records


def recorded_results(*mechanisms: str) -> "Markdown":  # noqa: F821
    """The table of the committed runs on CIFAR-100, of these mechanisms and what they are compared with, or of all.

    Only of the largest profile in which all lessons have run: shorter runs of smaller networks say less about the same
    question, and some lessons alone do not compare. They stand in README.
    """
    from IPython.display import Markdown  # comes with Jupyter; the rest of the library does without

    records = read_records(committed_records())
    profile = best_profile(LESSONS, records)
    return Markdown(lesson_tables([row for row in lesson_rows(records, mechanisms) if row.profile == profile]))
