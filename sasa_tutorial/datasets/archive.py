"""A published archive of data, and the hashes that say which bytes are right."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sasa_tutorial.errors import TutorialError
from sasa_tutorial.files import read_checked
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
    """A `.tar.gz` with one folder of files. Hashes are written "sha256:…" or "md5:…"."""

    name: str  # in commands: cifar100
    title: str  # in messages: CIFAR-100
    url: str  # the official address; its last part is the file name
    hash: str  # of the archive, as published by its authors
    folder: str  # the folder inside the archive, and below the data root
    files: Mapping[str, str]  # name of a wanted file in the folder: its hash
    mirrors: tuple[str, ...] = ()  # other addresses of the same bytes, tried after the official one

    @property
    def filename(self) -> str:
        """The name of the archive itself, below the data root."""
        return self.url.rpartition("/")[2]

    @property
    def variable(self) -> str:
        """The environment variable with addresses to try before these."""
        return f"SASA_{self.name.upper()}_URL"

    def root(self, root: Path | str | None) -> Path:
        """The data root: the argument, else `$SASA_DATA`, else `data/`; for the archive's own folder the one above."""
        path = data_root() if root is None else Path.cwd() / Path(root).expanduser()
        return path.parent if path.name == self.folder else path

    def read(self, root: Path | str | None, name: str) -> bytes:
        """The bytes of one file, read once and checked: whoever uses them uses exactly what was checked.

        Raises:
            DatasetError: the file is missing, cannot be read, or has the wrong hash.
        """
        path = self.root(root) / self.folder / name
        content, problem = read_checked(path, self.files[name])
        if problem:
            raise DatasetError(f"{path} {problem}. Mend it with `{self.mending_command(root)}`.")
        return content

    def check(self, root: Path | str | None) -> list[FileFinding]:
        """One finding per file of the archive, in the order of `files`; a damaged file is a finding, not an error."""
        folder = self.root(root) / self.folder
        return [
            FileFinding(name=name, path=folder / name, problem=read_checked(folder / name, expected)[1])
            for name, expected in self.files.items()
        ]

    def mending_command(self, root: Path | str | None) -> str:
        """The command that downloads into `root`, ready to be pasted into a shell."""
        command = "sasa-tutorial data download" + ("" if self.name == "cifar100" else f" {self.name}")
        here = self.root(root)
        if here == self.root(None):  # where the command looks by itself
            return command
        return f"{command} --root {shlex.quote(str(here)) if os.name == 'posix' else subprocess.list2cmdline([here])}"
