"""Evidence: the grid of runs, working through it, and what the records say."""

from sasa_tutorial.experiments.grid import planned_runs
from sasa_tutorial.experiments.results import Row, lesson_rows, missing_runs, row_of
from sasa_tutorial.experiments.runner import train_missing
from sasa_tutorial.experiments.studies import STUDIES, studies_named
from sasa_tutorial.experiments.study import Entry, Study

__all__ = [
    "STUDIES",
    "Entry",
    "Row",
    "Study",
    "lesson_rows",
    "missing_runs",
    "planned_runs",
    "row_of",
    "studies_named",
    "train_missing",
]
