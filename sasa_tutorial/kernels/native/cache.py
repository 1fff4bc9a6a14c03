"""Where compiled libraries are kept: a folder that is this user's alone, because what lies in it is loaded and run."""

import atexit
import contextlib
import functools
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def private_folder() -> Path:
    """The first place that can be written and that nobody else can write; else a new folder for this process.

    Tried in turn: `$XDG_CACHE_HOME`, `~/.cache` (on Windows `%LOCALAPPDATA%`), the folder for temporary files.

    Raises:
        OSError: not even that one can be written.
    """
    for folder in _places():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if is_private(folder) and os.access(folder, os.W_OK):
                return folder
        except OSError:
            continue
    return _for_this_process()


def is_private(folder: Path) -> bool:
    """Whether nobody but this user, and the system's own, can put or replace a file in a folder.

    On Windows every place that is tried lies in the user's profile, and the system keeps others out of that.
    """
    if not hasattr(os, "getuid"):
        return True
    found = folder.lstat()  # a link could be made to lead elsewhere after this look
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return own and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not any(map(_replaceable, folder.parents))


def _replaceable(parent: Path) -> bool:
    """Whether anybody may rename what lies in a folder: it is open to all, without the bit that /tmp has."""
    mode = parent.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _places() -> Iterator[Path]:
    if named := os.environ.get("XDG_CACHE_HOME"):
        yield Path(named) / "sasa_tutorial"
    if named := os.environ.get("LOCALAPPDATA"):
        yield Path(named) / "sasa_tutorial"
    with contextlib.suppress(RuntimeError):  # no HOME, and a user without a name: a container that was given a number
        yield Path.home() / ".cache" / "sasa_tutorial"
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""  # the folder is everybody's, and the first comer owns it
    yield Path(tempfile.gettempdir()) / f"sasa_tutorial{user}"


@functools.cache
def _for_this_process() -> Path:
    folder, process = tempfile.mkdtemp(prefix="sasa_tutorial-"), os.getpid()

    def remove() -> None:
        if os.getpid() == process:  # a fork that ends leaves it to the others
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return Path(folder)
