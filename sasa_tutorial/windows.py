"""Windows: the k x k pixels around every pixel. The only place in the library that gathers them."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Shaped
from torch import Tensor


def gather_windows(x: Shaped[Tensor, "b c h w"], kernel_size: int) -> Shaped[Tensor, "b c h w kh kw"]:
    """The window of every pixel, with zeros for the cells that lie outside the image.

    windows[..., i, j, a, b] = x[..., i + a - k//2, j + b - k//2]

    Shapes: (b, c, h, w) -> (b, c, h, w, k, k), for any h and w, smaller than k too. The result is a view of one padded
    copy of x: it costs h·w plus a border in memory, and k² times as much only when something makes it contiguous.

    Raises:
        ValueError: x is not 4-D, or kernel_size is not a positive odd number.
    """
    check_kernel_size(kernel_size)
    if x.ndim != 4:
        raise ValueError(f"expected a 4-D input (b, c, h, w), got {x.ndim}-D of shape {tuple(x.shape)}")
    if 0 in x.shape[2:]:
        return x[..., None, None].expand(*x.shape, kernel_size, kernel_size)  # no pixel, no window
    reach = kernel_size // 2
    padded = F.pad(x, (reach, reach, reach, reach))
    return padded.unfold(2, kernel_size, 1).unfold(3, kernel_size, 1)


def inside_image(
    h: int, w: int, kernel_size: int, *, device: torch.device | str | None = None
) -> Bool[Tensor, "h w kh kw"]:
    """Which cells of each window are pixels of the image, and not border.

    Shapes: (h, w, k, k), True inside.

    Raises:
        ValueError: kernel_size is not a positive odd number.
    """
    everywhere = torch.ones(1, 1, h, w, dtype=torch.bool, device=device)
    return gather_windows(everywhere, kernel_size)[0, 0]


def check_kernel_size(kernel_size: int) -> None:
    """An even window has no centre pixel, so it is refused rather than shifted by half a pixel."""
    if not hasattr(kernel_size, "__index__") or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be a positive odd number, got {kernel_size!r}")
