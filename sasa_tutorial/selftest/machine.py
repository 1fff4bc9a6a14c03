"""What this machine is, and which backends run on it."""

import platform
import shutil
import subprocess

import numpy as np
import torch

import sasa_tutorial
from sasa_tutorial import kernels, paths
from sasa_tutorial.devices import bfloat16_in_hardware, device_name, gpu_facts, on_gpu, resolve_device
from sasa_tutorial.kernels.dispatch import BACKENDS, FASTEST
from sasa_tutorial.selftest.job import Job
from sasa_tutorial.selftest.processes import cores
from sasa_tutorial.selftest.report import Report

BY_HAND = ("einops", "jaxtyping", "safetensors", "scipy", "click", "filelock", "torchvision")


def run(job: Job, report: Report) -> str:
    """Versions, the device, a sentence for each backend. A GPU on which the fastest does not run is a failure."""
    device = resolve_device("auto")
    facts = versions() | about(device)
    for name, value in facts.items():
        report.line(f"{name}: {value}")
    report.result(kind="machine", **facts)
    for name in BACKENDS:
        why = kernels.why_unavailable(name)
        report.line(f"backend {name}: {why or 'runs'}")
        report.result(kind="backend", name=name, why_not=why)
        if why and FASTEST.get(device.type) == name:
            (report.failure if on_gpu(device) else report.note)(f"the {name} backend does not run here: {why}")
    running = ", ".join(kernels.available_backends(device.type))
    return f"{facts['device']}, torch {torch.__version__}, commit {facts['commit']}; backends: {running}"


def versions() -> dict[str, str | None]:
    """Of Python, the packages and the library."""
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuDNN": str(torch.backends.cudnn.version()),
        "triton": of("triton"),
        "numpy": np.__version__,
        **{name: of(name) for name in BY_HAND},
        "sasa_tutorial": f"{sasa_tutorial.__version__} in {paths.PACKAGE}",
        "commit": commit(),
    }


def commit() -> str | None:
    """Of the checkout; None where unknown."""
    try:
        from sasa_tutorial.training.provenance import commit as found
    except ImportError:  # training needs packages that kernels do without
        return None
    return found()


def about(device: torch.device) -> dict[str, object]:
    """The device, and what is on either side of it."""
    facts: dict[str, object] = {
        "system": platform.platform(),
        "cores": cores(),
        "device": device_name(device),
        "bfloat16 in hardware": bfloat16_in_hardware(device),
        "C compiler": shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"),
    }
    if on_gpu(device):
        facts |= gpu_facts(device)
        facts["driver"] = driver()
    return facts


def driver() -> str | None:
    """The version of the GPU's driver, where its tool is there to tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
