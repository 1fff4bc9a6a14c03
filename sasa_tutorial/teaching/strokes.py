"""Words and arrows in a figure drawn by hand, for schematics that share them."""

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch

from sasa_tutorial.teaching.style import ACCENT


def words(ax: Axes, x: float, y: float, text: str, **options: object) -> None:
    """Small black words that begin at (x, y); options are those of `Axes.text`."""
    ax.text(x, y, text, **{"ha": "left", "va": "center", "fontsize": 7.5, "color": "black", **options})


def arrow(ax: Axes, tail: tuple[float, float], head: tuple[float, float], color: str = ACCENT) -> None:
    """A thin arrow from tail to head, in the units of the axes."""
    ax.add_patch(FancyArrowPatch(tail, head, arrowstyle="-|>", mutation_scale=10, color=color, linewidth=1.4))
