"""What a run runs on, for its record."""

import hashlib
import os
import platform
import subprocess
from pathlib import Path

import torch

from sasa_tutorial import paths
from sasa_tutorial.training.precision import bfloat16_in_hardware


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        ValueError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name} was asked for, but {torch.cuda.device_count()} CUDA devices are visible")
    return device


def device_name(device: torch.device, *, bfloat16: bool = False) -> str:
    """The name of the GPU, or of the processor, how many of its cores compute, and whether in bfloat16.

    Args:
        bfloat16: whether the recipe asks for it on CPUs that have it.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    numbers = ", bfloat16" if bfloat16 and bfloat16_in_hardware(device) else ""
    return f"{processor_name()}, {threads} thread{'' if threads == 1 else 's'}{numbers}"


def commit() -> str | None:
    """The commit of the checkout, with a plus sign where the library has uncommitted changes; None where unknown."""
    root = paths.checkout()
    if root is None:
        return None
    try:
        name = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", "sasa_tutorial")
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+" if changed else "")


def library_fingerprint() -> str:
    """A hash of the code that decides a run's numbers: the same code, settings and machine give the same run."""
    digest = hashlib.sha256(torch.__version__.encode())
    for file in paths.source_files("windows", "layers", "kernels", "models", "datasets", "training"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", os.fspath(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def processor_name() -> str:
    """As the system names it."""
    cpuinfo = Path("/proc/cpuinfo")  # platform.processor() is only the architecture on Linux
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
