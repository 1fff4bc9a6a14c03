"""Saving a run so that nothing short of a broken disk loses it, and loading it without trusting it."""

from pathlib import Path
from typing import Any

import torch

from sasa_tutorial.errors import TutorialError
from sasa_tutorial.files import written_whole
from sasa_tutorial.training.audience import option

FORMAT = 1


class CheckpointError(TutorialError):
    """A checkpoint that cannot be used: which, why, and what to do."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path`, all of it or nothing: the old file stays until the new one is on the disk.

    Raises:
        CheckpointError: it could not be written (a full disk, no permission); the old file is untouched.
    """
    try:
        with written_whole(path) as file:
            torch.save({"format": FORMAT, **state}, file)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        kept = "the one before is kept" if path.exists() else "there is none before it"
        raise CheckpointError(
            f"{path} could not be written ({error}); {kept}. Make room, then {option('resume')}."
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU. Tensors and plain values only: no code in the file can run.

    Raises:
        CheckpointError: the file is damaged, or from another version of this library.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever the part of torch that met the damage raises
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({type(error).__name__}). Delete it, or begin again with "
            f"{option('fresh')}."
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(
            f"{path} has checkpoint format {found}, this version reads {FORMAT}. Begin again with {option('fresh')}."
        )
    return state
