"""Fetching an archive from the first address that gives the right one; nothing half-written outlives a failure.

pooch fetches, compares the hash and unpacks; here is what it leaves open: several addresses, reasons in one line, and
files that take their places whole.
"""

import errno
import gzip
import os
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sasa_tutorial.datasets.archive import Archive, DatasetError
from sasa_tutorial.files import read_checked

if TYPE_CHECKING:
    import requests

_TIMEOUT = 30  # seconds without a byte before an address is given up


def download(
    archive: Archive,
    root: Path | str | None = None,
    *,
    mirrors: str | Sequence[str] | None = None,
    progress: bool = True,
) -> Path:
    """Put the files of an archive into `root`; returns at once when they are there and right.

    The archive stays in `root`, so that damage can be mended without the network; delete it when you like. One placed
    there by hand serves as well. Damaged files are replaced, right ones and strangers in the folder left alone.

    Args:
        archive: what to fetch, and its hashes.
        root: the folder that gets the archive's folder; None: `$SASA_DATA`, else `data/`.
        mirrors: addresses to try before the official one; None: those in the archive's variable. One string may hold
            several, separated by white space.
        progress: show a progress bar.

    Returns:
        The folder with the files.

    Raises:
        DatasetError: no address gave the right archive, or the disk did not take it.
    """
    base = archive.root(root)
    folder = base / archive.folder
    wrong = [finding.name for finding in archive.check(root) if not finding.ok]
    if not wrong:
        return folder
    command = archive.mending_command(root)
    try:
        packed = _fetched(archive, base / archive.filename, _addresses(archive, mirrors), progress, command)
        _unpack(archive, packed, folder.resolve(), wrong)  # resolved: a symbolic link to another disk stays one
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        cure = "Free some space (360 MB are needed)" if full else "Mend that"
        raise DatasetError(
            f"{archive.title} could not be put into {base}: {error}. Nothing half-written was left there. "
            f"{cure} or name another folder in SASA_DATA, then run `{command}`."
        ) from error
    return folder


def _addresses(archive: Archive, mirrors: str | Sequence[str] | None) -> list[str]:
    if mirrors is None:
        mirrors = os.environ.get(archive.variable, "")
    return list(dict.fromkeys([*(mirrors.split() if isinstance(mirrors, str) else mirrors), archive.url]))


def _fetched(archive: Archive, packed: Path, addresses: list[str], progress: bool, command: str) -> Path:
    """The archive at `packed`, from there or from the first address that gives the right bytes."""
    try:
        import pooch
        import requests
        from tqdm.auto import tqdm
    except ImportError as error:  # imported here, because those whose data is already there do without
        raise DatasetError(
            f"Downloading needs the package {error.name}: install it, or place {archive.filename} at {packed}."
        ) from error
    pooch.get_logger().setLevel("WARNING")
    failures = []
    if packed.exists() and not pooch.hashes.hash_matches(packed, archive.hash):
        failures.append(f"{packed}: expected {archive.hash}, found {pooch.file_hash(packed, archive.hash[:3])}")
    for address in addresses:
        # The bar goes when it is done: one of an address that refused would stay empty on the screen. Its total is what
        # the server will say: pooch puts it in, but cannot use a bar without any.
        bar = tqdm(total=1, unit="B", unit_scale=True, desc=archive.filename, leave=False, disable=not progress)
        fetch = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=1 << 16,
            timeout=_TIMEOUT,
            headers={"Accept-Encoding": "identity"},
            hooks={"response": _keep_packed},
        )
        try:
            with bar:
                pooch.retrieve(address, archive.hash, fname=packed.name, path=packed.parent, downloader=fetch)
            packed.chmod(0o644)  # pooch's is closed to other users
            return packed
        except (requests.RequestException, ValueError) as error:  # another OSError is the disk's, not the server's
            failures.append(f"{address}: {_why(error)}")
    raise DatasetError(
        "\n  ".join([f"{archive.title} could not be downloaded.", *failures])
        + f"\nName an address that can be reached in {archive.variable}, or place {archive.filename} "
        f"({archive.hash}) at {packed}, then run `{command}`."
    )


def _keep_packed(response: "requests.Response", **settings: object) -> None:
    """Keep requests from unpacking on arrival what a server labels as compressed: here that is the archive itself."""
    response.raw.headers.pop("Content-Encoding", None)


def _why(error: Exception) -> str:
    """One line out of what requests and pooch raise, whose own texts are longer."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {_TIMEOUT} seconds"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke before the file was complete"
    if isinstance(error, requests.ConnectionError):
        cause = error.args[0] if error.args else error
        return f"no connection: {str(getattr(cause, 'reason', cause)).rpartition(': ')[2]}"
    return str(error).partition(". Deleted")[0]


def _unpack(archive: Archive, packed: Path, target: Path, names: Sequence[str]) -> None:
    """Put the named files into the folder `target`, each by one rename, once all of them are complete and right.

    A reader never sees half a file, and several processes may do this at once.
    """
    from pooch import Untar

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=target.parent, prefix=f"{target.name}-", suffix=".partial", ignore_cleanup_errors=True
    ) as temporary:
        try:
            Untar([f"{archive.folder}/{name}" for name in names], extract_dir=temporary)(str(packed), "download", None)
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DatasetError(
                f"{packed} is not a whole .tar.gz archive ({error}): delete it and try again."
            ) from error
        for name in names:
            problem = read_checked(Path(temporary) / archive.folder / name, archive.files[name])[1]
            if problem:
                raise DatasetError(f"{archive.folder}/{name} in {packed} {problem}: delete the archive and try again.")
        if target.exists() and not target.is_dir():
            target.replace(Path(temporary) / "aside")
        target.mkdir(exist_ok=True)
        for name in names:
            if (target / name).is_dir():
                (target / name).replace(Path(temporary) / f"{name}-aside")
            fresh = Path(temporary) / archive.folder / name
            fresh.chmod(0o644)
            fresh.replace(target / name)
