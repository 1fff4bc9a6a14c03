"""Showing a figure with a description that screen readers find."""

from base64 import b64encode
from io import BytesIO

import matplotlib.pyplot as plt


def show(alt: str) -> None:
    """Show the current figure, in place of `plt.show()`, with words for those who cannot see it.

    The words become the `alt` attribute of the image, in JupyterLab, in saved notebooks and on the pages made of them.

    Args:
        alt: what can be seen, in a sentence.

    Raises:
        ValueError: no words, or no figure to show.
    """
    _check(alt)
    if not plt.get_fignums():
        raise ValueError("there is no figure to show: draw one first, in the same cell")
    figure = plt.gcf()
    content = BytesIO()
    figure.savefig(content, format="png", bbox_inches="tight")
    plt.close(figure)
    show_png(content.getvalue(), alt)


def show_png(content: bytes, alt: str) -> None:
    """Show an image, with words for those who cannot see it; see `show`.

    Raises:
        ValueError: no words.
    """
    _check(alt)
    from IPython.display import display

    image = {"image/png": b64encode(content).decode(), "text/plain": alt}
    display(image, raw=True, metadata={"image/png": {"alt": alt}})


def _check(alt: str) -> None:
    if not alt.strip():
        raise ValueError("a figure needs a description, got an empty one")
