"""Local attention in C on a CPU: logits that never leave the processor's registers and first cache.

The arithmetic is in `c/`; here tensors become pointers. Units of work, one head of one image or of a band of its rows
each, are shared out among as many threads as PyTorch would use.
"""

import ctypes
import functools

import torch
from torch import Tensor

from sasa_tutorial.kernels.inputs import Inputs, check_tensors, compute_dtype
from sasa_tutorial.kernels.native import compiling
from sasa_tutorial.kernels.operators import empty_lse, operator

_BAND = 4096  # pixels of a band of rows: a few planes of them, and the weights of some rows, stay in the second cache
_REAL = {torch.float32: "float", torch.float64: "double"}
_HEADS, _IMAGES = ("images", "heads", "d", "h", "w"), ("images", "one", "channels", "h", "w")
_STRIDED = {
    **dict.fromkeys(("q", "k", "v", "grad", "out", "dq", "dk", "dv"), _HEADS),
    **dict.fromkeys(("x", "dx"), _IMAGES),
}
_CONTIGUOUS = {
    "row": ("d_row", "kh"),
    "col": ("d_col", "kw"),
    "drow": ("units", "d_row", "kh"),
    "dcol": ("units", "d_col", "kw"),
    "lse": ("images", "heads", "h", "w"),
    "weight": ("rows", "channels"),
    "dweight": ("groups", "rows", "width"),
}
_NUMBERS = ("images", "heads", "d", "d_row", "h", "w", "reach_y", "reach_x", "bands")
_NUMBERS += ("keys", "relative", "channels", "width", "groups")


