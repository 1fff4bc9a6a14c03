"""What the notebooks share: one style, figures, checks of answers, recorded results."""

from sasa_tutorial.teaching.checks import check_answer, expect_error
from sasa_tutorial.teaching.convolution_figures import (
    kernels_and_answers,
    move_and_answer,
    receptive_fields,
    windows_of,
    windows_times_weights,
)
from sasa_tutorial.teaching.figures import as_image, images_in_rows, matrix, training_curves
from sasa_tutorial.teaching.overview_figures import accuracy_bars, predictions, series_map
from sasa_tutorial.teaching.recorded import recorded_results
from sasa_tutorial.teaching.style import ACCENT, MECHANISM_COLOURS, POSITIVE_MAP, QUIET, SIGNED_MAP, use_style

__all__ = [
    "ACCENT",
    "MECHANISM_COLOURS",
    "POSITIVE_MAP",
    "QUIET",
    "SIGNED_MAP",
    "accuracy_bars",
    "as_image",
    "check_answer",
    "expect_error",
    "images_in_rows",
    "kernels_and_answers",
    "matrix",
    "move_and_answer",
    "predictions",
    "receptive_fields",
    "recorded_results",
    "series_map",
    "training_curves",
    "use_style",
    "windows_of",
    "windows_times_weights",
]
