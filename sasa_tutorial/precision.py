"""In which numbers a device computes: half precision where its hardware has it, and what sums are kept in."""

from contextlib import AbstractContextManager, nullcontext

import torch

from sasa_tutorial.devices import bfloat16_in_hardware, on_apple_gpu, on_gpu


def computing(device: torch.device, *, bfloat16: bool = False) -> AbstractContextManager:
    """Autocast to the half precision that suits the device, as `half_precision` says; else none, float32."""
    return computing_in(half_precision(device, bfloat16=bfloat16), device)


def computing_in(half: torch.dtype | None, device: torch.device) -> AbstractContextManager:
    """Autocast to these 16-bit numbers, none for None. Softmax, norms and loss stay in float32."""
    if on_apple_gpu(device):
        return nullcontext()  # autocast of some versions warns there of types that nobody asked for
    return torch.autocast(device.type, dtype=half or torch.bfloat16, enabled=half is not None)


def half_precision(device: torch.device, *, bfloat16: bool = False) -> torch.dtype | None:
    """bfloat16 on a GPU that has it in hardware, float16 on an older one, bfloat16 on a CPU that has it where that is
    asked for; else None. Hardware without bfloat16 emulates it and is slower with it."""
    if on_gpu(device):
        return torch.bfloat16 if bfloat16_in_hardware(device) else torch.float16
    return torch.bfloat16 if bfloat16 and bfloat16_in_hardware(device) else None


def loss_scaler(half: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler:
    """What keeps gradients in the range of float16, whose smallest number is 6e-8; for wider ones it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=half is torch.float16)


def summing(device: torch.device | str) -> torch.dtype:
    """In which numbers long sums are kept: float64 where the device has it, float32 on Apple's GPU, which has not."""
    return torch.float32 if on_apple_gpu(device) else torch.float64
