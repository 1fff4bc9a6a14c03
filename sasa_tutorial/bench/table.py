"""The comparison of layers, measured and as a table."""

from collections.abc import Callable
from dataclasses import dataclass

from sasa_tutorial.bench.memory import peak_growth
from sasa_tutorial.bench.subjects import Setting, subjects
from sasa_tutorial.bench.timing import Times, measure_times

HEADER = ("layer", "forward, ms", "both, ms", "quartiles", "of 3x3", "of 7x7", "peak, MB", "of unfold", "of q k v out")


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """One subject at one setting."""

    name: str
    setting: Setting
    forward: Times
    both: Times  # forward and backward
    peak_bytes: int | None


def measure_layers(setting: Setting, *, rounds: int = 7, done: Callable[[], None] = lambda: None) -> list[LayerResult]:
    """Time and memory of every subject. `done` is called after every round and every measurement of memory."""
    chosen = subjects(setting.device)
    times = measure_times(chosen, setting, rounds=rounds, done=done)
    results = []
    for name in chosen:
        forward, both = times[name]
        peak = peak_growth(name, setting)
        results.append(LayerResult(name=name, setting=setting, forward=forward, both=both, peak_bytes=peak))
        done()
    return results


def table(results: list[LayerResult]) -> str:
    """For reading in a terminal: times, and ratios within this one run."""
    by_name = {result.name: result for result in results}
    narrow, wide = by_name["convolution 3x3"], by_name["convolution 7x7"]
    unfold = by_name["attention, unfold"]
    rows = [HEADER]
    for result in results:
        both, peak = result.both, result.peak_bytes
        of_unfold = peak and unfold.peak_bytes and f"1/{unfold.peak_bytes / peak:.1f}"
        rows.append(
            (
                result.name,
                f"{result.forward.median:.1f}",
                f"{both.median:.1f}",
                f"{both.low:.1f} to {both.high:.1f}",
                f"{both.median / narrow.both.median:.2f}",
                f"{both.median / wide.both.median:.2f}",
                "unknown" if peak is None else f"{peak / 1e6:.0f}",
                of_unfold or "",
                "" if peak is None else f"{peak / result.setting.layer_bytes:.1f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
