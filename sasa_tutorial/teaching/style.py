"""One look for every figure of the series."""

from types import MappingProxyType

import matplotlib.pyplot as plt

from sasa_tutorial.lessons import LESSONS

MECHANISM_COLOURS = MappingProxyType({lesson.name: lesson.colour for lesson in LESSONS})
POSITIVE_MAP = "viridis"  # weights: from 0 upwards
SIGNED_MAP = "RdBu_r"  # offsets, logits, kernels: around 0
ACCENT = "#D55E00"  # what the sentence under the figure talks about
QUIET = "#8A8A8A"  # everything else

_SETTINGS = {
    "figure.figsize": (6.0, 3.0),
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "image.interpolation": "nearest",
    "image.cmap": POSITIVE_MAP,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}


def use_style() -> None:
    """Set matplotlib up for the series: 6 x 3 inches at most, 100 dots an inch, no smoothing of pixels."""
    plt.rcParams.update(_SETTINGS)
