"""The ways in which local attention is computed on a device: its backends, and within Triton both kinds of programs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from sasa_tutorial import kernels
from sasa_tutorial.devices import compute_capability, on_gpu
from sasa_tutorial.kernels.dispatch import FASTEST
from sasa_tutorial.kernels.triton import tiled

REFERENCE = "reference"


@dataclass(frozen=True)
class Way:
    """A backend, and which of its programs."""

    backend: str
    matrix_units: bool | None = None  # of Triton; None: as it decides itself
    tf32: bool = False  # float32 on matrix units as PyTorch calls it "high"

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Within the block this way is taken. Numbers are float32's own unless TF32 is what is tried."""
        before = tiled.pays, torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        if self.matrix_units is not None:
            # The library decides by an estimate of time; here both have to be right wherever either can run.
            tiled.pays = lambda q, v: self.matrix_units
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = self.tf32
        try:
            yield
        finally:
            tiled.pays = before[0]
            torch.set_float32_matmul_precision(before[1])
            torch.backends.cudnn.allow_tf32 = before[2]


def ways(device: torch.device) -> Mapping[str, Way]:
    """By name, those that run here and can be held against the reference."""
    found: dict[str, Way] = {}
    for backend in kernels.available_backends(device.type):
        if backend == "triton":
            found["triton, a thread a pixel"] = Way(backend, matrix_units=False)
            if compute_capability(device) >= (8, 0):  # older matrix units have no code in Triton
                found["triton, matrix units"] = Way(backend, matrix_units=True)
        elif backend != REFERENCE:
            found[backend] = Way(backend)
    # The fastest first: that is what everybody uses, and the time may not be enough for all.
    return dict(sorted(found.items(), key=lambda item: item[1].backend not in FASTEST.values()))


def tf32_way(device: torch.device) -> tuple[str, Way] | None:
    """Matrix units chosen because PyTorch was told to allow TF32."""
    if not on_gpu(device) or compute_capability(device) < (8, 0):
        return None
    return None if kernels.why_unavailable("triton") else ("triton, TF32 allowed", Way("triton", tf32=True))
