"""Choosing how local attention is computed, and refusing what no backend can compute."""

import functools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from jaxtyping import Float
from torch import Tensor

from sasa_tutorial.kernels import reference, streaming
from sasa_tutorial.kernels.inputs import Inputs, check_inputs
from sasa_tutorial.kernels.modes import constant_when_compiled, leaving, transforming
from sasa_tutorial.kernels.native import operator as native
from sasa_tutorial.kernels.triton import operator as triton

# Each has attend(inputs, kernel_size). Those of one kind of device may be missing here and do not take every tensor:
# they also have why_unavailable() and refuses(inputs), sentences that are empty where all is well.
BACKENDS: dict[str, ModuleType] = {
    "reference": reference,
    "streaming": streaming,
    "native": native,
    "triton": triton,
}
FASTEST = {"cpu": "native", "cuda": "triton"}  # by type of device; nothing else uses them
# What "auto" means; for comparisons of whole trainings.
VARIABLE = "SASA_LOCAL_ATTENTION"
DEFAULT = os.environ.get(VARIABLE) or "auto"


@contextmanager
def using(backend: str) -> Iterator[None]:
    """Within the block "auto" means `backend` wherever that can take the tensors: for comparisons of whole layers.

    Raises:
        ValueError: there is no such backend.
    """
    global DEFAULT
    _check_name(backend, "backend")
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
    elsewhere = [] if device is None else [name for kind, name in FASTEST.items() if kind != device]
    return tuple(name for name in BACKENDS if name not in elsewhere and not why_unavailable(name))


def why_unavailable(backend: str) -> str:
    """Why a backend does not run on this machine; empty where it does."""
    return BACKENDS[backend].why_unavailable() if backend in FASTEST.values() else ""


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

    In forward mode and under the transforms of `torch.func` every backend is computed as "reference" is; their second
    derivatives are. While a program is exported "auto" is "reference", unless `using` names another.

    Shapes: (b, heads, d, h, w), any sizes. Logits are not scaled.

    Raises:
        ValueError: shapes or types that do not fit, no logits at all, a backend that is unknown or cannot take the
            input.

    Source: Ramachandran et al. 2019, arXiv:1906.05909, Eq. 2 and 3.
    """
    inputs = Inputs(q, k, v, row, col)
    check_inputs(inputs, kernel_size)
    name = backend
    if backend == "auto":
        refused = tuple(name for name in FASTEST.values() if BACKENDS[name].refuses(inputs))
        name = fastest_backend(q.device.type, refused)
    _check_name(name, "backend")
    if name in FASTEST.values() and (why := BACKENDS[name].refuses(inputs) or _why_unavailable_constant(name)):
        raise ValueError(f"the {name} backend cannot be used: {why}")
    return BACKENDS["reference" if transforming() else name].attend(inputs, kernel_size)


@constant_when_compiled
def fastest_backend(device: str, refused: tuple[str, ...] = ()) -> str:
    """What "auto" means on a device.

    Args:
        device: its type, such as "cpu".
        refused: the backends that could not take the tensors.

    Raises:
        ValueError: the variable that says so names no backend.
    """
    # On "meta" nothing is computed, but FLOPs are counted, and those of the equation are the reference's.
    if device == "meta" or transforming() or (leaving() and DEFAULT == "auto"):
        return "reference"
    _check_name(DEFAULT, f"the variable {VARIABLE}")
    if DEFAULT != "auto" and DEFAULT not in refused:
        return DEFAULT
    fastest = FASTEST.get(device, "streaming")
    if fastest in refused:
        return "streaming"
    if why := why_unavailable(fastest):
        _say_once(device, why)
        return "streaming"
    return fastest


@functools.cache
def _say_once(device: str, why: str) -> None:
    """Nobody should wonder why it is slow."""
    warnings.warn(
        f"on {device}, local attention is computed by plain PyTorch, slower: {why}", RuntimeWarning, stacklevel=2
    )


def _check_name(name: str, what: str) -> None:
    if name != "auto" and name not in BACKENDS:
        raise ValueError(f"{what} must be auto, {', '.join(BACKENDS)}, got {name!r}")


@constant_when_compiled
def _why_unavailable_constant(backend: str) -> str:
    return why_unavailable(backend)
