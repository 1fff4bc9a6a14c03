"""Everything the stage of the kernels tries, in order of importance: a list that every process makes the same."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from sasa_tutorial.selftest import large, whole_layer
from sasa_tutorial.selftest.cases import FACTORS, Case, covering_cases, usual_cases
from sasa_tutorial.selftest.checking import Outcome, check_case
from sasa_tutorial.selftest.ways import Way, tf32_way, ways


@dataclass(frozen=True)
class Trial:
    """One way with one input."""

    name: str
    check: Callable[[], Outcome]


def trials(device: torch.device, seed: int) -> list[Trial]:
    """The usual cases by every way, whole layers, tensors with more than 2^31 numbers, then the covering set."""
    cases, chosen = covering_cases(seed), ways(device)
    usual = len(list(usual_cases()))
    numbered = list(enumerate(cases, start=seed))
    listed = [_trial(name, way, case, device, n) for n, case in numbered[:usual] for name, way in chosen.items()]
    tf32 = tf32_way(device)
    first = Case(**{name: values[0] for name, values in FACTORS.items()})
    if tf32:
        case = replace(first, dtype="float32", tables="same", d=16)
        listed.append(_trial(*tf32, case, device, seed + len(cases)))
    for layer in whole_layer.settings():
        listed.append(Trial(f"layer: {layer}", lambda layer=layer: whole_layer.check_layer(layer, device, seed)))
    for name, way in chosen.items():
        if way.backend in ("triton", "native"):
            listed.append(Trial(f"{name}: {large.TITLE}", lambda way=way: large.check_large(way, device, seed)))
    rest = [_trial(name, way, case, device, n) for n, case in numbered[usual:] for name, way in chosen.items()]
    return listed + rest


def _trial(name: str, way: Way, case: Case, device: torch.device, seed: int) -> Trial:
    return Trial(f"{name}: {case}, seed {seed}", lambda: check_case(way, case, device, seed))
