"""Files out of an archive and into their folder: all of them, checked, or none.

Everything is written in a temporary folder beside its final place and moved there by renames, each of which happens or
does not: a reader never sees half a file, and two processes may do this at once.
"""

import gzip
import hashlib
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from sasa_tutorial.datasets.archive import Archive, DatasetError


def temporary_folder(target: Path) -> tempfile.TemporaryDirectory:
    """A folder beside the target, on the same disk so that a rename leads from one to the other; it goes when left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(
        dir=target.parent, prefix=f"{target.name}-", suffix=".partial", ignore_cleanup_errors=True
    )


def unpack(archive: Archive, packed: Path, folder: Path, names: Sequence[str]) -> None:
    """Put the named files of the archive at `packed` into `folder`, once all of them are complete and right.

    Raises:
        DatasetError: the archive is cut, lacks a file, or gives other bytes than its hashes promise.
        OSError: the disk did not take them.
    """
    target = folder.resolve()  # a symbolic link to another disk stays one
    with temporary_folder(target) as temporary:
        fresh = Path(temporary) / "fresh"  # not the temporary folder itself: that one is closed to other users
        fresh.mkdir()
        _extract(archive, packed, names, fresh)
        aside = Path(temporary) / "aside"
        aside.mkdir()
        _move_into_place(fresh, target, names, aside)


def _extract(archive: Archive, packed: Path, names: Sequence[str], into: Path) -> None:
    """Write the named files; what else the archive holds is passed over, so no name in it ever becomes a path."""
    wanted = {f"{archive.folder}/{name}": name for name in names}
    try:
        with tarfile.open(packed, "r:gz") as tar:
            for member in tar:
                if not (member.isfile() and member.name in wanted):
                    continue
                name = wanted.pop(member.name)
                content = tar.extractfile(member).read()
                found = hashlib.sha256(content).hexdigest()
                if found != archive.sha256[name]:
                    raise DatasetError(
                        f"{packed} holds a wrong {member.name}: expected SHA-256 {archive.sha256[name]}, found {found}."
                    )
                (into / name).write_bytes(content)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DatasetError(f"{packed} is not a whole .tar.gz archive ({error}): delete it and try again.") from error
    if wanted:
        raise DatasetError(f"{packed} lacks {', '.join(wanted)}: delete it and try again.")


def _move_into_place(fresh: Path, target: Path, names: Sequence[str], aside: Path) -> None:
    """Make the fresh files those of the target; what is not a file in a file's place goes to `aside`."""
    if target.exists() and not target.is_dir():
        target.replace(aside / "target")
    try:
        fresh.replace(target)
    except OSError:
        if not target.is_dir():
            raise
        # The damaged folder, or the whole one of a process that was faster. File by file, so that right files and those
        # that are none of ours stay, and at no moment the folder is gone.
        for name in names:
            if (target / name).is_dir():
                (target / name).replace(aside / name)
            (fresh / name).replace(target / name)
