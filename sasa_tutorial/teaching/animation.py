"""A short loop of figures, for what is easier to see while it moves: a window that slides, a query that walks."""

from collections.abc import Callable, Hashable
from functools import cache
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from sasa_tutorial.teaching.showing import show_png

MOST_BYTES = 300_000
_COLOURS = 96  # of all frames together
_ROUNDS = 3  # then it rests: nothing moves beside a text for ever


def show_loop(draw: Callable[[int], object], frames: int, alt: str, *, seconds: float = 4.0, rest: float = 2.0) -> None:
    """Show figures one after another, three times over, as one image; it rests on the last of them.

    It is an animated PNG: all browsers play it, in JupyterLab, on Colab and on pages made of notebooks, and whatever
    cannot play it shows the first figure. That one, and the last, should therefore say everything by themselves.

    Args:
        draw: makes the figure of a frame, 0 to frames - 1. All have the same size.
        frames: how many, at least 2.
        alt: what can be seen, in a sentence; see `teaching.show`.
        seconds: one round takes, without the rest.
        rest: seconds that the last figure stays.

    Raises:
        ValueError: fewer than two frames, no words, figures of unequal size, or more than 300 kB in all.
    """
    if frames < 2:
        raise ValueError(f"a loop needs at least 2 frames, got {frames}; one figure is shown by teaching.show")
    pictures = []
    for frame in range(frames):
        draw(frame)
        pictures.append(_picture())
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
        raise ValueError(f"all frames of a loop have one size, got {', '.join(map(str, sorted(sizes)))}")
    content = _animated(pictures, [seconds / frames] * (frames - 1) + [seconds / frames + rest])
    if len(content) > MOST_BYTES:
        raise ValueError(
            f"the loop has {len(content):,} bytes, {MOST_BYTES:,} are the most: fewer frames, or less change"
        )
    show_png(content, alt)


def stage(still: Callable[..., object], *given: Hashable, size: tuple[float, float], **limits: Hashable) -> Axes:
    """The axes of a new figure, which they fill, for what moves in a loop; what stands still lies below them.

    Matplotlib takes longer for what the frames of a loop share than for all that moves. So that is drawn once, and
    laid as pixels under each of them: whatever is drawn on the axes hides it, in whichever order.

    Args:
        still: draws what stands still: called with axes like these, and with `given`.
        given: what else it depends on; pixels are kept for every one. A module's function and what is given to it
            must draw the same each time.
        size: of the figure, in inches.
        limits: what `Axes.set` knows: xlim, ylim, aspect.
    """
    figure = plt.figure(figsize=size, layout="none")
    figure.figimage(_pixels(still, *given, size=size, dpi=figure.dpi, **limits), zorder=-1)
    return _only_axes(figure, **limits)


@cache
def _pixels(still, *given, size, dpi, **limits) -> np.ndarray:
    canvas = FigureCanvasAgg(Figure(figsize=size, dpi=dpi, layout="none"))
    still(_only_axes(canvas.figure, **limits), *given)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def _only_axes(figure: Figure, **limits: Hashable) -> Axes:
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(**limits)
    ax.axis("off")
    return ax


def _picture() -> Image.Image:
    figure = plt.gcf()
    figure.canvas.draw()  # not cut to its content: all frames keep one size
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    plt.close(figure)
    return Image.fromarray(pixels.copy())


def _animated(pictures: list[Image.Image], seconds: list[float]) -> bytes:
    """One palette for all frames: without it, an animated PNG is several times as large."""
    width, height = pictures[0].size
    all_of_them = Image.new("RGB", (width, height * len(pictures)))
    for place, picture in enumerate(pictures):
        all_of_them.paste(picture, (0, place * height))
    # All at once, then cut apart: by a palette of another image, white would be nearly white.
    flat_ones = all_of_them.quantize(_COLOURS, dither=Image.Dither.NONE)
    flat = [flat_ones.crop((0, place * height, width, (place + 1) * height)) for place in range(len(pictures))]
    content = BytesIO()
    milliseconds = [round(1000 * one) for one in seconds]
    flat[0].save(content, "png", save_all=True, append_images=flat[1:], duration=milliseconds, loop=_ROUNDS)
    return content.getvalue()
