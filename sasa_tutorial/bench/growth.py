"""How time grows with one size at a time, all others staying at the setting's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sasa_tutorial.bench.section import Part, Row, columns, number
from sasa_tutorial.bench.setting import Setting
from sasa_tutorial.bench.subjects import Subject, attention, convolution
from sasa_tutorial.bench.timing import Times, interleaved

FACTORS = ("batch", "channels", "size", "kernel_size", "heads")
LEAST_HEAD_DIM = 2  # one half for rows, one for columns


@dataclass(frozen=True, kw_only=True)
class Point:
    """One subject at one value of the factor."""

    value: int
    setting: Setting
    both: Times  # forward and backward
    ns_per_pixel: float  # of both


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One subject over all values of one factor."""

    factor: str
    name: str
    points: list[Point]
    exponent: float | None  # p in time ~ factor^p; over size the time is that of one pixel; None for a single value
    spread: float | None  # over size: largest time per pixel / smallest; else None


def settings_over(factor: str, setting: Setting) -> dict[int, Setting]:
    """The values of a factor, each with its setting.

    Over size the batch becomes smaller as images become larger, so that there are equally many pixels (one image at
    least). Channels and heads that do not fit the setting's are left out.
    """
    if factor == "batch":
        return {b: replace(setting, batch=b) for b in _around(setting.batch)}
    if factor == "channels":
        fitting = (c for c in (32, 64, 128) if _fits(c, setting.heads))
        return {c: replace(setting, channels=c) for c in fitting}
    if factor == "size":
        sides = (16, 32, 64, 128, 256)
        return {s: replace(setting, size=s, batch=max(1, round(setting.pixels / s**2))) for s in sides}
    if factor == "kernel_size":
        return {k: replace(setting, kernel_size=k) for k in (3, 5, 7, 9, 11)}
    if factor == "heads":
        fitting = (n for n in (1, 2, 4, 8, 16) if _fits(setting.channels, n))
        return {n: replace(setting, heads=n) for n in fitting}
    raise ValueError(f"factor must be {', '.join(FACTORS)}, got {factor!r}")


def growth_subjects(setting: Setting) -> tuple[Subject, ...]:
    """3x3 convolution, convolution as wide as attention's window, and attention as the layer computes it here."""
    return convolution(3), convolution(setting.kernel_size, "convolution k x k"), attention()


def measure_growth(
    factor: str, settings: dict[int, Setting], *, rounds: int, done: Callable[[], None] = lambda: None
) -> list[Curve]:
    """A curve for each subject, all points interleaved. `done` is called after every round.

    Args:
        factor: what `settings` are over.
        settings: by value of the factor, as from `settings_over`.
        rounds: of the interleaved timing.
    """
    actions, device = {}, next(iter(settings.values())).device
    for value, setting in settings.items():
        x = setting.input()
        for subject in growth_subjects(setting):
            actions[subject.name, value] = subject.passes(setting, x)[1]
    times = interleaved(actions, device, rounds=rounds, done=done)
    found: dict[str, list[Point]] = {}
    for (name, value), both in times.items():
        setting = settings[value]
        per_pixel = 1e6 * both.median / setting.pixels
        found.setdefault(name, []).append(Point(value=value, setting=setting, both=both, ns_per_pixel=per_pixel))
    return [curve(factor, name, points) for name, points in found.items()]


def curve(factor: str, name: str, points: Sequence[Point]) -> Curve:
    """The points, and the numbers that sum them up."""
    size = factor == "size"
    times = [point.ns_per_pixel if size else point.both.median for point in points]
    return Curve(
        factor=factor,
        name=name,
        points=list(points),
        exponent=exponent([point.value for point in points], times),
        spread=max(times) / min(times) if size else None,
    )


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float | None:
    """p of the power law c · size^p that fits best: the slope of log time over log size, by least squares.

    None where there are not two sizes.
    """
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(times), deg=1)[0])


def _around(batch: int) -> list[int]:
    return sorted({max(1, batch // 4), max(1, batch // 2), batch, 2 * batch})


def _fits(channels: int, heads: int) -> bool:
    return channels % heads == 0 and channels // heads >= LEAST_HEAD_DIM


def parts(setting: Setting, *, rounds: int) -> Iterator[Part]:
    """One part for each factor."""
    for factor in FACTORS:
        measure = partial(measure_growth, factor, settings_over(factor, setting), rounds=rounds)
        yield Part("growth", f"growth over {factor}", rounds + 1, measure, show)


def show(curves: Sequence[Row]) -> str:
    """Time over the values of one factor."""
    factor, size = curves[0]["factor"], curves[0]["factor"] == "size"
    last = ("max / min",) if size else ("exponent",)
    lines = [("layer", *(str(point["value"]) for point in curves[0]["points"]), *last)]
    for curve in curves:
        shown = curve["spread"] if size else curve["exponent"]
        times = (point["ns_per_pixel"] if size else point["both"]["median"] for point in curve["points"])
        lines.append((curve["name"], *map(number, times), "" if shown is None else f"{shown:z.2f}"))
    what = "ns a pixel" if size else "ms"
    return f"Growth over {factor.replace('_', ' ')}: forward and backward in {what}.\n\n" + columns(lines)
