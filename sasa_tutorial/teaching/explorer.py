"""A picture to walk through: move the query over an image and see where every head looks.

The notebook stays a file that anybody can open: the explorer is one piece of HTML with its own data and a page of
JavaScript, needs no widget, no kernel and no network, and is deterministic.
"""

import base64
import hashlib
import io
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from matplotlib.colors import to_hex
from torch import Tensor

from sasa_tutorial.teaching.style import ACCENT, POSITIVE_MAP

_HTML = Path(__file__).with_name("explorer.html")
_MAX_BYTES = 120_000
_LEVELS = 64
# One printable character a weight; digits in the order of base64 for URLs: nothing in it means anything in HTML.
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def explorer(
    image: UInt8[Tensor, "3 H W"],
    weights: Float[Tensor, "heads h w n m"],
    *,
    name: str,
) -> "HTML":  # noqa: F821
    """The image, to be walked over with the mouse, a finger or the arrow keys; beside it the weights of that query.

    It opens on the query in the middle and on its most selective head: the one whose weights have the least entropy.

    Each weight is stored as one of 64 levels between 0 and the largest weight of its query over all heads; all heads
    of one query share that scale.

    Args:
        image: red, green, blue.
        weights: not negative. Either (heads, h, w, h, w), from every query to every pixel of a map, which may be
            coarser than the image; or (heads, h, w, kh, kw), to the window around each query, whose cells outside the
            image are left out. Where both could be meant, the first is.
        name: what is shown, a few words.

    Raises:
        ValueError: wrong shapes, weights that are negative or not finite, or more than 120,000 bytes.
    """
    from IPython.display import HTML  # comes with Jupyter; the rest of the library does without

    return HTML(_page(image, weights, name))


def _page(image: Tensor, weights: Tensor, name: str) -> str:
    _check(image, weights)
    heads, height, width, rows, cols = weights.shape
    # From heads first, as layers give them, to queries first: one query's weights lie side by side.
    values = rearrange(weights.detach().cpu().double(), "heads h w n m -> (h w) (heads n m)")
    ends = [float(f"{end:.4g}") for end in values.amax(dim=1).tolist()]
    scale = torch.tensor(ends, dtype=torch.float64).clamp(min=1e-300)
    levels = (rearrange(values, "queries cells -> cells queries") / scale * (_LEVELS - 1)).round().clamp(0, _LEVELS - 1)
    digits = np.frombuffer(_DIGITS.encode(), dtype=np.uint8)[rearrange(levels, "c q -> q c").to(torch.uint8).numpy()]
    colours = plt.get_cmap(POSITIVE_MAP)(np.linspace(0, 1, _LEVELS))
    data = {
        "name": name,
        "head": _most_selective(weights),
        "shape": [heads, height, width, rows, cols],
        "local": (rows, cols) != (height, width),
        "digits": _DIGITS,
        "largest": ends,
        "weights": digits.tobytes().decode(),
        "colours": "".join(to_hex(colour)[1:] for colour in colours),
        "accent": ACCENT,
        "size": [image.shape[1], image.shape[2]],
        "image": "data:image/png;base64," + _png(image),
    }
    # "<" must not end the script that holds the data.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    identity = "explorer-" + hashlib.sha256(text.encode()).hexdigest()[:12]
    page = _HTML.read_text(encoding="utf-8").replace("IDENTITY", identity).replace("DATA", text)
    if len(page.encode()) > _MAX_BYTES:
        raise ValueError(
            f"the explorer would have {len(page.encode()):,} bytes, more than {_MAX_BYTES:,}: {weights.numel():,} "
            "weights are too many; show fewer heads, or a coarser map (about 100,000 weights fit)"
        )
    return page


def _most_selective(weights: Tensor) -> int:
    """The head with the least entropy at the query in the middle; of heads that are equal, the first."""
    _, height, width, *_ = weights.shape
    flat = rearrange(weights[:, height // 2, width // 2].detach().cpu().double(), "heads n m -> heads (n m)")
    shares = flat / flat.sum(dim=1, keepdim=True).clamp(min=1e-300)
    return int(torch.special.entr(shares).sum(dim=1).argmin())


def _check(image: Tensor, weights: Tensor) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ValueError(f"expected a uint8 image (3, H, W), got {image.dtype} of shape {tuple(image.shape)}")
    if weights.ndim != 5:
        raise ValueError(
            "expected weights (heads, h, w, h, w) of a map or (heads, h, w, kh, kw) of windows, "
            f"got {weights.ndim}-D of shape {tuple(weights.shape)}"
        )
    _, height, width, rows, cols = weights.shape
    if (rows, cols) != (height, width) and (rows % 2 == 0 or cols % 2 == 0):
        raise ValueError(
            f"{rows} x {cols} weights are neither the map of {height} x {width} nor a window, whose sides are odd"
        )
    if not torch.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"weights are finite and not negative; the smallest is {weights.min().item():.3g}")


def _png(image: Tensor) -> str:
    file = io.BytesIO()
    plt.imsave(file, rearrange(image.cpu(), "c h w -> h w c").numpy(), format="png", metadata={"Software": None})
    return base64.b64encode(file.getvalue()).decode()
