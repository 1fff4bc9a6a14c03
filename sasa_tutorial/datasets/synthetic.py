"""A synthetic twin of CIFAR-100: the same shapes, dtypes and names, drawn from a seed in a second, with known evidence.

It exists so that every notebook runs where the real images are not (continuous integration, a train without network),
and so that a lesson can say exactly what a network must see to be right. Two kinds of classes:

* **texture** (labels 0-69): a pattern x a period x a palette. Every small patch of the image carries the evidence, so
  a few convolutions suffice.
* **relation** (labels 70-99): 15 textures, and on each of them two small coloured marks at least 15 pixels apart. Twin
  classes 2j and 2j + 1 differ in one thing only: do the two marks have the same colour? No single patch can tell; and
  because every colour is equally likely in both twins, any sum of what single patches say is on average the same for
  both.

Patterns look the same in a mirror and marks stay clear of the border, so the usual augmentation (crop, flip) keeps the
class. The images are no photographs: results on them are called synthetic everywhere and never compared with CIFAR-100.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from sasa_tutorial.datasets.class_names import CIFAR100_CLASS_NAMES
from sasa_tutorial.datasets.images import LabelledImages

PATTERNS = ("horizontal stripes", "vertical stripes", "checkerboard", "dots", "diagonal stripes")
TEXTURE_PERIODS = (4.0, 8.0)  # pixels
RELATION_PERIOD = 5.0
# Two RGB colours in [0, 1] that a pattern alternates between: seven palettes for textures, three for relations.
PALETTES = {
    "red": ((0.75, 0.25, 0.20), (0.30, 0.10, 0.10)),
    "green": ((0.20, 0.65, 0.25), (0.10, 0.25, 0.15)),
    "blue": ((0.20, 0.35, 0.80), (0.10, 0.15, 0.35)),
    "yellow": ((0.80, 0.70, 0.20), (0.35, 0.25, 0.10)),
    "purple": ((0.65, 0.25, 0.70), (0.25, 0.10, 0.30)),
    "cyan": ((0.20, 0.70, 0.70), (0.10, 0.25, 0.30)),
    "grey": ((0.70, 0.70, 0.70), (0.25, 0.25, 0.25)),
    "salmon": ((0.85, 0.55, 0.45), (0.15, 0.10, 0.10)),
    "sky": ((0.55, 0.70, 0.85), (0.10, 0.10, 0.15)),
    "lime": ((0.70, 0.85, 0.50), (0.10, 0.15, 0.10)),
}
MARK_COLOURS = ((0.95, 0.10, 0.10), (0.10, 0.85, 0.15), (0.15, 0.25, 1.00), (1.00, 0.95, 0.15))
MARK = 5  # pixels, side of a mark
NEAR, FAR = (4, 7), (21, 24)  # range of a mark's first row or column, end excluded: inside any crop, 15 pixels apart
TEXTURES = len(PATTERNS) * len(TEXTURE_PERIODS) * 7
NOISE = 0.06  # standard deviation, colours from 0 to 1
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the images of one synthetic class have in common."""

    pattern: int
    period: float
    palette: int
    same: bool | None  # do the two marks share a colour? None: a texture class, without marks


def evidence(label: int) -> Evidence:
    """The rule behind a label, 0 to 99."""
    if not 0 <= label < 100:
        raise ValueError(f"label must be 0 to 99, got {label}")
    if label < TEXTURES:
        rest, palette = divmod(label, 7)
        pattern, period = divmod(rest, len(TEXTURE_PERIODS))
        return Evidence(pattern=pattern, period=TEXTURE_PERIODS[period], palette=palette, same=None)
    group, twin = divmod(label - TEXTURES, 2)
    pattern, palette = divmod(group, 3)
    return Evidence(pattern=pattern, period=RELATION_PERIOD, palette=7 + palette, same=twin == 0)


def describe(label: int) -> str:
    """The rule behind a label in words, for captions."""
    rule = evidence(label)
    texture = f"{list(PALETTES)[rule.palette]} {PATTERNS[rule.pattern]}, period {rule.period:g}"
    return texture if rule.same is None else f"{texture}; marks {'alike' if rule.same else 'unlike'}"


