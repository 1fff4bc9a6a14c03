"""The layers at one setting: time and memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sasa_tutorial.bench.memory import peak_growth
from sasa_tutorial.bench.setting import Setting
from sasa_tutorial.bench.subjects import Pass, subjects
from sasa_tutorial.bench.timing import Times, interleaved


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """One subject at one setting."""

    name: str
    setting: Setting
    forward: Times
    both: Times  # forward and backward
    peak_bytes: int | None  # more than before, forward and backward; None where unknown


def measure_layers(setting: Setting, *, rounds: int, done: Callable[[], None] = lambda: None) -> list[LayerResult]:
    """Time and memory of every subject. `done` is called after every round and every measurement of memory."""
    chosen, x = subjects(setting), setting.input()
    actions: dict[tuple[str, str], Pass] = {}
    for name, subject in chosen.items():
        actions[name, "forward"], actions[name, "both"] = subject.passes(setting, x)
    times = interleaved(actions, setting.device, rounds=rounds, done=done)
    del actions
    results = []
    for name in chosen:
        peak = peak_growth(layer_passes, name, setting)
        found = {which: times[name, which] for which in ("forward", "both")}
        results.append(LayerResult(name=name, setting=setting, **found, peak_bytes=peak))
        done()
    return results


def layer_passes(name: str, setting: Setting) -> tuple[Pass, Pass]:
    """Forward and backward of one subject, with one image and with all of them."""
    subject = subjects(setting)[name]
    one = replace(setting, batch=1)
    return subject.passes(one, one.input())[1], subject.passes(setting, setting.input())[1]