class _Tensor(ctypes.Structure):
    """`tensor` of c/scratch.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in ("image", "head", "channel", "row", "col")),
    ]


class _Problem(ctypes.Structure):
    """`problem` of c/scratch.h."""

    _fields_ = [
        *((name, _Tensor) for name in _STRIDED),
        *((name, ctypes.c_void_p) for name in _CONTIGUOUS),
        *((name, ctypes.c_long) for name in _NUMBERS),
    ]


@functools.cache
def why_unavailable() -> str:
    """Why this backend cannot run here; empty where it can. Compiles at the first call, a second or so."""
    try:
        for real in _REAL.values():
            compiling.library(real)
    except compiling.NotCompiled as error:
        return str(error)
    return ""


def refuses(inputs: Inputs) -> str:
    """Why it cannot take these tensors; empty where it can."""
    if inputs.q.device.type != "cpu":
        return f"it computes on the CPU, and the tensors are on {inputs.q.device}"
    if inputs.q.shape != inputs.v.shape:
        return f"it needs as many value channels as query channels, got {inputs.v.shape[2]} and {inputs.q.shape[2]}"
    return ""


def forward(inputs: Inputs, reach: list[int]) -> tuple[Tensor, Tensor]:
    """The weighted sum of the values in each window, and lse; in float32 at least."""
    tensors = _prepared(inputs)
    out, lse = torch.empty_like(tensors["v"]), empty_lse(inputs.q)
    call({**tensors, "out": out, "lse": lse}, inputs.q.shape, reach, backward=False, keys=inputs.k is not None)
    return out.to(inputs.v.dtype), lse


def backward(grad: Tensor, inputs: Inputs, out: Tensor, lse: Tensor, reach: list[int]) -> Inputs:
    """The gradients."""
    tensors = _prepared(inputs)
    like = tensors["q"]
    outputs = {f"d{name}": torch.empty_like(tensors[name]) for name in ("q", "k", "v") if name in tensors}
    outputs.update(table_gradients(inputs.row, inputs.col, like, inputs.q.shape, reach))
    tensors.update(grad=grad.to(like.dtype), out=out.to(like.dtype), lse=lse, **outputs)
    call(tensors, inputs.q.shape, reach, backward=True, keys=inputs.k is not None)
    given = inputs._asdict().items()
    return Inputs(*(None if x is None else total(name, outputs).to(x.dtype) for name, x in given))


attend = operator("native", forward, backward)


def bands(h: int, w: int, reach: list[int]) -> int:
    """Into how many bands of rows an image is cut, each computed by itself together with the rows it can see."""
    rows = max(-(-_BAND // max(1, w)), 4 * reach[0], 1)  # the fewer, the more is computed twice
    return max(1, h // rows)


def table_gradients(
    row: Tensor | None, col: Tensor | None, like: Tensor, shape: torch.Size, reach: list[int]
) -> dict[str, Tensor]:
    """Memory for the gradients of the tables: one a unit of work, so that no number of threads changes a sum."""
    units = shape[0] * bands(*shape[3:], reach) * shape[1]
    given = {"drow": row, "dcol": col}
    return {name: like.new_zeros(units, *table.shape) for name, table in given.items() if table is not None}


def total(name: str, outputs: dict[str, Tensor]) -> Tensor:
    """The gradient of an input: those of a table added up over the units, always in the same order."""
    gradient = outputs[f"d{name}"]
    return gradient.sum(dim=0) if name in ("row", "col") else gradient


def _prepared(inputs: Inputs) -> dict[str, Tensor]:
    """What was given, by name, in the type it is computed in."""
    check_tensors(inputs)
    given = {name: x.to(compute_dtype(inputs.q)) for name, x in inputs._asdict().items() if x is not None}
    return {name: x.contiguous() if name in _CONTIGUOUS else x for name, x in given.items()}


def call(tensors: dict[str, Tensor], shape: torch.Size, reach: list[int], *, backward: bool, **options: int) -> None:
    """One call of the C function, and the one place in which what C is given is checked.

    Args:
        tensors: by their names in `problem`.
        shape: (b, heads, d, h, w) of the queries.
        reach: rows and columns from the middle of a window to its end.
        backward: which pass.
        options: the other numbers of `problem`.

    Raises:
        ValueError: a tensor of another type, shape or device than C will read or write.
        MemoryError: no scratch memory.
    """
    b, heads, d, h, w = shape
    row, dtype = tensors.get("row"), tensors["out"].dtype
    numbers = {"images": b, "heads": heads, "d": d, "d_row": 0 if row is None else len(row), "h": h, "w": w}
    numbers |= {"reach_y": reach[0], "reach_x": reach[1], "bands": bands(h, w, reach), "relative": row is not None}
    numbers |= options
    axes = {**numbers, "one": 1, "d_col": d - numbers["d_row"], "kh": 2 * reach[0] + 1, "kw": 2 * reach[1] + 1}
    axes |= {"units": b * numbers["bands"] * heads, "rows": (2 + options["keys"]) * heads * d}
    if not (0 <= reach[0] < max(1, h) and 0 <= reach[1] < max(1, w)) or dtype not in _REAL:
        raise ValueError(f"reach {reach} must stay within {h} x {w} pixels, and the type be float, got {dtype}")
    if (row is None) != ("col" not in tensors):
        raise ValueError("row and col belong together: give both tables or neither")
    job = _Problem(**numbers)
    for name, x in tensors.items():
        expected = tuple(axes[axis] for axis in (_STRIDED | _CONTIGUOUS)[name])
        if (x.shape, x.dtype, x.device.type) != (expected, dtype, "cpu") or x.is_neg():
            raise ValueError(f"{name} must be {dtype} {expected} on the CPU, got {x.dtype} {tuple(x.shape)} {x.device}")
        if name in _CONTIGUOUS and not x.is_contiguous():
            raise ValueError(f"{name} must be contiguous, got strides {x.stride()}")
        setattr(job, name, x.data_ptr() if name in _CONTIGUOUS else _Tensor(x.data_ptr(), *x.stride()))
    if not shape.numel():
        return
    if compiling.library(_REAL[dtype]).local_attention(ctypes.byref(job), int(backward), torch.get_num_threads()):
        raise MemoryError(f"no memory for local attention over {b} images of {h} x {w}")
