"""The picture that opens the lesson on global attention, and the toy that it shows, in numbers.

Colours of marks are Okabe and Ito's and each has a shape of its own, so that nobody has to see colours.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from sasa_tutorial.teaching.animation import stage
from sasa_tutorial.teaching.figures import matrix
from sasa_tutorial.teaching.strokes import outline
from sasa_tutorial.teaching.style import ACCENT, POSITIVE_MAP, QUIET, SIGNED_MAP

MARK_COLOURS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7")  # orange, blue, green, pink
MARK_SHAPES = ("o", "s", "^", "D")
_GROUND = "#D9D9D9"
_SCENE = ((1, 0, 1), (2, 3, 2))  # row, column, colour: 1 orange, 2 blue
_SIDE = 4
_PITCH = 5.1  # from panel to panel, in cells
_LIKES = torch.tensor([[0.0, 0, 0], [0, -4, 4], [0, 4, -4]])  # what ground, orange and blue think of each other
_LEFTS = tuple(_PITCH * place for place in range(5))
_PANELS = (
    ("query", "asks every pixel"),
    ("logits", "query · key"),
    ("weights", "softmax: sum is 1"),
    ("values", "what each gives"),
    ("output", "weighted sum"),
)
GLOBAL_ATTENTION_FRAMES = _SIDE**2 + 2  # one for each pixel; the whole picture comes first and last


def global_attention_schematic(frame: int = 0) -> Axes:
    """One query meets the key of every pixel; softmax makes weights of the logits; the values are averaged.

    The logits are those of the lesson's toy: the other colour is liked (+4), the own one is not (-4), the ground is
    indifferent (0), and asks for nothing itself. The weights are their softmax, and an output pixel is mixed from the
    colours by its weights.

    Args:
        frame: 0 to GLOBAL_ATTENTION_FRAMES - 1, for `teaching.show_loop`. In the first and the last the output is whole
            and the orange mark asks; in those between, the query walks from pixel to pixel, and the output grows.
    """
    scene, _, _, mixed = _toy()
    walking = 0 < frame < GLOBAL_ATTENTION_FRAMES - 1
    query = frame - 1 if walking else _SIDE * _SCENE[0][0] + _SCENE[0][1]
    limits = {"xlim": (-0.4, _LEFTS[4] + _SIDE + 0.4), "ylim": (5.4, -2.6), "aspect": "equal"}
    ax = stage(_still, scene[query].item(), size=(6, 1.95), **limits)
    _ask(ax, query)
    _shapes(ax, _LEFTS[0])
    _cells(ax, _LEFTS[4], mixed.tolist()[: query + 1] if walking else mixed.tolist())
    for left in (_LEFTS[0], *_LEFTS[1:3], _LEFTS[4]):
        row, col = divmod(query, _SIDE)
        outline(ax, (left + col, row), 1, linewidth=2.2)
    return ax


def _still(ax: Axes, asking: int) -> None:
    """What all queries of a colour share: their logits and weights too, for none knows where it is."""
    scene, logits, weights, _ = _toy()
    query = scene.tolist().index(asking)
    palette = (_GROUND, *MARK_COLOURS)
    for left in (_LEFTS[0], _LEFTS[3]):
        _cells(ax, left, [palette[colour] for colour in scene.tolist()])
    _shapes(ax, _LEFTS[3])
    signed, positive = plt.get_cmap(SIGNED_MAP), plt.get_cmap(POSITIVE_MAP)
    _cells(ax, _LEFTS[1], [signed(0.5 + 0.5 * logit / 4) for logit in logits[query].tolist()])
    _numbers(
        ax, _LEFTS[1], [f"{logit:.0f}".replace("-", "−") for logit in logits[query].tolist()], logits[query].abs() > 2
    )
    _cells(ax, _LEFTS[2], [positive(weight / 0.8) for weight in weights[query].tolist()])
    _numbers(ax, _LEFTS[2], [f"{weight:.2f}"[1:] for weight in weights[query].tolist()], weights[query] < 0.5)
    for left, (title, words) in zip(_LEFTS, _PANELS, strict=True):
        ax.text(left + _SIDE / 2, -1.75, title, ha="center", va="center", fontsize=10, weight="bold")
        ax.text(left + _SIDE / 2, -0.7, words, ha="center", va="center", fontsize=7.5)
    for left, sign in zip(_LEFTS, "→→×→", strict=False):
        ax.text(left + (_SIDE + _PITCH) / 2, _SIDE / 2, sign, ha="center", va="center", fontsize=13, weight="bold")
    words = ("the mean of all", "80 % blue", "80 % orange")[asking]
    ax.text(_LEFTS[4] + _SIDE / 2, 4.75, words, ha="center", va="center", fontsize=8, color=ACCENT)


@cache
def _toy() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour numbers of the pixels; logits and weights, query by key; the mixed colours."""
    scene = torch.zeros(_SIDE, _SIDE, dtype=torch.int64)
    for row, col, colour in _SCENE:
        scene[row, col] = colour
    scene = scene.flatten()
    logits = _LIKES[scene][:, scene]
    weights = logits.softmax(dim=1)
    palette = torch.tensor([to_rgb(colour) for colour in (_GROUND, *MARK_COLOURS)])
    return scene, logits, weights, weights @ palette[scene]


