"""Trained tables of offsets for another window or image: linear interpolation between the offsets that were learned.

An offset is a distance in pixels, so a table has 2 reach + 1 entries, from -reach to reach, and 0 in the middle. The
new entry at offset o is the old table read at o / scale, between two entries where that is no whole number:

    new[o] = (1 - s) old[f] + s old[f + 1]          f = ⌊o / scale⌋, s = o / scale - f

scale is how many new pixels an old pixel has become. Two are useful:

- new reach / old reach, the default: middle on middle, last on last. For images that show the same in more pixels,
  where the window covers the same part of the picture, as Swin and ViT resize their tables of positions (they read
  between the entries by cubic polynomials, which overshoot; with a few entries a line is the safer guess).
- 1: an offset of three pixels stays one of three pixels. For larger pictures with pixels of the same size. Offsets that
  no table has seen take the value of the farthest one it has.

Sources: Liu et al. 2021, arXiv:2103.14030 (Swin; the released `utils.py`, `load_pretrained`); Dosovitskiy et al.
2020, arXiv:2010.11929 (ViT), Sec. 3.2.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sasa_tutorial.layers.augmented_convolution import AddedOffsets2d
from sasa_tutorial.layers.relative_offsets import RelativeOffsets2d

_AXIS = {RelativeOffsets2d: 1, AddedOffsets2d: 0}  # of a table, along which the offsets lie


def resize_offsets(table: Tensor, size: int, *, dim: int = -1, scale: float | None = None) -> Tensor:
    """The table with `size` offsets along `dim`; bit for bit the same where it has them already and scale is 1 or None.

    Args:
        table: an odd number of offsets along `dim`, the middle one 0.
        size: how many it shall have, odd: the side of a window, or 2 side - 1 for all offsets in an image.
        dim: the axis of the offsets.
        scale: new pixels for an old one; None brings the last offset to the last.

    Shapes: (…, 2 reach + 1, …) -> (…, size, …).

    Raises:
        ValueError: an even number of offsets, or a scale that is not positive.
    """
    old, new = table.shape[dim] // 2, size // 2
    for name, number in (("the table's number of offsets", table.shape[dim]), ("size", size)):
        if number < 1 or number % 2 == 0:
            raise ValueError(f"{name} must be a positive odd number, got {number}")
    if scale is None:
        scale = new / old if old and new else 1.0
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    # In float64, so that a whole number is one: there the old entry is taken as it is.
    offsets = torch.arange(-new, new + 1, dtype=torch.float64) / scale
    place = offsets.clamp(-old, old) + old
    first = place.floor().clamp(max=max(0, 2 * old - 1))
    share = (place - first).to(table.device, torch.promote_types(table.dtype, torch.float32))
    first = first.long().to(table.device)
    below = table.index_select(dim, first)
    above = table.index_select(dim, (first + 1).clamp(max=2 * old))
    share = share.reshape([-1 if axis == dim % table.ndim else 1 for axis in range(table.ndim)])
    return torch.lerp(below.to(share.dtype), above.to(share.dtype), share).to(table.dtype)


def fit_offsets(state: Mapping[str, Tensor], model: nn.Module, *, scale: float | None = None) -> dict[str, Tensor]:
    """A copy of a state dict in which every table of offsets has the size that it has in `model`.

        larger = sasa_resnet(50, kernel_size=11)
        larger.load_state_dict(fit_offsets(trained.state_dict(), larger))

    Args:
        state: of a network like `model`, built for other windows or images.
        model: a layer or a network, any module that holds them.
        scale: as in `resize_offsets`.
    """
    fitted = dict(state)
    for prefix, module in model.named_modules():
        axis = next((axis for kind, axis in _AXIS.items() if isinstance(module, kind)), None)
        if axis is None:
            continue
        for name, table in module.named_parameters(prefix, recurse=False):
            if name in fitted:
                fitted[name] = resize_offsets(fitted[name], table.shape[axis], dim=axis, scale=scale)
    return fitted
