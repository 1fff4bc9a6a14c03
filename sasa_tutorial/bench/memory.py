"""How much memory a forward and backward pass adds at its peak, each subject in a process of its own."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from sasa_tutorial.bench.subjects import Setting, subjects


def peak_growth(name: str, setting: Setting) -> int | None:
    """Bytes between the resident memory before the two passes and its peak during them; None where the system does not
    tell. On a GPU, what PyTorch's allocator handed out at its peak, less what was in use before.
    """
    command = [sys.executable, "-m", "sasa_tutorial.bench.memory", name, json.dumps(asdict(setting))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _measure(name: str, setting: Setting) -> int | None:
    # A first pass on one image compiles, allocates and imports whatever only happens once.
    with subjects(setting.device)[name].ready(setting) as layer:
        small, x = setting.input()[:1].detach().requires_grad_(), setting.input()
        layer(small).sum().backward()
        upstream = torch.randn_like(x)
        if setting.device != "cpu":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            layer(x).backward(upstream)
            return torch.cuda.max_memory_allocated() - before
        status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
        try:
            reset.write_text("5")  # the peak starts again from here
            before = _kilobytes(status, "VmRSS")
            layer(x).backward(upstream)
            return 1024 * (_kilobytes(status, "VmHWM") - before)
        except OSError:
            return None


def _kilobytes(status: Path, field: str) -> int:
    (line,) = [line for line in status.read_text().splitlines() if line.startswith(field + ":")]
    return int(line.split()[1])


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], Setting(**json.loads(sys.argv[2])))))