def _cells(ax: Axes, left: float, colours: Sequence) -> None:
    """A picture of 4 x 4 cells; those without a colour stay empty."""
    for place in range(_SIDE**2):
        row, col = divmod(place, _SIDE)
        filled = {"facecolor": colours[place], "edgecolor": "white"} if place < len(colours) else {"fill": False}
        ax.add_artist(Rectangle((left + col, row), 1, 1, **{"edgecolor": QUIET, "linewidth": 0.6, **filled}))


def _shapes(ax: Axes, left: float) -> None:
    for row, col, colour in _SCENE:
        put_shape(ax, (row + 0.5, left + col + 0.5), colour - 1, size=22)


def _numbers(ax: Axes, left: float, words: Sequence[str], light: Tensor) -> None:
    for place, (word, white) in enumerate(zip(words, light.tolist(), strict=True)):
        row, col = divmod(place, _SIDE)
        colour = "white" if white else "black"
        ax.text(left + col + 0.5, row + 0.53, word, ha="center", va="center", fontsize=6.5, color=colour)


def _ask(ax: Axes, query: int) -> None:
    """Lines from a pixel of the first picture to all others."""
    start = (query % _SIDE + 0.5, query // _SIDE + 0.5)
    for place in range(_SIDE**2):
        if place != query:
            end = (place % _SIDE + 0.5, place // _SIDE + 0.5)
            ax.add_artist(Line2D(*zip(start, end, strict=True), color=ACCENT, linewidth=0.8, alpha=0.8, zorder=2))


def toy_maps(
    scenes: Mapping[str, tuple[Int64[Tensor, "h w"], Float[Tensor, "h w"], Float[Tensor, "h w"]]],
    query: tuple[int, int],
) -> list[list[Axes]]:
    """Scenes of marks, one a row: the picture, the logits of one query, and its weights, with numbers.

    Args:
        scenes: by name: colours (0 is ground, 1 and up are marks), logits, weights.
        query: its row and column.
    """
    _, grid = plt.subplots(len(scenes), 3, figsize=(6, 1.35 * len(scenes) + 0.25), squeeze=False)
    ends = [max(float(scene[part].abs().max()) for scene in scenes.values()) for part in (1, 2)]
    for axes, (name, (scene, logits, weights)) in zip(grid, scenes.items(), strict=True):
        draw_scene(axes[0], scene)
        matrix((10 * logits).round() / 10, numbers=True, limit=ends[0], rows="", cols="", ax=axes[1])
        shown = (100 * weights).round() / 100
        matrix(shown, numbers=True, signed=False, limit=ends[1], rows="", cols="", ax=axes[2])
        axes[0].set_ylabel(name, fontsize=9)
        for ax in axes:
            outline(ax, (query[1] - 0.5, query[0] - 0.5), 1, linewidth=2.2, clip_on=False)
    for ax, title in zip(grid[0], ("picture", "logits of the framed query", "weights"), strict=True):
        ax.set_title(title, fontsize=9)
    return grid.tolist()


def draw_scene(ax: Axes, scene: Int64[Tensor, "h w"]) -> None:
    """Cells of ground, and marks in their colour and with their shape."""
    height, width = scene.shape
    for row, col in ((a, b) for a in range(height) for b in range(width)):
        colour = int(scene[row, col])
        face = MARK_COLOURS[colour - 1] if colour else _GROUND
        ax.add_patch(Rectangle((col - 0.5, row - 0.5), 1, 1, facecolor=face, edgecolor="white", linewidth=0.8))
        if colour:
            put_shape(ax, (row, col), colour - 1, size=26)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def put_shape(ax: Axes, place: tuple[float, float], colour: int, *, size: float) -> None:
    """The shape that goes with a colour of a mark, at (row, column)."""
    style = {"facecolor": "white", "edgecolor": "black", "linewidth": 0.7, "zorder": 3}
    ax.scatter(place[1], place[0], s=size, marker=MARK_SHAPES[colour], **style)
