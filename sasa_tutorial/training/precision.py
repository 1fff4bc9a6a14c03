"""In which numbers a network is computed."""

import torch


def computing(device: torch.device, *, bfloat16: bool = False) -> torch.autocast:
    """bfloat16 autocast on a GPU that has it in hardware, and where it is asked for on such a CPU; else float32.

    Older GPUs and most CPUs emulate bfloat16 and are slower with it.
    """
    asked = device.type == "cuda" or bfloat16
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=asked and bfloat16_in_hardware(device))


def bfloat16_in_hardware(device: torch.device) -> bool:
    """Whether it is a GPU of compute capability 8.0 (Ampere) or later, or a CPU with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Not yet public in torch; a version without it computes in float32.
    multiplies = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and multiplies is not None and multiplies()
