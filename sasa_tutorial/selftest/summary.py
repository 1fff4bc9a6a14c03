"""The self-test in forty lines at most: failures first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST_LINES, MOST_COLUMNS = 40, 220
FAILURES_EACH, NOTES_EACH = 5, 4


def summary(reports: Mapping[str, Mapping[str, Any]], out: Path, seed: int) -> str:
    """A line a stage, its failures, what else to know, ratios, and what to commit."""
    order = sorted(reports.items(), key=lambda item: item[1]["verdict"] == "well")
    lines = []
    for stage, report in order:
        mark = "well  " if report["verdict"] == "well" else "FAILED"
        lines.append(f"{mark} {stage}, {report['seconds']:.0f} s: {report['headline']}")
        failures = report["failures"]
        lines += [f"         {failure}" for failure in failures[:FAILURES_EACH]]
        if len(failures) > FAILURES_EACH:
            lines.append(f"         and {len(failures) - FAILURES_EACH} more, in {stage}.txt")
    ratios = [line for report in reports.values() for line in ratio_lines(report["results"])]
    notes = [f"{stage}: {note}" for stage, report in order for note in report["notes"][:NOTES_EACH]]
    last = last_line(reports, out, seed)
    body = (lines + ratios + notes)[: MOST_LINES - 1]
    return "\n".join(line[:MOST_COLUMNS] for line in (*body, last))


def ratio_lines(results: list[Mapping[str, Any]]) -> list[str]:
    """Forward and backward time of attention against a 3x3 convolution, FlexAttention and the copy floor."""
    lines = []
    for setting, times in ((r["setting"], r["both"]) for r in results if r.get("kind") == "layers"):
        for name in ("local attention", "relative offsets"):
            others = {"3x3 convolution": "convolution 3x3", "FlexAttention": "attention, flex"}
            found = [
                f"{times[name] / times[other]:.2f} of {title}"
                for title, other in others.items()
                if name in times and other in times
            ]
            if found:
                lines.append(f"{name}, both passes {times[name]:.3f} ms: {', '.join(found)} ({brief(setting)})")
    for setting, ratios in ((r["setting"], r["of_floor"]) for r in results if r.get("kind") == "floor"):
        found = "; ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items())
        lines.append(f"multiples of the copy floor: {found} ({brief(setting)})")
    for setting, networks in ((r["setting"], r["networks"]) for r in results if r.get("kind") == "steps"):
        found = ", ".join(f"{name} {of['images_per_second']:.0f}" for name, of in networks.items())
        lines.append(f"images/s: {found} ({setting})")
    return lines


def brief(setting: str) -> str:
    """What differs between the settings of one self-test: heads and numbers."""
    return ", ".join(setting.split(", ")[-2:])


def last_line(reports: Mapping[str, Mapping[str, Any]], out: Path, seed: int) -> str:
    """What to commit."""
    committed = sum(r.get("committed", 0) for report in reports.values() for r in report["results"])
    if committed:
        return f"seed {seed}. Commit data/results/cifar100.jsonl ({committed} new records), then `make results`."
    if "grid" in reports:
        return f"seed {seed}. Nothing to commit: no run of the grid was finished into data/results."
    return f"seed {seed}. Nothing to commit: without --data nothing is trained; `bench --save` keeps times."
