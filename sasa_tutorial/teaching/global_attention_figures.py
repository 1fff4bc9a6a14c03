"""Figures of the lesson on global attention: all weights and the row of one query, and answers to shuffled pixels.

Each takes data and returns Axes; none trains, shows or keeps anything.
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from torch import Tensor

from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.strokes import border, outline


def weights_and_one_row(weights: Float[Tensor, "n n"], query: tuple[int, int], size: tuple[int, int]) -> list[Axes]:
    """All weights of an image as a matrix, and the row of one query as the map that it is.

    Args:
        weights: queries down, keys across.
        query: row and column of the pixel whose weights are shown on the right.
        size: height and width of the image.
    """
    row = query[0] * size[1] + query[1]
    figure, axes = plt.subplots(1, 2, figsize=(6, 2.9))
    end = float(weights.max())
    matrix(weights, signed=False, limit=end, rows="query, n = h · w", cols="key, n = h · w", ax=axes[0])
    outline(axes[0], (-0.5, row - 0.5), weights.shape[1], 1, linewidth=2, clip_on=False)
    one = rearrange(weights[row], "(h w) -> h w", w=size[1])
    matrix(one, signed=False, limit=end, rows="h", cols="w", title=f"row {row}: query {query}", ax=axes[1])
    outline(axes[1], (query[1] - 0.5, query[0] - 0.5), 1, linewidth=2, clip_on=False)
    figure.colorbar(axes[0].images[0], ax=list(axes), pad=0.02, shrink=0.8, label="attention weight")
    return list(axes)


def answers_to_shuffled(
    image: UInt8[Tensor, "3 h w"],
    shuffled: UInt8[Tensor, "3 h w"],
    answers: Mapping[str, tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]],
) -> list[list[Axes]]:
    """Does a layer mind if the pixels change places? One row for each of two layers; the last panel is the difference.

    Args:
        image: red, green, blue.
        shuffled: the same pixels in other places.
        answers: for each layer its answer to the image, and its answer to the shuffled image with the pixels put back.
    """
    _, axes = plt.subplots(2, 4, figsize=(6, 3))
    for ax, pixels, title in zip(axes[:, 0], (image, shuffled), ("image", "shuffled image"), strict=True):
        ax.imshow(rearrange(pixels.cpu(), "c h w -> h w c").numpy())
        ax.set_title(title, fontsize=8)
    titles = ("answer", "answer to shuffled,\nput back", "difference")
    for row, (name, (answer, put_back)) in zip(axes[:, 1:], answers.items(), strict=True):
        # Around the mean of the answer: attention moves every pixel by nearly the same amount.
        centre = answer.detach().mean()
        shown = (answer.detach() - centre, put_back.detach() - centre, put_back.detach() - answer.detach())
        end = float(torch.stack(shown[:2]).abs().max())
        for ax, values, title in zip(row, shown, titles, strict=True):
            matrix(values, limit=end, rows="", cols="", ax=ax)
            ax.set_title(title, fontsize=8)
        row[0].set_ylabel(name, fontsize=8)
    for ax in axes.flat:
        border(ax)
    return axes.tolist()
