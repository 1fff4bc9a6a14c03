"""Local attention in C on a CPU: logits that never leave the processor's registers and first cache.

The arithmetic is in `c/`; here tensors become pointers. Units of work, one head of one image or of a band of its rows
each, are shared out among as many threads as PyTorch would use.
"""

import ctypes
import functools

import torch
from torch import Tensor

from sasa_tutorial.kernels.native import compiling
from sasa_tutorial.kernels.operators import compute_dtype, empty_lse, operator, or_nothing

_TENSORS = ("q", "k", "v", "grad", "out", "dq", "dk", "dv", "x", "dx")
_STRIDES = ("image", "head", "channel", "row", "col")
_POINTERS = ("row", "col", "drow", "dcol", "lse", "weight", "dweight")
_NUMBERS = ("images", "heads", "d", "d_row", "h", "w")
_OPTIONS = ("reach_y", "reach_x", "bands", "keys", "relative", "channels", "width", "groups")
_BAND = 4096  # pixels of a band of rows: a few planes of them, and the weights of some rows, stay in the second cache
_NAMES = {torch.float32: "float", torch.float64: "double"}


class _Tensor(ctypes.Structure):
    """`tensor` of c/scratch.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in ("image", "head", "channel", "row", "col")),
    ]


class _Problem(ctypes.Structure):
    """`problem` of c/scratch.h."""

    _fields_ = [
        *((name, _Tensor) for name in _TENSORS),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_long) for name in (*_NUMBERS, *_OPTIONS)),
    ]


@functools.cache
def problem() -> str:
    """Why this backend cannot run here; empty where it can. Compiles at the first call, a second or so."""
    try:
        for name in _NAMES.values():
            compiling.library(name)
    except compiling.NotCompiled as error:
        return str(error)
    return ""


def refuses(q: Tensor, v: Tensor) -> str:
    """Why it cannot take these tensors; empty where it can."""
    if q.device.type != "cpu":
        return f"it computes on the CPU, and the tensors are on {q.device}"
    if q.shape != v.shape:
        return f"it needs as many value channels as query channels, got {v.shape[2]} and {q.shape[2]}"
    return ""


def forward(
    q: Tensor, k: Tensor | None, v: Tensor, row: Tensor | None, col: Tensor | None, reach: list[int]
) -> tuple[Tensor, Tensor]:
    """The weighted sum of the values in each window, and lse; in float32 at least."""
    inputs = _prepared(q=q, k=k, v=v, row=row, col=col)
    out, lse = torch.empty_like(inputs["v"]), empty_lse(q)
    _call({**inputs, "out": out, "lse": lse}, reach, backward=False)
    return out.to(v.dtype), lse


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor | None,
    v: Tensor,
    row: Tensor | None,
    col: Tensor | None,
    out: Tensor,
    lse: Tensor,
    reach: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of q, k, v, row and col."""
    inputs = _prepared(q=q, k=k, v=v, row=row, col=col, grad=grad, out=out, lse=lse)
    like = inputs["q"]
    outputs = {f"d{name}": torch.empty_like(inputs[name]) for name in ("q", "k", "v") if inputs[name] is not None}
    units = like.shape[0] * bands(*like.shape[3:], reach) * like.shape[1]
    for name in ("row", "col"):  # one table a unit, added up here in an order that no number of threads changes
        if inputs[name] is not None:
            outputs[f"d{name}"] = like.new_empty(units, *inputs[name].shape)
    _call({**inputs, **outputs}, reach, backward=True)
    for name in ("drow", "dcol"):
        if name in outputs:
            outputs[name] = outputs[name].sum(dim=0)
    given = {"dq": q, "dk": k, "dv": v, "drow": row, "dcol": col}
    return tuple(or_nothing(x, q) if x is None else outputs[name].to(x.dtype) for name, x in given.items())


attend = operator("native", forward, backward)


def bands(h: int, w: int, reach: list[int]) -> int:
    """Into how many bands of rows an image is cut, each computed by itself together with the rows it can see."""
    rows = max(-(-_BAND // max(1, w)), 4 * reach[0], 1)  # the fewer, the more is computed twice
    return max(1, h // rows)


def _prepared(**tensors: Tensor | None) -> dict[str, Tensor | None]:
    dtype = compute_dtype(tensors["q"])
    tensors = {name: None if x is None else x.to(dtype) for name, x in tensors.items()}
    return {name: x.contiguous() if name in _POINTERS and x is not None else x for name, x in tensors.items()}


def _call(tensors: dict[str, Tensor | None], reach: list[int], *, backward: bool) -> None:
    call(tensors, tensors["q"].shape, reach, backward=backward, keys=tensors["k"] is not None)


def call(
    tensors: dict[str, Tensor | None], shape: torch.Size, reach: list[int], *, backward: bool, **options: int
) -> None:
    """One call of the C function.

    Args:
        tensors: by their names in `problem`; of one type, and contiguous where C gets only a pointer.
        shape: (b, heads, d, h, w) of the queries.
        reach: rows and columns from the middle of a window to its end.
        backward: which pass.
        options: the other numbers of `problem`.

    Raises:
        MemoryError: no scratch memory.
    """
    b, heads, d, h, w = shape
    if not shape.numel():
        return
    row = tensors["row"]
    job = _Problem(images=b, heads=heads, d=d, d_row=0 if row is None else len(row), h=h, w=w, **options)
    job.reach_y, job.reach_x = reach
    job.bands = bands(h, w, reach)
    job.relative = row is not None
    for name, x in tensors.items():
        if x is not None:
            setattr(job, name, x.data_ptr() if name in _POINTERS else _Tensor(x.data_ptr(), *x.stride()))
    compute = compiling.library(_NAMES[tensors["out"].dtype]).local_attention
    if compute(ctypes.byref(job), int(backward), torch.get_num_threads()):
        raise MemoryError(f"no memory for local attention over {b} images of {h} x {w}")
