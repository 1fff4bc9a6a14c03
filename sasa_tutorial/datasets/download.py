"""Fetching an archive from the first address that gives the right one, and going on where an earlier try ended.

pooch compares the hash and unpacks; here is what it leaves open: several addresses, reasons in one line, and files that
take their places whole. The bytes come through `transfer.py`.
"""

import errno
import gzip
import os
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sasa_tutorial.datasets import transfer
from sasa_tutorial.datasets.archive import Archive, DatasetError
from sasa_tutorial.files import Held, locked, read_checked

if TYPE_CHECKING:
    import tqdm


def download(
    archive: Archive,
    root: Path | str | None = None,
    *,
    mirrors: str | Sequence[str] | None = None,
    progress: bool = True,
) -> Path:
    """Put the files of an archive into `root`; returns at once when they are there and right.

    The archive stays in `root`, so that damage can be mended without the network; delete it when you like. One placed
    there by hand serves as well. Damaged files are replaced, right ones and strangers in the folder left alone. What
    has arrived when the line breaks, or the process ends, is kept as `….partial`, and the next call goes on from there.
    One process downloads at a time; others wait for it.

    Args:
        archive: what to fetch, and its hashes.
        root: the folder that gets the archive's folder; None: `$SASA_DATA`, else `data/`.
        mirrors: addresses to try before the archive's own; None: those in its variable. One string may hold several,
            separated by white space.
        progress: show a progress bar, with the time left.

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
        with _one_at_a_time(base / f"{archive.filename}.lock", archive.title):
            packed = _fetched(archive, base / archive.filename, _addresses(archive, mirrors), progress, command)
        _unpack(archive, packed, folder.resolve(), wrong)  # resolved: a symbolic link to another disk stays one
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        cure = "Free some space (360 MB are needed)" if full else "Mend that"
        raise DatasetError(
            f"{archive.title} could not be put into {base}: {error}. No file there is half-written. "
            f"{cure} or name another folder in SASA_DATA, then run `{command}`."
        ) from error
    return folder


def _addresses(archive: Archive, mirrors: str | Sequence[str] | None) -> list[str]:
    if mirrors is None:
        mirrors = os.environ.get(archive.variable, "")
    named = mirrors.split() if isinstance(mirrors, str) else mirrors
    return list(dict.fromkeys([*named, archive.url, *archive.mirrors]))


@contextmanager
def _one_at_a_time(lock: Path, title: str) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(lock, wait=False))
        except Held:
            print(f"another process is downloading {title}; this one waits for it", file=sys.stderr)
            held.enter_context(locked(lock))
        yield


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
    if packed.exists():
        if pooch.hashes.hash_matches(packed, archive.hash):
            return packed
        failures.append(f"{packed}: expected {archive.hash}, found {pooch.file_hash(packed, archive.hash[:3])}")
    # Slow addresses come to a second turn, after all others, and then may take their time.
    waiting = [(address, True) for address in addresses]
    while waiting:
        address, first_turn = waiting.pop(0)
        impatient = first_turn and bool(waiting)
        # The bar goes when it is done: one of an address that refused would stay empty on the screen.
        with tqdm(unit="B", unit_scale=True, desc=packed.name, leave=False, disable=not progress) as bar:
            try:
                _fetch(archive, address, packed, bar, impatient)
            except transfer.TooSlow as slow:
                if progress:
                    bar.write(f"{address}: {slow}, slow: another address is tried", file=sys.stderr)
                waiting.append((address, False))
            except (requests.RequestException, ValueError) as error:  # another OSError is the disk's, not the server's
                failures.append(f"{address}: {_why(error)}")
            else:
                return packed
    raise DatasetError(
        "\n  ".join([f"{archive.title} could not be downloaded.", *failures])
        + f"\nName an address that can be reached in {archive.variable}, or place {archive.filename} "
        f"({archive.hash}) at {packed}, then run `{command}`. Behind a proxy, set HTTPS_PROXY."
    )


def _fetch(archive: Archive, address: str, packed: Path, bar: "tqdm.tqdm", impatient: bool) -> None:
    """The archive from one address: again after a break, as long as each try brings it further.

    Raises:
        requests.RequestException, ValueError: this address does not give the right bytes.
        TooSlow: as `Transfer` says.
    """
    import pooch
    import requests

    fetch = transfer.Transfer(packed.with_name(f"{packed.name}.partial"), bar, impatient=impatient)
    furthest = begun = fetch.have
    while True:
        try:
            pooch.retrieve(address, archive.hash, fname=packed.name, path=packed.parent, downloader=fetch)
        except requests.RequestException:
            if fetch.have <= furthest:
                raise
            furthest = fetch.have
        except ValueError:  # the hash; the file is gone
            if not begun:
                raise
            furthest = begun = 0  # its beginning may have been another's: once more, all of it from here
        else:
            packed.chmod(0o644)  # pooch's is closed to other users
            return


def _why(error: Exception) -> str:
    """One line out of what requests and pooch raise, whose own texts are longer."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {transfer.SILENCE:g} seconds"
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
