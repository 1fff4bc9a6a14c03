"""The layers of the benchmark, local attention without offsets beside them, and the operator against a copy."""

import math
from dataclasses import replace
from functools import partial

import torch

from sasa_tutorial import kernels
from sasa_tutorial.bench import Setting
from sasa_tutorial.bench.subjects import Pass, Subject, attention, subjects
from sasa_tutorial.devices import on_gpu
from sasa_tutorial.layers import LocalSelfAttention2d
from sasa_tutorial.selftest.report import one_line
from sasa_tutorial.selftest.timed import timed

LEAST_BYTES = 2**29  # of q, k, v and out on a GPU: more than its cache holds
# q, k, v read and out written; backward also the gradient and out read and three gradients written, with q, k, v again.
TENSORS_FORWARD, TENSORS_BOTH = 4, 12


def measure(setting: Setting, seconds: float) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], str]]:
    """Milliseconds by (layer, "forward" or "both"), and why some have none."""
    chosen = {"local attention": _without_offsets(), "relative offsets": attention("relative offsets")}
    found = {**subjects(setting)}
    found = {"convolution 3x3": found["convolution 3x3"], **chosen, **found}
    flex = {name: found.pop(name) for name in list(found) if name == "attention, flex"}  # compiles longest
    actions: dict[tuple[str, str], Pass] = {}
    problems: dict[tuple[str, str], str] = {}
    x = setting.input()
    for name, subject in {**found, **flex}.items():
        try:
            actions[name, "both"], actions[name, "forward"] = reversed(subject.passes(setting, x))
        except Exception as error:
            problems[name, "both"] = one_line(error)
    times, failed = timed(actions, setting.device, seconds)
    complete = {name for name, which in times if (name, "both") in times and (name, "forward") in times}
    return {key: ms for key, ms in times.items() if key[0] in complete}, problems | failed


def _without_offsets() -> Subject:
    def build(s: Setting) -> torch.nn.Module:
        return LocalSelfAttention2d(s.channels, s.channels, s.kernel_size, s.heads, relative=False)

    return Subject("local attention", build)


def measure_floor(setting: Setting, seconds: float) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Milliseconds of a copy and of the operator by name, the operator's as multiples of the floor, what failed."""
    if on_gpu(setting.device):
        batch = max(setting.batch, math.ceil(LEAST_BYTES * setting.batch / setting.layer_bytes))
        setting = replace(setting, batch=batch)
    d, dtype = setting.channels // setting.heads, getattr(torch, setting.dtype)
    shape = (setting.batch, setting.heads, d, setting.size, setting.size)
    q, k, v = (torch.randn(shape, device=setting.device, dtype=dtype).requires_grad_() for _ in range(3))
    row, col = (
        torch.randn(n, setting.kernel_size, device=setting.device, dtype=dtype).requires_grad_()
        for n in (d // 2, d - d // 2)
    )
    upstream = torch.randn_like(q)
    source = torch.randn(setting.layer_bytes // (2 * q.itemsize), device=setting.device, dtype=dtype)
    target = torch.empty_like(source)

    def forward(*tables: torch.Tensor) -> None:
        with torch.no_grad():
            kernels.local_attention(q, k, v, *tables, kernel_size=setting.kernel_size)

    def both(*tables: torch.Tensor) -> None:
        out = kernels.local_attention(q, k, v, *tables, kernel_size=setting.kernel_size)
        torch.autograd.grad(out, (q, k, v, *tables), upstream)

    actions = {
        "copy": partial(target.copy_, source),
        "relative offsets, both": partial(both, row, col),
        "relative offsets, forward": partial(forward, row, col),
        "local attention, both": both,
        "local attention, forward": forward,
    }
    times, problems = timed(actions, setting.device, seconds)
    copy = times.get("copy")
    ratios = {}
    for name, ms in times.items():
        if copy and name != "copy":
            moved = TENSORS_BOTH if name.endswith("both") else TENSORS_FORWARD
            ratios[name] = ms / (copy * moved / TENSORS_FORWARD)
    return times, ratios, problems
