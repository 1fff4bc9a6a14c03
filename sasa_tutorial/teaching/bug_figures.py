"""Figures of the hunt for bugs: attention maps in a line-up, what kills what, and what a bug costs."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import matplotlib.pyplot as plt
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from sasa_tutorial.bugs import BUGS, right_layer
from sasa_tutorial.teaching.style import ACCENT, POSITIVE_MAP, QUIET

_SIDE, _WINDOW, _QUERY = 9, 5, (1, 1)
LINE_UP = MappingProxyType(  # in the order of the panels; the right one has no bug
    {
        "A": "zero-padded keys keep their share of the softmax",
        "B": "one attention map for all heads",
        "C": "inverted mask",
        "D": None,
        "E": "unfolded windows reshaped in the wrong order",
        "F": "no sum over d: one softmax a channel",
    }
)


def suspects() -> list[Axes]:
    """One picture, one query, six layers of local attention with the same weights: one is right, five have a bug."""
    figure, axes = plt.subplot_mosaic(
        [["image", "A", "B", "C"], ["image", "D", "E", "F"]], figsize=(6, 3), width_ratios=(1.25, 1, 1, 1)
    )
    axes["image"].imshow(torch.where(_ring(), 0.25, 0.85).numpy(), cmap="gray", vmin=0, vmax=1)
    axes["image"].set_title("one query (orange)\nand its window (dotted)")
    maps = {letter: _map_of(name) for letter, name in LINE_UP.items()}
    end = max(float(weights.max()) for weights in maps.values())
    for letter, weights in maps.items():
        drawn = axes[letter].imshow(weights.numpy(), cmap=POSITIVE_MAP, vmin=0, vmax=end)
        axes[letter].set_title(letter, fontsize=12, fontweight="bold", loc="left", pad=3)
        axes[letter].set_xlabel(f"adds up to {float(weights.sum()):.2f}", fontsize=8)
    for ax in axes.values():
        ax.add_patch(Rectangle((_QUERY[1] - 0.5, _QUERY[0] - 0.5), 1, 1, fill=False, edgecolor=ACCENT, linewidth=2))
        corner = _QUERY[1] - _WINDOW // 2 - 0.5, _QUERY[0] - _WINDOW // 2 - 0.5
        ax.add_patch(
            Rectangle(
                corner, _WINDOW, _WINDOW, fill=False, edgecolor=ACCENT, linestyle=":", linewidth=1.4, clip_on=False
            )
        )
        ax.set(xticks=[], yticks=[], xlim=(-1.7, _SIDE - 0.5), ylim=(_SIDE - 0.5, -1.7))
        ax.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=list(axes.values()), label="weight", shrink=0.8, aspect=20, pad=0.02)
    return list(axes.values())


def kill_matrix(killed: Mapping[str, Sequence[str]], bugs: Sequence[str]) -> Axes:
    """Which identity catches which bug: a filled square where it does.

    Args:
        killed: for each identity, a column, the bugs that it catches.
        bugs: the rows.
    """
    _, ax = plt.subplots(figsize=(6, 1.2 + 0.18 * len(bugs)))
    for i, bug in enumerate(bugs):
        for j, names in enumerate(killed.values()):
            fill = {"color": ACCENT} if bug in names else {"facecolors": "none", "edgecolors": "#C8C8C8"}
            ax.scatter(j, i, marker="s", s=75, **fill)
    ax.set_xticks(range(len(killed)), list(killed), rotation=50, ha="left", rotation_mode="anchor")
    ax.set_yticks(range(len(bugs)), bugs)
    ax.xaxis.tick_top()
    ax.tick_params(length=0, labelsize=8)
    ax.spines[:].set_visible(False)
    ax.set(xlim=(-0.6, len(killed) + 1.2), ylim=(len(bugs) - 0.4, -0.6))
    return ax


def curves_of_suspects(curves: Mapping[str, Sequence[Sequence[float]]]) -> list[Axes]:
    """Training curves side by side, without names: share of right answers at each step, a line for each seed.

    Args:
        curves: for each panel's title, one curve a seed.
    """
    _, axes = plt.subplots(1, len(curves), figsize=(6, 1.8), sharex=True, sharey=True)
    for ax, (title, runs) in zip(axes, curves.items(), strict=True):
        for run in runs:
            smooth = torch.tensor(run).unfold(0, 5, 1).mean(dim=1)
            ax.plot(range(5, len(run) + 1), 100 * smooth, color=QUIET, linewidth=1.2)
        ax.set_title(title, fontsize=12, fontweight="bold")
        ax.set(xlabel="step", ylim=(0, 104))
    axes[0].set_ylabel("right in training (%)")
    return list(axes)


def cost_of_bugs(shares: Mapping[str, Sequence[float]], *, chance: float) -> Axes:
    """Share of images that networks with a bug get right: a dot for each seed.

    Args:
        shares: for each layer, the right one first, of each seed.
        chance: what guessing gets.
    """
    _, ax = plt.subplots(figsize=(6, 0.7 + 0.26 * len(shares)))
    for place, (name, found) in enumerate(shares.items()):
        colour = "black" if name.startswith("the right layer") else ACCENT
        mean = 100 * sum(found) / len(found)
        ax.plot([100 * chance, mean], [place, place], color=colour, linewidth=1, alpha=0.5)
        heights = [place + 0.14 * (seed - (len(found) - 1) / 2) for seed in range(len(found))]
        ax.plot([100 * share for share in found], heights, "o", color=colour, markersize=4)
    ax.axvline(100 * chance, color=QUIET, linestyle=":", linewidth=1)
    ax.set_yticks(range(len(shares)), list(shares), fontsize=8)
    ax.set(xlabel="right answers (%)", xlim=(100 * chance - 5, 103), ylim=(len(shares) - 0.5, -0.5))
    return ax


def _ring() -> Bool[Tensor, "side side"]:
    distance = (torch.arange(_SIDE) - _SIDE // 2).abs()
    return torch.maximum(distance[:, None], distance[None, :]) == 3


@torch.no_grad()
def _map_of(name: str | None) -> Float[Tensor, "side side"]:
    """Weights of the query in the first head, read off the output: values that are one dot show the weight on it."""
    first = next(bug for bug in BUGS if bug.name == (name or LINE_UP["A"]))
    layer = (right_layer(first, 8, 8, _WINDOW, heads=2) if name is None else first.build(8, 8, _WINDOW, heads=2)).eval()
    ring = torch.where(_ring(), 1.0, -1.0)
    here = torch.stack([torch.ones_like(ring), ring] * 4)[None]  # in each half of each head: 1, and ring or ground
    for project in (layer.to_q, layer.to_k):
        nn.init.dirac_(project.weight)
    layer.to_q.weight *= 0.5
    slope = torch.linspace(-1, 1, _WINDOW)
    for table in (layer.offsets.row, layer.offsets.col):
        table.copy_(torch.stack((slope, torch.zeros(_WINDOW))))
    dots = torch.eye(_SIDE**2).view(-1, 1, _SIDE, _SIDE).expand(-1, 8, -1, -1)
    layer.to_v = _Always(dots)
    return layer(here.expand(len(dots), -1, -1, -1))[:, 0, _QUERY[0], _QUERY[1]].view(_SIDE, _SIDE)


class _Always(nn.Module):
    """Gives the same values, whatever comes in."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, x: Tensor) -> Tensor:
        return self.values
