"""Files: written whole or not at all, read with their hash, and locked between processes."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` once the block has ended and all of it is on the disk.

    After an error, or a kill, the old file is what it was.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file, all of it or nothing; text as UTF-8."""
    with written_whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def read_checked(path: Path, expected: str) -> tuple[bytes, str]:
    """The file's bytes and an empty string, or no bytes and what is wrong, as the end of a sentence about the path.

    Read once, so that whoever uses the bytes uses exactly what was checked.

    Args:
        path: the file.
        expected: its hash as "sha256:…" or "md5:…".
    """
    try:
        if not path.exists():
            parent = path.parent
            if parent.is_dir():
                return b"", "is missing"
            return b"", f"is missing: its folder is {'a file, expected a folder' if parent.exists() else 'missing too'}"
        if not path.is_file():
            return b"", f"is {'a folder' if path.is_dir() else 'no regular file'}, expected a file"
        content = path.read_bytes()
    except OSError as error:
        return b"", f"cannot be read ({error.strerror or error})"
    kind, _, digest = expected.partition(":")
    found = hashlib.new(kind, content, usedforsecurity=kind != "md5").hexdigest()
    if found != digest:
        name = {"sha256": "SHA-256"}.get(kind, kind.upper())
        return b"", f"is damaged: expected {name} {digest}, found {found} ({len(content):,} bytes)"
    return content, ""


class Held(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock that only one process can hold; the file stays and means nothing.

    The system releases it however the process ends, a kill included. Processes forked meanwhile, to decode images, do
    not hold it: filelock closes it in them, from version 3.32 on.

    Args:
        path: the file of the lock.
        wait: for whoever holds it.

    Raises:
        Held: somebody does, and `wait` is false.
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout as error:
        raise Held(os.fspath(path)) from error
    try:
        yield
    finally:
        lock.release()
