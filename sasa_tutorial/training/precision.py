"""In which numbers a network is computed."""

import torch


def computing(device: torch.device) -> torch.autocast:
    """bfloat16 autocast where the GPU has it in hardware, else float32.

    Older GPUs emulate bfloat16 and are slower with it; CPUs stay in float32, so that their numbers can be compared.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16_in_hardware(device))


def bfloat16_in_hardware(device: torch.device) -> bool:
    """Whether it is a GPU of compute capability 8.0 (Ampere) or later."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
