"""The series as a whole: find the notebooks, execute them, show what came out.

`run_series` is what `sasa-tutorial run` calls. Importing this package costs nothing: papermill, nbconvert and Pillow,
which take seconds, are imported where they are used.
"""

from sasa_tutorial.series.index import write_index
from sasa_tutorial.series.notebooks import Notebook, find_notebooks, select
from sasa_tutorial.series.outcomes import CellFailure, NotebookResult
from sasa_tutorial.series.runner import run_series

__all__ = ["CellFailure", "Notebook", "NotebookResult", "find_notebooks", "run_series", "select", "write_index"]
