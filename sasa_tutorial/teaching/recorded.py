"""Recorded results for a notebook to show: what was measured, never what should come out."""

from sasa_tutorial.experiments.results import lesson_rows, markdown_table
from sasa_tutorial.training.records import committed_records, read_records


def recorded_results(*mechanisms: str) -> "Markdown":  # noqa: F821
    """The table of the committed runs on CIFAR-100, of these mechanisms or of all, for a notebook to display."""
    from IPython.display import Markdown  # comes with Jupyter; the rest of the library does without

    return Markdown(markdown_table(lesson_rows(read_records(committed_records()), mechanisms)))
