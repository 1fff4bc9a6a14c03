"""Fetching CIFAR-100 from the first address that gives the right archive; nothing half-written outlives a failure."""

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sasa_tutorial.datasets.archive import CIFAR100_ARCHIVE, Archive, DatasetError, mending_command, resolve_root
from sasa_tutorial.datasets.unpack import temporary_folder, unpack

if TYPE_CHECKING:
    import requests

_TIMEOUT = 30  # seconds without a byte before an address is given up


def download_cifar100(
    root: Path | str | None = None,
    *,
    mirrors: str | Sequence[str] | None = None,
    progress: bool = True,
    archive: Archive = CIFAR100_ARCHIVE,
) -> Path:
    """Put CIFAR-100 (169 MB to fetch, 186 MB unpacked) into `root`; returns at once when it is there and right.

    The archive stays in `root`, so that damage can be mended without the network; delete it when you like. One placed
    there by hand serves as well. Damaged files are replaced, right ones and strangers in the folder left alone.

    Args:
        root: the folder that gets `cifar-100-python/`; None: `$SASA_DATA`, else `data/`.
        mirrors: addresses to try before the official one; None: those in `$SASA_CIFAR100_URL`. One string may hold
            several, separated by white space.
        progress: show a progress bar.
        archive: what to fetch, and its hashes.

    Returns:
        The folder with the files.

    Raises:
        DatasetError: no address gave the right archive, or the disk did not take it.
    """
    base = resolve_root(root)
    folder = base / archive.folder
    wrong = [finding.name for finding in archive.check(base) if not finding.ok]
    if not wrong:
        return folder
    try:
        packed = base / archive.filename
        if _md5(packed) != archive.md5:
            _fetch(archive, packed, _addresses(archive, mirrors), progress=progress, command=mending_command(root))
        unpack(archive, packed, folder, wrong)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        cure = "Free some space (360 MB are needed)" if full else "Mend that"
        raise DatasetError(
            f"CIFAR-100 could not be put into {base}: {error}. Nothing half-written was left there. "
            f"{cure} or name another folder in SASA_DATA, then run `{mending_command(root)}`."
        ) from error
    return folder


def _addresses(archive: Archive, mirrors: str | Sequence[str] | None) -> list[str]:
    if mirrors is None:
        mirrors = os.environ.get("SASA_CIFAR100_URL", "")
    return list(dict.fromkeys([*(mirrors.split() if isinstance(mirrors, str) else mirrors), archive.url]))


def _md5(path: Path) -> str | None:
    """The file's MD5, None where there is no file. Against accidents only: the files inside are checked by SHA-256."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch(archive: Archive, packed: Path, addresses: list[str], *, progress: bool, command: str) -> None:
    """Download the archive to `packed` from the first address that gives the right bytes."""
    try:
        import pooch
        import requests
        from tqdm.auto import tqdm
    except ImportError as error:  # imported here, because those whose data is already there do without
        raise DatasetError(
            f"Downloading needs the package {error.name}: install it, or place {archive.filename} at {packed}."
        ) from error
    failures = []
    if packed.exists():
        failures.append(f"{packed}: expected MD5 {archive.md5}, found {_md5(packed)}")
    with temporary_folder(packed) as temporary:
        arriving = Path(temporary) / archive.filename
        for address in addresses:
            # The bar goes when it is done: one of an address that refused would stay empty on the screen.
            bar = tqdm(
                total=archive.size, unit="B", unit_scale=True, desc=archive.filename, leave=False, disable=not progress
            )
            fetch = pooch.HTTPDownloader(
                progressbar=bar,
                chunk_size=1 << 16,
                timeout=_TIMEOUT,
                headers={"Accept-Encoding": "identity"},
                hooks={"response": _keep_packed},
            )
            try:
                with bar:
                    fetch(address, str(arriving), None)
            except (requests.RequestException, ValueError) as error:  # another OSError is the disk's, not the server's
                failures.append(f"{address}: {_why(error)}")
                continue
            found = _md5(arriving)
            if found == archive.md5:
                arriving.replace(packed)
                return
            failures.append(f"{address}: expected MD5 {archive.md5}, got {found} ({arriving.stat().st_size:,} bytes)")
    raise DatasetError(
        "\n  ".join(["CIFAR-100 could not be downloaded.", *failures])
        + f"\nName an address that can be reached in SASA_CIFAR100_URL, or place {archive.filename} "
        f"(MD5 {archive.md5}) at {packed}, then run `{command}`."
    )


def _keep_packed(response: "requests.Response", **settings: object) -> None:
    """Keep requests from unpacking on arrival what a server labels as compressed: here that is the archive itself."""
    response.raw.headers.pop("Content-Encoding", None)


def _why(error: Exception) -> str:
    """One line out of what requests raises, whose own text is a nest of the exceptions below it."""
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
    return str(error)