def synthetic_cifar100(size: int, *, split: str = "train", seed: int = 0) -> LabelledImages:
    """`size` synthetic images, every class equally often, in random order.

    The splits of one seed share the rules and no image. CIFAR-100's class names come along so that code written for one
    set runs on the other; what an image really shows is in `describe(label)`.

    Raises:
        ValueError: size is not a positive multiple of 100, or an unknown split.
    """
    if size <= 0 or size % 100:
        raise ValueError(f"size must be a positive multiple of the 100 classes, got {size}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    generator = torch.Generator().manual_seed(1_000 * seed + SPLITS.index(split))
    labels = (torch.arange(size) % 100)[torch.randperm(size, generator=generator)]
    return LabelledImages(images=_draw(labels, generator), labels=labels, class_names=CIFAR100_CLASS_NAMES)


def _draw(labels: Int64[Tensor, " n"], generator: torch.Generator) -> UInt8[Tensor, "n 3 32 32"]:
    image = _textures(labels, generator)
    related = (labels >= TEXTURES).nonzero()[:, 0]
    image[related] = _with_marks(image[related], labels[related], generator)
    image += NOISE * torch.randn(image.shape, generator=generator)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _textures(labels: Int64[Tensor, " n"], generator: torch.Generator) -> Float[Tensor, "n 3 32 32"]:
    n = len(labels)
    rules = [evidence(label) for label in range(100)]
    pattern = torch.tensor([rule.pattern for rule in rules])[labels]
    period = torch.tensor([rule.period for rule in rules])[labels] * _uniform(0.9, 1.1, (n,), generator)
    light, dark = torch.tensor(list(PALETTES.values()))[torch.tensor([rule.palette for rule in rules])[labels]].unbind(
        dim=1
    )

    pixel = torch.arange(32.0)
    angle = (2 * math.pi / period)[:, None] * pixel  # n 32
    phase = _uniform(0, 2 * math.pi, (n, 2), generator)
    # Diagonals lean either way, so that a mirror image keeps its class.
    lean = 2 * torch.randint(2, (n, 1, 1), generator=generator) - 1
    down = rearrange(torch.sin(angle + phase[:, :1]), "n h -> n h 1").expand(n, 32, 32)
    across = rearrange(torch.sin(angle + phase[:, 1:]), "n w -> n 1 w").expand(n, 32, 32)
    diagonal = torch.sin((angle[:, :, None] + lean * angle[:, None, :]) / math.sqrt(2) + phase[:, :1, None])
    waves = torch.stack((down, across, 2 * down * across, down + across - 0.8, diagonal), dim=1)  # as in PATTERNS

    blend = torch.sigmoid(4 * waves[torch.arange(n), pattern])[:, None]
    image = blend * light[:, :, None, None] + (1 - blend) * dark[:, :, None, None]
    return image * _uniform(0.7, 1.3, (n, 1, 1, 1), generator) + _uniform(-0.08, 0.08, (n, 3, 1, 1), generator)


def _with_marks(
    image: Float[Tensor, "n 3 32 32"], labels: Int64[Tensor, " n"], generator: torch.Generator
) -> Float[Tensor, "n 3 32 32"]:
    n, colours = len(labels), len(MARK_COLOURS)
    same = torch.tensor([bool(evidence(label).same) for label in range(100)])[labels]
    first = torch.randint(colours, (n,), generator=generator)
    other = (first + torch.randint(1, colours, (n,), generator=generator)) % colours
    second = torch.where(same, first, other)

    # The marks keep their distance along one axis, rows or columns, and lie anywhere along the other.
    along_rows = torch.rand(n, generator=generator) < 0.5
    near = torch.randint(*NEAR, (n,), generator=generator)
    far = torch.randint(*FAR, (n,), generator=generator)
    anywhere = torch.randint(NEAR[0], FAR[1], (2, n), generator=generator)
    for colour, along, free in ((first, near, anywhere[0]), (second, far, anywhere[1])):
        inside_rows = _span(torch.where(along_rows, along, free))
        inside_cols = _span(torch.where(along_rows, free, along))
        inside = rearrange(inside_rows, "n h -> n 1 h 1") & rearrange(inside_cols, "n w -> n 1 1 w")
        paint = torch.tensor(MARK_COLOURS)[colour] * _uniform(0.85, 1.0, (n, 1), generator)
        image = torch.where(inside, paint[:, :, None, None], image)
    return image


def _span(start: Int64[Tensor, " n"]) -> Bool[Tensor, "n 32"]:
    pixel = torch.arange(32)
    return (pixel >= start[:, None]) & (pixel < start[:, None] + MARK)


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
