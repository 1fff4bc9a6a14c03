"""What computes: a CPU or a GPU, its name, in which numbers it computes, waiting for it, how much memory it took.

Besides the kernels this is the only file of the library that knows what PyTorch calls a GPU.
"""

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

NAMES = "auto, cpu, cuda, cuda:N or mps"


def gpu_available() -> bool:
    """Whether there is a GPU with CUDA: what the profiles for GPUs are made for."""
    return torch.cuda.is_available()


def on_gpu(device: torch.device | str) -> bool:
    """Whether that device is a GPU with CUDA."""
    return torch.device(device).type == "cuda"


def on_apple_gpu(device: torch.device | str) -> bool:
    """Whether that device is the GPU of an Apple processor: no float64 there, and one process only."""
    return torch.device(device).type == "mps"


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else Apple's GPU, else the CPU.

    Raises:
        ValueError: no such device here.
    """
    if name == "auto":
        name = "cuda" if gpu_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be {NAMES}, got {name!r}") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device must be {NAMES}, got {name!r}")
    if on_apple_gpu(device) and not torch.backends.mps.is_available():
        raise ValueError("device mps was asked for, but this is no Apple processor with macOS 14, or PyTorch lacks it")
    if on_gpu(device) and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name} was asked for, but {torch.cuda.device_count()} CUDA devices are visible")
    return device


def gpu_of_this_process() -> torch.device:
    """The GPU that torchrun means for this process, from now on the one that computes."""
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def device_name(device: torch.device, *, bfloat16: bool = False) -> str:
    """The name of the GPU, or of the processor, how many of its cores compute, and whether in bfloat16.

    Args:
        device: which.
        bfloat16: whether the recipe asks for it on CPUs that have it.
    """
    if on_gpu(device):
        return torch.cuda.get_device_name(device)
    if on_apple_gpu(device):
        return f"{processor_name()} GPU"
    threads = torch.get_num_threads()
    numbers = ", bfloat16" if bfloat16 and bfloat16_in_hardware(device) else ""
    return f"{processor_name()}, {threads} thread{'' if threads == 1 else 's'}{numbers}"


def processor_name() -> str:
    """As the system names it."""
    cpuinfo = Path("/proc/cpuinfo")  # platform.processor() is only the architecture on Linux
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":  # where it is the architecture, too
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or platform.machine()


def bfloat16_in_hardware(device: torch.device) -> bool:
    """Whether it is a GPU of compute capability 8.0 (Ampere) or later, or a CPU with AVX-512 BF16 or AMX."""
    if on_gpu(device):
        return compute_capability(device) >= (8, 0)
    # Not yet public in torch; a version without it computes in float32.
    multiplies = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and multiplies is not None and multiplies()


def beside(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Call a function of tensors on one GPU on a stream of its own, which later work waits for.

    What is to be recorded is first done so: autograd remembers on which stream it saw a parameter.
    """
    device = inputs[0].device
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        output = function(*inputs)
    torch.cuda.current_stream(device).wait_stream(stream)
    return output


def recorded(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> tuple[Callable[[], None], Tensor]:
    """A CUDA graph of a function of these tensors: what replays it, and the tensor its result is then in.

    Raises:
        Exception: the function does what a graph cannot hold; CUDA raises as it likes.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function(*inputs)
    return graph.replay, output


def compute_capability(device: torch.device) -> tuple[int, int]:
    """Of a GPU of NVIDIA's: (7, 5) is a T4, (8, 0) an A100, (9, 0) an H100."""
    return torch.cuda.get_device_capability(device)


def wait_for(device: torch.device | str) -> None:
    """Until the device has done all it was given; a CPU always has."""
    if on_gpu(device):
        torch.cuda.synchronize(device)
    elif on_apple_gpu(device):
        torch.mps.synchronize()


def begin_peak(device: torch.device | str) -> int:
    """Measure the peak of memory from here on; bytes in use now, 0 for a CPU."""
    if on_apple_gpu(device):
        torch.mps.empty_cache()
        return torch.mps.current_allocated_memory()
    if not on_gpu(device):
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def peak_memory(device: torch.device | str) -> int | None:
    """Bytes that PyTorch has handed out at the peak since `begin_peak`; None for a CPU, where nobody counts.

    On Apple's GPU nobody notes the peak: it is what PyTorch has from the system, which it gives back only in need.
    """
    if on_apple_gpu(device):
        return torch.mps.driver_allocated_memory()
    return torch.cuda.max_memory_allocated(device) if on_gpu(device) else None


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory that nobody has taken, once PyTorch has given back what it keeps for later."""
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def gpu_facts(device: torch.device) -> dict[str, str | float]:
    """What a report says about a GPU, by name."""
    properties = torch.cuda.get_device_properties(device)
    return {
        "CUDA of torch": torch.version.cuda,
        "compute capability": f"{properties.major}.{properties.minor}",
        "memory, GB": round(properties.total_memory / 1e9, 1),
        "multiprocessors": properties.multi_processor_count,
    }
