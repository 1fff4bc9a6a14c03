"""What a section of a benchmark is made of: parts, each measured and shown in one go."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from sasa_tutorial.errors import TutorialError

Row = Mapping[str, Any]  # a result as a document stores it


@dataclass(frozen=True)
class Part:
    """What is measured, and shown, in one go."""

    section: str  # of the document
    title: str
    steps: int  # how often `done` is called
    measure: Callable[..., Any]  # done= -> a result or a list of them
    show: Callable[[Any], str]  # what is stored -> text

    def run(self, document: dict[str, Any], done: Callable[[], None]) -> str:
        """Measure, store it in the document, return it as text.

        Raises:
            TutorialError: the GPU has too little memory for it.
        """
        try:
            results = self.measure(done=done)
        except torch.OutOfMemoryError as error:
            raise TutorialError(
                f"too little memory on the GPU for {self.title}: take fewer images (--batch), or other parts (--only)"
            ) from error
        if isinstance(results, list):
            stored = [asdict(result) for result in results]
            document[self.section] += stored
        else:
            stored = document[self.section] = asdict(results)
        return self.show(stored)


def number(value: float) -> str:
    """Three digits or more, and never an exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def quartiles(times: Row) -> str:
    """Of times as they are stored."""
    return f"{number(times['low'])} to {number(times['high'])}"


def described(setting: Row) -> str:
    """A setting of layers as it is stored, in words."""
    return (
        f"batch {setting['batch']}, {setting['channels']} channels, {setting['size']} x {setting['size']} pixels, "
        f"k {setting['kernel_size']}, {setting['heads']} heads, {setting['dtype']}"
    )


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Names on the left, numbers aligned on the right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )
