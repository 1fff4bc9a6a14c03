"""The series as a whole: find the notebooks, execute them, show what came out.

`run_series` is what `sasa-tutorial run` calls. Importing this package costs nothing: papermill, nbconvert and torch,
which take seconds, are imported where they are used.
"""

from sasa_tutorial.notebook_runner.notebooks import Notebook, find_notebooks, select
from sasa_tutorial.notebook_runner.outcomes import CellFailure, NotebookResult
from sasa_tutorial.notebook_runner.pages import write_index
from sasa_tutorial.notebook_runner.series import run_series

__all__ = ["CellFailure", "Notebook", "NotebookResult", "find_notebooks", "run_series", "select", "write_index"]
