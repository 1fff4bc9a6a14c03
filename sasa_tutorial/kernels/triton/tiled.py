"""Starting the programs on matrix units, and when to: `operator.py` asks here first.

Rectangles are 4 x 8 pixels. The union of their 7 x 7 windows is 10 x 14, and in ten runs of 16 pixels a query meets 160
keys for the 49 it sees. 8 x 8 pixels would load half as much, and each would meet 224: a program spends its time with
arithmetic on logits, not with loads.
"""

import torch
from torch import Tensor

from sasa_tutorial.kernels.inputs import Inputs
from sasa_tutorial.kernels.operators import empty_lse
from sasa_tutorial.kernels.triton import launching

OWN, RUN = (4, 8), 16  # rows and columns of a rectangle, and how many pixels of a row its program meets at a time
WARPS = 1  # two would share the arithmetic on logits, and repeat all the rest of a run
FROM_CHANNELS = 9  # the units multiply 16 at a time; for up to 8, a thread a pixel is as good


def pays(q: Tensor, v: Tensor) -> bool:
    """Whether to take these programs for such tensors rather than a thread a pixel.

    An estimate until somebody has timed both: by the instructions issued for a pixel (data/results/triton-compile.md)
    all three together are two thirds of the others at 16 channels, to which both pad from 9 on, and a third at 32. In
    float32 the units would round to TF32, which is the user's to allow, and without them everything would be multiplied
    three times over for nothing; so it is on a T4, for whose units Triton has no code any more.
    """
    if q.device.type != "cuda" or q.dtype != v.dtype or q.shape[2] < FROM_CHANNELS:
        return False
    if torch.cuda.get_device_capability(q.device) < (8, 0):
        return False
    return q.dtype in (torch.bfloat16, torch.float16) or precision(q) == "tf32"


def precision(q: Tensor) -> str:
    """How float32 matrices are multiplied: as PyTorch has been told to."""
    matmul = torch.backends.cuda.matmul
    # Newer versions of PyTorch have the first, and may refuse to answer to the second.
    allowed = matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32
    return "tf32" if allowed and q.dtype == torch.float32 else "ieee"


def forward(inputs: Inputs, reach: list[int]) -> tuple[Tensor, Tensor]:
    """The weighted sum of the values in each window, and lse."""
    q, k, v, row, col = inputs
    from sasa_tutorial.kernels.triton import tiled_programs

    out, lse = torch.empty_like(v), empty_lse(q)
    keys, rows, cols = launching.given(q, k, row, col)
    grid, numbers, run = _sizes(q, k, row, reach, (q, keys, v, out))
    with launching.device_of(q):
        launching.start(
            *(tiled_programs.tiled_forward_program, grid),
            *(q, keys, v, rows, cols, out, lse, _planes(lse, row, reach, 1)),
            *launching.strides(q, keys, v, out),
            *numbers,
            **run,
        )
    return out, lse


def backward(
    grad: Tensor, inputs: Inputs, out: Tensor, lse: Tensor, reach: list[int]
) -> tuple[Tensor, Tensor | None, Tensor, Tensor, int]:
    """The gradients of q, k and v; for those of the tables the sums and segments of `queries_program`."""
    q, k, v, row, col = inputs
    from sasa_tutorial.kernels.triton import tiled_programs

    to_q, to_k, to_v = (None if x is None else torch.empty_like(x) for x in (q, k, v))
    keys, rows, cols = launching.given(q, k, row, col)
    segments = -(-(OWN[1] + 2 * reach[1]) // RUN)
    mean, offsets, sums = torch.empty_like(lse), _planes(lse, row, reach, 1), _planes(lse, row, reach, segments)
    to_keys = to_k if k is not None else to_q
    grid, numbers, run = _sizes(q, k, row, reach, (grad, q, keys, v, out, to_q, to_keys, to_v))
    with launching.device_of(q):
        launching.start(
            *(tiled_programs.tiled_queries_program, grid),
            *(grad, q, keys, v, rows, cols, out, lse, mean, offsets, sums, to_q),
            *launching.strides(grad, q, keys, v, out, to_q),
            *numbers,
            **run,
        )
        del run["d_row"], run["A"]
        launching.start(
            *(tiled_programs.tiled_keys_program, grid),
            *(grad, q, keys, v, lse, mean, offsets, to_keys, to_v),
            *launching.strides(grad, q, keys, v, to_keys, to_v),
            *numbers,
            **run,
        )
    return to_q, to_k, to_v, sums, segments


def _planes(lse: Tensor, row: Tensor | None, reach: list[int], segments: int) -> Tensor:
    """Memory for a number for each query and window row (of a segment), and for each query and window column."""
    b, heads, h, w = lse.shape
    return lse.new_empty((b * heads, segments * (2 * reach[0] + 1) + 2 * reach[1] + 1, h, w) if row is not None else 1)


def _sizes(
    q: Tensor, k: Tensor | None, row: Tensor | None, reach: list[int], tensors: tuple[Tensor, ...]
) -> tuple[tuple[int], tuple[int, ...], dict]:
    """The grid, the numbers of a program, and what it is compiled for."""
    b, heads, d, h, w = q.shape
    blocks = -(-h // OWN[0]) * -(-w // OWN[1])
    segments = -(-(OWN[1] + 2 * reach[1]) // RUN)
    # Steps from plane to plane are 32 bits where all of them are.
    wide = (segments * (2 * reach[0] + 1) + 2 * reach[1] + 1) * h * w > launching.LARGEST_INT
    run = {
        "d": d,
        "d_row": 0 if row is None else len(row),
        "D": max(16, 1 << (d - 1).bit_length()),
        "A": max(16, 1 << (2 * max(reach)).bit_length()),
        "QY": OWN[0],
        "QX": OWN[1],
        "N": RUN,
        "CONTENT": k is not None,
        "TABLES": row is not None,
        "WIDE": wide,
        "PRECISION": "interpreted" if launching.interpreting() else precision(q),
        "num_warps": WARPS,
    }
    return (b * heads * blocks,), (heads, h, w, *reach), run
