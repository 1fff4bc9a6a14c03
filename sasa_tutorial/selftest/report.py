"""The report of a stage, on the disk after every line: whoever kills the stage loses nothing of it."""

import json
from pathlib import Path
from typing import Any

from sasa_tutorial.files import write_whole


class Report:
    """STAGE.txt for people, STAGE.json for programs.

    The JSON object has `stage`, `verdict` ("well" or "failed"; null until the stage has ended), `headline` (one
    sentence), `failures` (a sentence each), `notes` (what somebody should know although it is no failure) and
    `results`, a list of objects.
    """

    def __init__(self, stage: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._text = (folder / f"{stage}.txt").open("w", encoding="utf-8")
        self._json = folder / f"{stage}.json"
        self.found: dict[str, Any] = {"stage": stage, "verdict": None, "headline": "", "failures": [], "notes": []}
        self.found["results"] = []
        self._write()

    def line(self, text: str) -> None:
        """A line for people."""
        self._text.write(text + "\n")
        self._text.flush()

    def result(self, **values: Any) -> None:
        """An object for programs."""
        self.found["results"].append(values)
        self._write()

    def note(self, text: str) -> None:
        """What is no failure, and belongs into the summary."""
        self.found["notes"].append(text)
        self.line(text)
        self._write()

    def failure(self, text: str) -> None:
        """What was not well; the stage goes on."""
        self.found["failures"].append(text)
        self.line(f"FAILED {text}")
        self._write()

    def end(self, headline: str) -> None:
        """The verdict: well without a failure."""
        self.found |= {"verdict": "failed" if self.found["failures"] else "well", "headline": headline}
        self.line(f"{self.found['verdict']}: {headline}")
        self._write()

    def _write(self) -> None:
        write_whole(self._json, json.dumps(self.found, indent=1, ensure_ascii=False) + "\n")


def read_report(stage: str, folder: Path) -> dict[str, Any]:
    """What a stage has written, or an empty dictionary."""
    file = folder / f"{stage}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def one_line(error: BaseException) -> str:
    """What was raised, as the end of a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
