"""Choosing how local attention is computed, and refusing what no backend can compute."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from sasa_tutorial.kernels import reference, streaming
from sasa_tutorial.kernels.native import operator as native
from sasa_tutorial.kernels.native import projected
from sasa_tutorial.kernels.triton import operator as triton
from sasa_tutorial.windows import check_kernel_size

_BACKENDS: dict[str, Callable[..., Tensor]] = {
    "reference": reference.attend,
    "streaming": streaming.attend,
    "native": native.attend,
    "triton": triton.attend,
}
_CHOOSY = {"native": native, "triton": triton}  # they may be missing here, and do not take every tensor
_FASTEST = {"cpu": "native", "cuda": "triton"}
DEFAULT = os.environ.get("SASA_LOCAL_ATTENTION", "auto")  # what "auto" means; for comparisons of whole trainings


@contextmanager
def using(backend: str) -> Iterator[None]:
    """Within the block "auto" means `backend` wherever that can take the tensors: for comparisons of whole layers."""
    global DEFAULT
    before, DEFAULT = DEFAULT, backend
    try:
        yield
    finally:
        DEFAULT = before


def available_backends(device: str | None = None) -> tuple[str, ...]:
    """The backends that run here, besides "auto".

    Args:
        device: only those that compute on devices of this type, such as "cpu".
    """
    elsewhere = [] if device is None else [name for kind, name in _FASTEST.items() if kind != device]
    return tuple(name for name in _BACKENDS if name not in elsewhere and not why_unavailable(name))


def why_unavailable(backend: str) -> str:
    """Why a backend does not run on this machine; empty where it does."""
    return _CHOOSY[backend].problem() if backend in _CHOOSY else ""


def local_attention(
    q: Float[Tensor, "b heads d h w"],
    k: Float[Tensor, "b heads d h w"] | None,
    v: Float[Tensor, "b heads d h w"],
    row: Float[Tensor, "d1 kh"] | None = None,
    col: Float[Tensor, "d2 kw"] | None = None,
    *,
    kernel_size: int,
    backend: str = "auto",
) -> Float[Tensor, "b heads d h w"]:
    """Attention of every pixel to the kernel_size x kernel_size window around it, inside the image.

    Args:
        q, k, v: queries, keys and values; k may be None, then only the offsets decide.
        row, col: tables of relative offsets, (d1, k) for the first d1 of the d channels of a head and (d2, k) for the
            other d2; both or neither.
        kernel_size: odd.
        backend: "reference" (windows, readable), "streaming" (plain PyTorch), "native" (C, CPU), "triton"
            (CUDA), or "auto", the fastest that can take the input.

    Shapes: (b, heads, d, h, w), any sizes. Logits are not scaled.

    Raises:
        ValueError: shapes that do not fit, no logits at all, a backend that is unknown or cannot take the input.

    Source: Ramachandran et al. 2019, arXiv:1906.05909, Eq. 2 and 3.
    """
    _check(q, k, v, row, col, kernel_size)
    name = backend
    if backend == "auto":
        refused = tuple(choosy for choosy, module in _CHOOSY.items() if module.refuses(q, v))
        name = fastest_backend(q.device.type, refused)
    if name not in _BACKENDS:
        raise ValueError(f"backend must be auto, {', '.join(_BACKENDS)}, got {name!r}")
    if name in _CHOOSY and (problem := _CHOOSY[name].refuses(q, v) or _why_unavailable_constant(name)):
        raise ValueError(f"the {name} backend cannot be used: {problem}")
    return _BACKENDS[name](q, k, v, row, col, kernel_size)


def projects(x: Tensor, weight: Tensor, kernel_size: int) -> bool:
    """Whether `projected_local_attention` is a good way to attend to the images `x`; `weight` makes their values."""
    return projected.fits(x, weight, kernel_size) and fastest_backend(x.device.type) == "native"


def projected_local_attention(
    x: Float[Tensor, "b c_in h w"],
    to_q: Float[Tensor, "c_out c_in"],
    to_k: Float[Tensor, "c_out c_in"] | None,
    to_v: Float[Tensor, "c_out c_in"],
    row: Float[Tensor, "d1 k"] | None = None,
    col: Float[Tensor, "d2 k"] | None = None,
    *,
    heads: int,
    kernel_size: int,
) -> Float[Tensor, "b c_out h w"]:
    """`local_attention` of the queries to_q x, keys to_k x and values to_v x, joined again: one step, "native" only.

    They are made where they are used and are never in memory for the whole batch, nor saved for the backward pass.

    Args:
        x: images.
        to_q, to_k, to_v: matrices; to_k may be None. Heads are contiguous groups of their rows.
        row, col: as in `local_attention`.
        heads: divides c_out.
        kernel_size: odd.

    Raises:
        ValueError: x is not what `projects` accepts.
    """
    if not projects(x, to_v, kernel_size):
        raise ValueError(
            "projections and attention in one step need float32 or float64 on a CPU, the native backend, and at most "
            f"{projected.MOST_CHANNELS} channels; got {x.dtype} of shape {tuple(x.shape)} on {x.device}"
        )
    check_kernel_size(kernel_size)
    return projected.attend(x, to_q, to_k, to_v, row, col, heads=heads, kernel_size=kernel_size)


@torch.compiler.assume_constant_result
def fastest_backend(device: str, refused: tuple[str, ...] = ()) -> str:
    """What "auto" means on a device.

    Args:
        device: its type, such as "cpu".
        refused: the backends that could not take the tensors.
    """
    if device == "meta":
        # Nothing is computed there, but FLOPs are counted, and those of the equation are the reference's.
        return "reference"
    if DEFAULT != "auto" and DEFAULT not in refused:
        return DEFAULT
    fastest = _FASTEST.get(device, "streaming")
    return "streaming" if fastest in refused or why_unavailable(fastest) else fastest


@torch.compiler.assume_constant_result
def _why_unavailable_constant(backend: str) -> str:
    return why_unavailable(backend)


def local_attention_weights(
    q: Float[Tensor, "b heads d h w"],
    k: Float[Tensor, "b heads d h w"] | None,
    row: Float[Tensor, "d1 kh"] | None = None,
    col: Float[Tensor, "d2 kw"] | None = None,
    *,
    kernel_size: int,
) -> Float[Tensor, "b heads h w kh kw"]:
    """The weights that `local_attention` uses, to look at; they sum to 1 over each window.

    Raises:
        ValueError: as `local_attention`.
    """
    _check(q, k, q, row, col, kernel_size)
    return reference.weights(q, k, row, col, kernel_size)


def _check(q: Tensor, k: Tensor | None, v: Tensor, row: Tensor | None, col: Tensor | None, kernel_size: int) -> None:
    check_kernel_size(kernel_size)
    if q.ndim != 5:
        raise ValueError(f"q must be 5-D (b, heads, d, h, w), got {q.ndim}-D of shape {tuple(q.shape)}")
    if k is not None and k.shape != q.shape:
        raise ValueError(f"k must have the shape of q, {tuple(q.shape)}, got {tuple(k.shape)}")
    if v.ndim != 5 or v.shape[:2] != q.shape[:2] or v.shape[3:] != q.shape[3:]:
        raise ValueError(f"v must have the shape of q, {tuple(q.shape)}, up to d; got {tuple(v.shape)}")
    if (row is None) != (col is None):
        raise ValueError("row and col belong together: give both tables or neither")
    if row is None and k is None:
        raise ValueError("without k and without offsets there are no logits; give one of them")
    if row is not None:
        widths = row.shape[0] + col.shape[0]
        if row.ndim != 2 or col.ndim != 2 or row.shape[1] != kernel_size or col.shape[1] != kernel_size:
            raise ValueError(
                f"row and col must be (d1, {kernel_size}) and (d2, {kernel_size}), "
                f"got {tuple(row.shape)} and {tuple(col.shape)}"
            )
        if widths != q.shape[2]:
            raise ValueError(f"row and col must have d = {q.shape[2]} channels together, got {widths}")
