"""Values and gradients of one way to compute local attention against the equation in float64."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from sasa_tutorial import kernels
from sasa_tutorial.selftest.cases import Case
from sasa_tutorial.selftest.ways import REFERENCE, Way

NAMES = ("out", "q", "k", "v", "row", "col")
# ‖found - right‖ / ‖right‖, the inputs being the same rounded numbers. Sums are in float32 everywhere; what remains is
# the rounding of results and, on matrix units, of weights before they are multiplied: half a unit in the last place is
# 2^-9 of a number in bfloat16, 2^-12 in float16, 2^-24 in float32. A few such roundings one after another, and the
# cancellation in the gradients of logits (a weight times a difference), make it at most about five of them; float32 has
# sums over thousands of pixels besides. TF32 rounds to 2^-12 too, and everything it multiplies.
TOLERANCES = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 2e-3}
TF32_TOLERANCE = 5e-3
# Gradients of tables are sums over all pixels of what nearly cancels: what `out` was rounded by goes into the gradients
# of all logits of a window the same way. Measured: up to 2.1e-2 in bfloat16, 2e-3 in
# float16, where a table of few channels was met by few pixels.
TABLES, TABLE_FACTOR = ("row", "col"), 4
# Some gradients are 0 in exact numbers (a window of one pixel). Results are held against this root mean square at
# least, where the inputs have 1; those that come through the logits, sums over d channels, against √d of it.
LEAST_RMS = 0.1
THROUGH_LOGITS = ("q", "k", *TABLES)


@dataclass(frozen=True)
class Outcome:
    """How far off each of the results was, and what else was wrong."""

    errors: dict[str, float]
    problem: str  # empty where all was well

    def __str__(self) -> str:
        worst = max(self.errors, key=lambda name: _badness(self.errors[name]), default="")
        return f"worst {self.errors[worst]:.1e} (of {worst})" if worst else ""


def check_case(way: Way, case: Case, device: torch.device, seed: int) -> Outcome:
    """Compute the case twice by this way, once by the equation.

    Raises:
        Whatever the backend raises.
    """
    arguments, upstream = inputs_of(case, device, seed)
    right = results([None if x is None else x.double() for x in arguments], upstream.double(), case.k, REFERENCE)
    with way.chosen():
        found, again = (results(arguments, upstream, case.k, way.backend) for _ in range(2))
    tolerance = TF32_TOLERANCE if way.tf32 and case.dtype == "float32" else TOLERANCES[case.dtype]
    return compared(found, again, right, tolerance, d=case.d)


def compared(
    found: dict[str, Tensor], again: dict[str, Tensor], right: dict[str, Tensor], tolerance: float, *, d: int = 1
) -> Outcome:
    """Errors of each result, and a sentence where one is too large, of another shape, or not the same twice."""
    if list(found) != list(right):
        return Outcome({}, f"there are results for {', '.join(found)}, expected {', '.join(right)}")
    shapes = [name for name in right if found[name].shape != right[name].shape]
    if shapes:
        return Outcome({}, f"another shape: {', '.join(shapes)}")
    least = {name: LEAST_RMS * (d**0.5 if name in THROUGH_LOGITS else 1) for name in right}
    errors = {name: relative_error(found[name], right[name], least[name]) for name in right}
    allowed = {name: tolerance * (TABLE_FACTOR if name in TABLES else 1) for name in right}
    problems = [
        f"{name} is off by {e:.1e} (> {allowed[name]:g})" for name, e in errors.items() if not e <= allowed[name]
    ]
    different = [name for name in found if not torch.equal(found[name], again[name])]
    if different and not problems:  # NaN is not equal to itself, and is said already
        problems.append(f"a second run gave other bits: {', '.join(different)}")
    return Outcome(errors, "; ".join(problems))


def relative_error(found: Tensor, right: Tensor, least_rms: float) -> float:
    """Euclidean, relative to what is right or to this root mean square, whichever is more; NaN stays NaN."""
    if not right.numel():
        return 0.0
    scale = max(right.norm().item(), least_rms * right.numel() ** 0.5)
    return ((found.double() - right).norm() / scale).item()


def inputs_of(case: Case, device: torch.device, seed: int) -> tuple[list[Tensor | None], Tensor]:
    """q, k, v, row, col and the gradient of the output.

    Logits have a standard deviation of about 1, so that weights are neither all equal nor all 0 and 1.
    """
    chance, dtype = torch.Generator().manual_seed(seed), getattr(torch, case.dtype)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=chance)

    def images(scale: float = 1.0) -> Tensor:
        channels = case.heads * case.d
        if case.layout == "sliced":
            wide = (scale * numbers(case.b, channels + 3, *case.size)).to(device, dtype)
            x = wide.to(memory_format=torch.channels_last)[:, 1 : channels + 1]
        else:
            last = torch.channels_last if case.layout == "channels_last" else torch.contiguous_format
            x = (scale * numbers(case.b, channels, *case.size)).to(device, dtype).to(memory_format=last)
        return rearrange(x, "b (heads d) h w -> b heads d h w", heads=case.heads)

    quarter = case.d**-0.25
    q, k, v, upstream = images(quarter), images(quarter), images(), images()
    kind = torch.float32 if case.tables == "float32" else dtype
    tables = [(quarter * numbers(n, case.k)).to(device, kind) for n in (case.d // 2, case.d - case.d // 2)]
    row, col = (None, None) if case.tables == "none" else tables
    return [q, k if case.content else None, v, row, col], upstream


def results(arguments: list[Tensor | None], upstream: Tensor, k: int, backend: str) -> dict[str, Tensor]:
    """The output and the gradient of everything that was given, by name."""
    leaves = [None if x is None else x.detach().requires_grad_() for x in arguments]
    out = kernels.local_attention(*leaves, kernel_size=k, backend=backend)
    gradients = iter(torch.autograd.grad(out, [x for x in leaves if x is not None], upstream))
    given = {name: next(gradients) for name, x in zip(NAMES[1:], leaves, strict=True) if x is not None}
    return {"out": out.detach(), **given}


def _badness(error: float) -> float:
    return float("inf") if error != error else error
