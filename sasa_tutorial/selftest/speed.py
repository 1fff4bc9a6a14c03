"""How fast layers and training steps are here, against convolution, FlexAttention and a plain copy."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from sasa_tutorial.bench import Setting, default_setting
from sasa_tutorial.bench.section import columns, described, number
from sasa_tutorial.devices import free_memory, on_gpu, resolve_device
from sasa_tutorial.precision import half_precision
from sasa_tutorial.selftest import layer_times, step_times
from sasa_tutorial.selftest.job import Job
from sasa_tutorial.selftest.report import Report, one_line
from sasa_tutorial.selftest.timed import NO_TIME
from sasa_tutorial.selftest.warm import warm

WARMING = 0.4  # share of the time, at most, in which programs are compiled side by side, on a GPU
LEAST_SECONDS = 3.0  # below that nothing new is begun

Measure = Callable[[float, Report], None]


def run(job: Job, report: Report) -> str:
    """Measure one thing after another, the most important first, as far as the time goes."""
    device = resolve_device("auto")
    planned = plan(device)
    done = 0
    if on_gpu(device):
        begun, seconds = time.monotonic(), WARMING * job.left
        ended = warm(len(planned), seconds)
        report.line(f"[compiling beforehand: {ended} processes ended within {time.monotonic() - begun:.1f} s]\n")
    for index, (title, measure) in enumerate(planned):
        if job.left < LEAST_SECONDS:
            report.note(f"{NO_TIME} for {', '.join(title for title, _ in planned[index:])}")
            break
        seconds = min(job.left, 2 * job.left / (len(planned) - index))  # what one leaves over is the next ones'
        begun = time.monotonic()
        try:
            measure(seconds, report)
            done += 1
        except Exception as error:
            report.failure(f"{title}: {one_line(error)}")
        if on_gpu(device):
            free_memory(device)
        report.line(f"[{title}: {time.monotonic() - begun:.1f} s]\n")
    return f"{done} of {len(planned)} comparisons measured"


def plan(device: torch.device) -> list[tuple[str, Measure]]:
    """What is measured, in order of importance."""
    usual, half = default_setting(device), half_precision(device)
    steps = [(f"steps, {profile}", partial(steps_of, profile, device, half)) for profile in ("gpu", "evening")]
    if not on_gpu(device):  # half the channels and 256 images take a CPU too long
        small = replace(usual, batch=8)
        return [("layers", partial(layers, small)), steps[1], ("floor", partial(floor, small))]
    wide = replace(usual, heads=4)  # 16 channels a head: matrix units
    return [
        ("layers", partial(layers, usual)),
        steps[0],
        ("floor", partial(floor, usual)),
        ("layers, d 16", partial(layers, wide)),
        steps[1],
        ("floor, d 16", partial(floor, wide)),
        ("layers, float32", partial(layers, replace(usual, dtype="float32"))),
        ("layers, float16", partial(layers, replace(wide, dtype="float16"))),
        ("steps, gpu, float32", partial(steps_of, "gpu", device, None)),
        ("steps, gpu, float16", partial(steps_of, "gpu", device, torch.float16)),
        ("steps, evening, float32", partial(steps_of, "evening", device, None)),
    ]


def layers(setting: Setting, seconds: float, report: Report) -> None:
    """Forward, and forward and backward, of every layer that can take the setting."""
    times, problems = layer_times.measure(setting, seconds)
    said = described(vars(setting))
    _problems(report, said, problems)
    both = {name: times[name, "both"] for name, which in times if which == "both"}
    forward = {name: times[name, "forward"] for name, which in times if which == "forward"}
    report.result(kind="layers", setting=said, forward=forward, both=both)
    base = both.get("convolution 3x3")
    rows = [("layer", "forward, ms", "both, ms", "/ 3x3")]
    for name in both:
        rows.append((name, number(forward[name]), number(both[name]), number(both[name] / base) if base else ""))
    report.line(f"Layers at {said}.\n{columns(rows)}")


def floor(setting: Setting, seconds: float, report: Report) -> None:
    """The operator alone, as a multiple of a copy that moves as many bytes."""
    times, ratios, problems = layer_times.measure_floor(setting, seconds)
    said = described(vars(setting))
    _problems(report, said, problems)
    report.result(kind="floor", setting=said, milliseconds=times, of_floor=ratios)
    rows = [("the operator alone", "ms", "/ floor")]
    rows += [(name, number(value), number(ratios[name]) if name in ratios else "") for name, value in times.items()]
    report.line(f"The copy floor at {said}.\n{columns(rows)}")


def steps_of(profile: str, device: torch.device, half: torch.dtype | None, seconds: float, report: Report) -> None:
    """A training step of every network, in every kind of step there is."""
    kinds = step_times.kinds(device)
    for kind, capture in kinds:
        found, problems = step_times.measure(profile, device, half, seconds / len(kinds), capture=capture)
        numbers = str(half or torch.float32).removeprefix("torch.")
        said = f"{kind} step, {step_times.described(profile)}, {numbers}"
        _problems(report, said, problems)
        report.result(kind="steps", setting=said, step=kind, profile=profile, networks=found)
        rows = [("network", "step, ms", "images / s")]
        rows += [(name, number(of["ms"]), number(of["images_per_second"])) for name, of in found.items()]
        report.line(f"{said}.\n{columns(rows)}")


def _problems(report: Report, said: str, problems: Mapping[Any, str]) -> None:
    words = {" ".join(name) if isinstance(name, tuple) else name: problem for name, problem in problems.items()}
    for name, problem in words.items():
        if problem != NO_TIME:
            report.failure(f"{name}, {said}: {problem}")
    if late := [name for name, problem in words.items() if problem == NO_TIME]:
        report.note(f"{NO_TIME} for {', '.join(late)} ({said})")
