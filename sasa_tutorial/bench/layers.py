"""The layers at one setting: time and memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sasa_tutorial.bench.memory import peak_growth
from sasa_tutorial.bench.section import Part, Row, columns, described, number, quartiles
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


def parts(setting: Setting, *, rounds: int) -> Iterator[Part]:
    """The section in one part."""
    steps = rounds + 1 + len(subjects(setting))
    yield Part("layers", "layers", steps, partial(measure_layers, setting, rounds=rounds), show)


def show(rows: Sequence[Row]) -> str:
    """Times and memory, and their ratios within this one run."""
    by_name = {row["name"]: row for row in rows}
    narrow, wide = (by_name[f"convolution {k}x{k}"]["both"]["median"] for k in (3, 7))
    unfold = by_name["attention, unfold"]["peak_bytes"]
    header = ("layer", "forward", "both", "quartiles", "/ 3x3", "/ 7x7", "peak, MB", "unfold /", "/ qkvo")
    lines = [header]
    for row in rows:
        both, peak = row["both"]["median"], row["peak_bytes"]
        memory = ("unknown", "", "")
        if peak:
            tensors = Setting(**row["setting"]).layer_bytes
            memory = (number(peak / 1e6), number(unfold / peak) if unfold else "", number(peak / tensors))
        times = (number(row["forward"]["median"]), number(both), quartiles(row["both"]))
        lines.append((row["name"], *times, number(both / narrow), number(both / wide), *memory))
    headline = (
        f"Layers, forward and both passes in ms, at {described(rows[0]['setting'])}.\n"
        "Time relative to a 3x3 and a 7x7 convolution; peak memory of both passes, how many times the\n"
        "unfold form needs it, and how many times the bytes of q, k, v and out it is."
    )
    return headline + "\n\n" + columns(lines)
