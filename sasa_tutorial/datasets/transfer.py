"""How a file comes over an unreliable line: on from where it broke off, and not by the slowest way there is.

pooch asks a downloader for a file and compares the hash of what it gets. This one keeps what has arrived beside the
archive, so that a break, a kill or another day costs nothing that was fetched. Which address the first bytes came from
does not matter: all of them serve the same archive, and the hash decides.
"""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests
    import tqdm

SILENCE = 30.0  # seconds without a byte before an address is given up
SLOW = 200_000.0  # bytes a second below which another address is tried first: 169 MB take a quarter of an hour so
TRIAL = 20.0  # seconds before that is judged
CHUNK = 1 << 13  # bytes; small, so that a trickle is noticed, and because a break loses the one on its way


class TooSlow(Exception):
    """An address delivers, but so slowly that another one should have a try."""


class Transfer:
    """A downloader for `pooch.retrieve`.

    Args:
        partial: the file that keeps what has arrived, in the folder of the file to be.
        bar: shows bytes, rate and the time left.
        impatient: whether there is another address to try, so that a slow one is given up.
    """

    def __init__(self, partial: Path, bar: "tqdm.tqdm", *, impatient: bool) -> None:
        self.partial, self.bar, self.impatient = partial, bar, impatient

    @property
    def have(self) -> int:
        """How many bytes have arrived, in this process or an earlier one."""
        return self.partial.stat().st_size if self.partial.exists() else 0

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Fetch what is missing, then let the file take the place that pooch has chosen for it.

        Raises:
            requests.RequestException: no connection, a refusal, or a break; what has arrived stays.
            TooSlow: it should not wait for this address yet.
        """
        import requests

        have = self.have
        # Compressing an archive once more would make offsets mean something else.
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        with requests.get(url, headers=headers, stream=True, timeout=SILENCE) as response:
            response.raw.headers.pop("Content-Encoding", None)  # some label the archive itself: it stays packed
            beyond = response.status_code == requests.codes.range_not_satisfiable
            if not beyond:
                response.raise_for_status()
            length = _length(response)
            if have and (length < have if length else beyond):  # what is here was the beginning of something else
                self.partial.unlink()
                return self(url, output_file, _pooch)
            if not beyond:
                # Servers that know no ranges begin at the beginning.
                self._append(response, skip=0 if _goes_on_at(response, have) else have)
        self.partial.replace(output_file)

    def _append(self, response: "requests.Response", skip: int) -> None:
        """Add what comes, without its first `skip` bytes: they are here."""
        began, received, start = time.monotonic(), 0, 0 if skip else self.have
        self.bar.reset(total=_length(response) or None)
        self.bar.initial = start  # the time left follows from what comes now
        self.bar.update(start)
        with self.partial.open("ab") as file:
            for chunk in response.iter_content(CHUNK):
                file.write(chunk[max(0, skip - received) :])
                received += len(chunk)
                self.bar.update(len(chunk))
                waited = time.monotonic() - began
                if self.impatient and waited > TRIAL and received < SLOW * waited:
                    raise TooSlow(f"{received / waited / 1000:,.0f} kB/s")


def _goes_on_at(response: "requests.Response", have: int) -> bool:
    """Whether the answer is the rest of the file; servers that know no ranges begin at its beginning."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status_code == 206 and found is not None and int(found[1]) == have


def _length(response: "requests.Response") -> int:
    """Bytes of the whole file, 0 where the server does not say."""
    found = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    if found:
        return int(found[1])
    return int(response.headers.get("Content-Length", 0)) if response.status_code == 200 else 0
