"""In which numbers a network is computed."""

import torch


def computing(device: torch.device) -> torch.autocast:
    """bfloat16 autocast where the GPU has it in hardware (compute capability 8.0: Ampere and later), else float32.

    Older GPUs emulate bfloat16 and are slower with it; CPUs stay in float32, so that their numbers can be compared.
    """
    hardware = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=hardware)
