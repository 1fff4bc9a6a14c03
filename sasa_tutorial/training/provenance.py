"""Which code a run is of, for its record."""

import hashlib
import os
import subprocess
from pathlib import Path

import torch

from sasa_tutorial import paths


def commit() -> str | None:
    """The commit of the checkout, with a plus sign where the library has uncommitted changes; None where unknown.

    A copy of the files without their history, as in an image of a container, is told it in the variable SASA_COMMIT.
    """
    if told := os.environ.get("SASA_COMMIT"):
        return told
    root = paths.checkout()
    if root is None:
        return None
    try:
        name = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", "sasa_tutorial")
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+" if changed else "")


def library_fingerprint() -> str:
    """A hash of the code that decides a run's numbers: the same code, settings and machine give the same run."""
    digest = hashlib.sha256(torch.__version__.encode())
    for file in paths.source_files(
        "devices", "precision", "windows", "layers", "kernels", "models", "datasets", "training"
    ):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", os.fspath(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip()
