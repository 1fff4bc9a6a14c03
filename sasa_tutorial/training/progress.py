"""What a person sees while a run goes on: a live bar on a terminal or in a notebook, lines everywhere."""

import os
import sys
from typing import Any

from sasa_tutorial.training.audience import in_notebook


def live_bar(total: int, description: str, *, enabled: bool = True) -> Any:
    """A tqdm bar over steps, shown where somebody may be looking.

    Logs get no bar: neither a redirected stderr nor a notebook that is executed headlessly (SASA_PROGRESS=off).
    """
    from tqdm.auto import tqdm

    watched = (sys.stderr.isatty() or in_notebook()) and os.environ.get("SASA_PROGRESS") != "off"
    return tqdm(total=total, desc=description, unit="step", leave=False, disable=not (enabled and watched))
