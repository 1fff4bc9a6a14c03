"""A published archive of data, its hashes, and the files it gives: the one place that says which bytes are right."""

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sasa_tutorial.errors import TutorialError
from sasa_tutorial.paths import data_root


class DatasetError(TutorialError):
    """Data on the disk, or on its way there, is not what it should be.

    The message names the path or the URL, what was expected, what was found, and what mends it.
    """


@dataclass(frozen=True, kw_only=True)
class FileFinding:
    """What a check found out about one file."""

    name: str  # the file's name in the archive's folder
    path: Path  # where it was looked for
    problem: str  # what is wrong with it, empty when nothing is

    @property
    def ok(self) -> bool:
        """Whether the file is there and has the right bytes."""
        return not self.problem


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A `.tar.gz` with one folder of files, and the hashes by which the right ones are known."""

    url: str  # the official address; its last part is the file name
    md5: str  # of the archive, as published by its authors
    size: int  # of the archive, in bytes
    folder: str  # the folder inside the archive, and below the data root
    sha256: Mapping[str, str]  # name of a wanted file in the folder: its SHA-256

    @property
    def filename(self) -> str:
        """The name of the archive itself, below the data root."""
        return self.url.rpartition("/")[2]

    def read(self, root: Path | str | None, name: str) -> bytes:
        """The bytes of one file, read once and checked: whoever uses them uses exactly what was checked.

        Raises:
            DatasetError: the file is missing, cannot be read, or has the wrong SHA-256.
        """
        path = resolve_root(root) / self.folder / name
        content, problem = _read_checked(path, self.sha256[name])
        if problem:
            raise DatasetError(f"{path} {problem}. Mend it with `{mending_command(root)}`.")
        return content

    def check(self, root: Path | str | None) -> list[FileFinding]:
        """One finding per file of the archive, in the order of `sha256`; a damaged file is a finding, not an error."""
        folder = resolve_root(root) / self.folder
        return [
            FileFinding(name=name, path=folder / name, problem=_read_checked(folder / name, expected)[1])
            for name, expected in self.sha256.items()
        ]


CIFAR100_ARCHIVE = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    size=169_001_437,
    folder="cifar-100-python",
    sha256=MappingProxyType(
        {
            "train": "735e79b04f092ca3d2e6d07f368c0a7d70d48c48d28865950cc24454cf45129b",
            "test": "4b67687d9933c4db8f0831104447f15b93774f4f464bd0516f0f0f2ac83b7864",
            "meta": "a5d4786345c961390f865e93b434dbd5c6904ce880667e0cb888c97d449f28b9",
        }
    ),
)


def resolve_root(root: Path | str | None) -> Path:
    """The data root: the argument, else `$SASA_DATA`, else `data/`."""
    return data_root() if root is None else Path(root)


def mending_command(root: Path | str | None) -> str:
    """The command that downloads into `root`, ready to be pasted into a shell."""
    command = "sasa-tutorial data download"
    # The command looks where the variable points, so a root given by hand has to travel with it.
    return command if resolve_root(root) == data_root() else f"SASA_DATA={shlex.quote(str(root))} {command}"


def _read_checked(path: Path, expected: str) -> tuple[bytes, str]:
    """The file's bytes and an empty string, or no bytes and what is wrong, as the end of a sentence about the path."""
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
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        return b"", f"is damaged: expected SHA-256 {expected}, found {found} ({len(content):,} bytes)"
    return content, ""
