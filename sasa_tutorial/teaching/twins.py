"""Small pictures with two marks far apart: are the marks alike? What global attention learns in seconds."""

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from torch import Tensor

from sasa_tutorial.teaching.global_attention_schematic import MARK_COLOURS, put_shape

SIDE, MARK = 12, 2  # pixels: of a picture, of a mark
_TINT, _NOISE = (0.15, 0.55), 0.05  # range of a ground's red, green and blue; colours go from 0 to 1


def draw_twins(images: int, seed: int) -> tuple[Float[Tensor, "b 3 12 12"], Int64[Tensor, " b"]]:
    """Pictures of 12 x 12 pixels and their labels, 0 for two marks of the same hue, 1 for two different hues.

    Two marks of 2 x 2 pixels lie on a noisy ground, with at least 6 pixels between them along rows or along columns.
    Each has one of four hues, every hue equally often under either label; every ground has a tint of its own. Values
    are shifted and scaled for a network.
    """
    pictures, labels, _ = _draw(images, seed)
    return 4 * (pictures - 0.4), labels


def twins_side_by_side(count: int, seed: int = 0) -> list[Axes]:
    """So many twins, alike and unlike by turns, a shape on every mark for those who cannot tell the hues."""
    pictures, labels, marks = _draw(20 * count, seed)
    places = [(labels == turn % 2).nonzero()[turn // 2, 0] for turn in range(count)]
    _, axes = plt.subplots(1, count, figsize=(6, 6 / count + 0.25), squeeze=False)
    for ax, index in zip(axes[0], places, strict=True):
        ax.imshow(rearrange(pictures[index].clamp(0, 1), "c h w -> h w c").numpy())
        for row, col, hue in marks[index].tolist():
            put_shape(ax, (row + 0.5, col + 0.5), hue, size=14)
        ax.set(xticks=[], yticks=[])
        ax.set_title(("alike", "unlike")[int(labels[index])], fontsize=9)
    return list(axes[0])


def _draw(images: int, seed: int) -> tuple[Tensor, Tensor, Int64[Tensor, "b 2 3"]]:
    """Pictures from 0 to 1, labels, and row, column and hue of both marks."""
    generator = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int, *size: int) -> Tensor:
        return torch.randint(low, high, (*size, images), generator=generator)

    hues, last = len(MARK_COLOURS), SIDE - MARK + 1
    unlike, first = whole(0, 2), whole(0, hues)
    second = (first + unlike * whole(1, hues)) % hues
    near, far = whole(0, 2), whole(last - 2, last)  # along the axis on which they are far apart
    free = whole(0, last, 2)
    places = torch.stack((torch.stack((near, free[0]), -1), torch.stack((far, free[1]), -1)), dim=1)
    across = whole(0, 2).bool()
    places = torch.where(across[:, None, None], places.flip(2), places)  # b marks (row, column)
    low, high = _TINT
    tint = low + (high - low) * torch.rand(images, 3, 1, 1, generator=generator)
    pictures = tint + _NOISE * torch.randn(images, 3, SIDE, SIDE, generator=generator)
    palette = torch.tensor([to_rgb(colour) for colour in MARK_COLOURS])
    for mark, hue in enumerate((first, second)):
        rows, cols = (_span(places[:, mark, axis]) for axis in (0, 1))
        inside = rearrange(rows, "b h -> b 1 h 1") & rearrange(cols, "b w -> b 1 1 w")
        pictures = torch.where(inside, palette[hue][:, :, None, None], pictures)
    marks = torch.cat((places, torch.stack((first, second), dim=1)[:, :, None]), dim=2)
    return pictures, unlike, marks


def _span(start: Int64[Tensor, " b"]) -> Tensor:
    pixel = torch.arange(SIDE)
    return (pixel >= start[:, None]) & (pixel < start[:, None] + MARK)
