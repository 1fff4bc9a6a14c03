"""Recorded results for a notebook to show: what was measured, never what should come out."""

from sasa_tutorial.experiments.result_tables import lesson_tables
from sasa_tutorial.experiments.results import lesson_rows
from sasa_tutorial.training.records import committed_records, read_records


def recorded_results(*mechanisms: str) -> "Markdown":  # noqa: F821
    """The table of the committed runs on CIFAR-100, of these mechanisms and what they are compared with, or of all.

    Only of the largest profile that has any: shorter runs of smaller networks say less about the same question. They
    stand in README.
    """
    from IPython.display import Markdown  # comes with Jupyter; the rest of the library does without

    rows = lesson_rows(read_records(committed_records()), mechanisms)
    return Markdown(lesson_tables([row for row in rows if row.profile == rows[0].profile]))
