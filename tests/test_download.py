"""Downloading CIFAR-100: from a server of our own that cuts, lies and stalls; all of it arrives, or nothing stays."""

import contextlib
import dataclasses
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sasa_tutorial.datasets import DatasetError, check_cifar100, download_cifar100, load_cifar100
from tests.fake_cifar100 import FOLDER, describe, official_files, pack, write

FILES = official_files()
PACKED = pack(FILES)
FILENAME = "cifar-100-python.tar.gz"


class Server:
    """An HTTP server on this machine: a path answers with what `serve` gave it, everything else with 404."""

    def __init__(self):
        self.answers, self.requests, self.ranges = {}, [], []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler):
                self.requests.append(handler.path)
                self.ranges.append(handler.headers.get("Range"))
                if handler.path in self.answers:
                    self.answers[handler.path](handler)
                else:
                    handler.send_error(404)

            def log_message(handler, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}{path}"

    def serve(
        self,
        path: str,
        content: bytes = PACKED,
        *,
        upto=None,
        length=True,
        headers=(),
        before=None,
        halfway=None,
        ranges=False,
    ) -> str:
        """Answer with the content, or with its first bytes only; call something before and halfway. The URL.

        With `ranges` it begins where it is asked to, and `upto` counts from there.
        """

        def answer(handler):
            if before:
                before()
            asked = handler.headers.get("Range") if ranges else None
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            if asked and start >= len(content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(content)}")
                handler.end_headers()
                return
            handler.send_response(206 if asked else 200)
            if asked:
                handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if length:
                handler.send_header("Content-Length", str(len(content) - start))
            for header in headers:
                handler.send_header(*header)
            handler.end_headers()
            sent = content[start:][:upto]
            handler.wfile.write(sent[: len(sent) // 2])
            if halfway:
                halfway()
            with contextlib.suppress(ConnectionError):
                handler.wfile.write(sent[len(sent) // 2 :])

        self.answers[path] = answer
        return self.url(path)

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def archive(server):
    """The fake archive; its official address answers 404 until a test serves it."""
    return describe(FILES, PACKED, server.url(f"/official/{FILENAME}"))


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch):
    for name in ("SASA_DATA", "SASA_CIFAR100_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sasa_tutorial.datasets.transfer.CHUNK", 1)  # the archive here is small


def tree(root: Path) -> dict[str, bytes | None]:
    """Everything below the root but locks, which mean nothing: bytes of files, None for folders."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if path.suffix != ".lock"
    }


COMPLETE = {FOLDER: None, **{f"{FOLDER}/{name}": content for name, content in FILES.items()}}
PARTIAL = f"{FILENAME}.partial"
COMPLETE_WITH_ARCHIVE = {**COMPLETE, FILENAME: PACKED}


# All of it arrives --------------------------------------------------------------------------------------------------


def test_download_unpacks_the_wanted_files_and_no_others(server, archive, tmp_path):
    server.serve(f"/official/{FILENAME}")
    assert download_cifar100(tmp_path, archive=archive) == tmp_path / FOLDER
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE  # neither file.txt~ nor ../../escaped
    assert all(finding.ok for finding in check_cifar100(tmp_path, archive=archive))


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_other_users_may_read_what_was_downloaded(server, archive, tmp_path):
    server.serve(f"/official/{FILENAME}")
    before = os.umask(0o022)
    try:
        download_cifar100(tmp_path, archive=archive)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.suffix != ".lock"}
    assert modes == {FOLDER: 0o755, FILENAME: 0o644, "train": 0o644, "test": 0o644, "meta": 0o644}


def test_loading_downloads_when_asked(server, archive, tmp_path):
    server.serve(f"/official/{FILENAME}")
    assert len(load_cifar100(tmp_path / "new" / "root", split="test", download=True, archive=archive)) == 30


def test_complete_data_needs_neither_network_nor_archive(server, archive, tmp_path):
    write(tmp_path, FILES)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert download_cifar100(tmp_path, archive=archive) == tmp_path / FOLDER
    assert server.requests == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times


def test_an_archive_placed_by_hand_needs_no_network(server, archive, tmp_path):
    (tmp_path / FILENAME).write_bytes(PACKED)
    download_cifar100(tmp_path, archive=archive)
    assert server.requests == []
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


def test_a_cut_archive_placed_by_hand_is_replaced(server, archive, tmp_path):
    (tmp_path / FILENAME).write_bytes(PACKED[:-100])
    with pytest.raises(DatasetError, match=f"{FILENAME}: expected {archive.hash}, found"):
        download_cifar100(tmp_path, archive=archive)
    assert tree(tmp_path) == {FILENAME: PACKED[:-100]}, "it is the reader's, and nothing better came"
    server.serve(f"/official/{FILENAME}")
    download_cifar100(tmp_path, archive=archive)
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


# Which address ------------------------------------------------------------------------------------------------------


def test_addresses_are_tried_in_turn_the_official_one_last(server, archive, tmp_path, monkeypatch):
    monkeypatch.setenv("SASA_CIFAR100_URL", f" {server.url('/a')}\n{server.url('/b')}\t")
    with pytest.raises(DatasetError):
        download_cifar100(tmp_path, archive=archive)
    assert server.requests == ["/a", "/b", f"/official/{FILENAME}"]
    server.requests.clear()
    server.serve("/d")
    download_cifar100(tmp_path, mirrors=[server.url("/c"), server.url("/d")], archive=archive)
    assert server.requests == ["/c", "/d"], "the argument comes instead of the variable"


def test_one_mirror_may_be_a_string(server, archive, tmp_path):
    download_cifar100(tmp_path, mirrors=server.serve("/mirror"), archive=archive)
    assert server.requests == ["/mirror"]


def test_a_mirror_with_wrong_bytes_is_passed_over(server, archive, tmp_path):
    wrong = server.serve("/wrong", pack({**FILES, "meta": b"another"}))
    cut = server.serve("/cut", upto=-100)
    cut_in_silence = server.serve("/silence", upto=-100, length=False)
    good = server.serve("/good")
    download_cifar100(tmp_path, mirrors=[wrong, cut, cut_in_silence, good], archive=archive)
    assert list(dict.fromkeys(server.requests)) == ["/wrong", "/cut", "/silence", "/good"]
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


def test_an_archive_that_a_server_labels_as_compressed_stays_one(server, archive, tmp_path):
    mirror = server.serve("/mirror", headers=[("Content-Encoding", "gzip")])
    download_cifar100(tmp_path, mirrors=mirror, archive=archive)
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


def test_failure_names_every_address_with_its_reason_and_keeps_what_came(server, archive, tmp_path):
    wrong, cut = server.serve("/wrong", b"<html>Please log in</html>"), server.serve("/cut", upto=1000)
    nobody = "http://127.0.0.1:9/nobody"
    with pytest.raises(DatasetError) as caught:
        download_cifar100(tmp_path, mirrors=[wrong, cut, nobody, "no-address"], archive=archive)
    message = str(caught.value)
    lines = [line.strip() for line in message.splitlines()]
    assert any(line.startswith(f"{wrong}: ") and f"expected {archive.hash} but got " in line for line in lines)
    assert f"{cut}: the connection broke before the file was complete" in lines
    assert any(line.startswith(f"{nobody}: no connection: ") and "refused" in line for line in lines)
    assert any(line.startswith("no-address: ") for line in lines)
    assert f"{archive.url}: the server answered 404 Not Found" in lines
    assert "SASA_CIFAR100_URL" in message
    assert f"place {FILENAME} ({archive.hash}) at {tmp_path / FILENAME}" in message
    assert f"`sasa-tutorial data download --root {tmp_path}`" in message and "HTTPS_PROXY" in message
    assert "object at 0x" not in message and "Max retries" not in message
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert tree(tmp_path) == {PARTIAL: PACKED[:1000]}


def test_a_mirror_that_stalls_is_given_up(server, archive, tmp_path, monkeypatch):
    monkeypatch.setattr("sasa_tutorial.datasets.transfer.SILENCE", 0.2)
    released = threading.Event()
    stalled = server.serve("/stalled", halfway=lambda: released.wait(10))
    silent = server.serve("/silent", before=lambda: released.wait(10))
    try:
        with pytest.raises(DatasetError, match=r"/stalled: no connection: Read timed out(?s:.*)/silent: no answer"):
            download_cifar100(tmp_path, mirrors=[stalled, silent], archive=archive)
    finally:
        released.set()
    assert tree(tmp_path) == {PARTIAL: PACKED[: len(PACKED) // 2]}


@pytest.mark.parametrize("package", ["pooch", "tqdm.auto"])
def test_a_missing_package_is_named(archive, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DatasetError, match=f"needs the package {package}: install it, or place {FILENAME} at"):
        download_cifar100(tmp_path, archive=archive)
    assert tree(tmp_path) == {}


def test_progress_is_shown_unless_unwanted(server, archive, tmp_path, capsys):
    server.serve(f"/official/{FILENAME}")
    download_cifar100(tmp_path / "silent", progress=False, archive=archive)
    assert capsys.readouterr() == ("", "")
    download_cifar100(tmp_path / "shown", archive=archive)
    shown = capsys.readouterr().err
    assert f"{FILENAME}: " in shown and "B/s" in shown


# On from where it broke off -----------------------------------------------------------------------------------------


def test_a_line_that_breaks_costs_nothing_that_has_come(server, archive, tmp_path):
    third = len(PACKED) // 3 + 1
    server.serve(f"/official/{FILENAME}", upto=third, ranges=True)
    download_cifar100(tmp_path, archive=archive)
    assert server.ranges == [None, f"bytes={third}-", f"bytes={2 * third}-"]
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


def test_another_process_goes_on_and_from_another_address(server, archive, tmp_path):
    (tmp_path / PARTIAL).write_bytes(PACKED[:3000])
    download_cifar100(tmp_path, mirrors=server.serve("/mirror", ranges=True), archive=archive)
    assert server.ranges == ["bytes=3000-"]
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


def test_a_server_without_ranges_sends_it_all_again(server, archive, tmp_path):
    (tmp_path / PARTIAL).write_bytes(PACKED[:3000])
    download_cifar100(tmp_path, mirrors=server.serve("/mirror"), archive=archive)
    assert server.requests == ["/mirror"]
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("begun", [b"another file", b"x" * (len(PACKED) + 1), PACKED])
def test_what_was_begun_may_be_wrong_or_all_there(server, archive, tmp_path, begun, ranges):
    (tmp_path / PARTIAL).write_bytes(begun)
    mirror = server.serve("/mirror", ranges=ranges)
    download_cifar100(tmp_path, mirrors=[mirror, mirror + "?again"], archive=archive)
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


def test_a_slow_address_waits_until_the_others_have_had_a_try(server, archive, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sasa_tutorial.datasets.transfer.TRIAL", 0)
    monkeypatch.setattr("sasa_tutorial.datasets.transfer.SLOW", float("inf"))  # whatever comes is slow
    download_cifar100(tmp_path, mirrors=server.serve("/slow", ranges=True), archive=archive)
    assert server.requests == ["/slow", f"/official/{FILENAME}", "/slow"]
    assert server.ranges == [None, "bytes=1-", "bytes=1-"]
    assert "/slow: " in capsys.readouterr().err
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


def test_the_official_address_comes_first_and_then_its_mirrors(server, archive, tmp_path):
    mirrored = dataclasses.replace(archive, mirrors=(server.serve("/known", ranges=True),))
    server.serve(f"/official/{FILENAME}", upto=1000)
    download_cifar100(tmp_path, archive=mirrored)
    assert list(dict.fromkeys(server.requests)) == [f"/official/{FILENAME}", "/known"]
    assert server.ranges[-1] == "bytes=1000-"
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


# Wrong archives -----------------------------------------------------------------------------------------------------


def broken_inside_a_file() -> bytes:
    """Compressed data that ends in a block of a type there is none of, long after the first header."""
    compress = zlib.compressobj(wbits=31)
    return compress.compress(gzip.decompress(PACKED)[:50_000]) + compress.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 99


def broken_checksum() -> bytes:
    """All files are whole, but the end of the archive is missing and the checksum wrong."""
    tar = gzip.decompress(PACKED).rstrip(b"\0")
    return gzip.compress(tar + bytes(-len(tar) % 512))[:-8] + bytes(8)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (pack({**FILES, "test": FILES["test"][:-1] + b"!"}), f"{FOLDER}/test in .* is damaged: expected SHA-256"),
        (pack({"train": FILES["train"], "meta": FILES["meta"]}), f"{FOLDER}/test in .* is missing"),
        (PACKED[:2000], "is not a whole .tar.gz archive"),
        (PACKED[:-100], "is not a whole .tar.gz archive"),
        (PACKED[:10] + b"\xff" + PACKED[11:], "is not a whole .tar.gz archive"),  # no block has this type
        (broken_inside_a_file(), "is not a whole .tar.gz archive"),
        (broken_checksum(), "is not a whole .tar.gz archive"),
        (b"<html>", "is not a whole .tar.gz archive"),
        (b"", "is not a whole .tar.gz archive"),
    ],
)
def test_an_archive_of_the_right_md5_but_wrong_inside(server, tmp_path, packed, message):
    """No MD5 helps here: it is that of the wrong archive."""
    url = server.serve(f"/official/{FILENAME}", packed)
    with pytest.raises(DatasetError, match=message):
        download_cifar100(tmp_path, archive=describe(FILES, packed, url))
    assert tree(tmp_path) == {FILENAME: packed}


# Damage is mended ---------------------------------------------------------------------------------------------------


def test_damaged_files_are_replaced_and_the_rest_is_left_alone(server, archive, tmp_path):
    server.serve(f"/official/{FILENAME}")
    write(tmp_path, {**FILES, "train": FILES["train"][:1000], "notes.txt": b"the reader's own"})
    (tmp_path / FOLDER / "meta").unlink()
    untouched = (tmp_path / FOLDER / "test").stat()
    download_cifar100(tmp_path, archive=archive)
    assert tree(tmp_path) == {**COMPLETE_WITH_ARCHIVE, f"{FOLDER}/notes.txt": b"the reader's own"}
    assert (tmp_path / FOLDER / "test").stat().st_ino == untouched.st_ino


def test_damaged_files_stay_until_better_ones_are_there(server, archive, tmp_path):
    damaged = {**FILES, "train": FILES["train"][:1000]}
    write(tmp_path, damaged)
    before = tree(tmp_path)
    with pytest.raises(DatasetError):
        download_cifar100(tmp_path, archive=archive)
    assert tree(tmp_path) == before


def test_a_folder_in_the_place_of_a_file_and_the_reverse(server, archive, tmp_path):
    server.serve(f"/official/{FILENAME}")
    (tmp_path / "a" / FOLDER / "train" / "deeper").mkdir(parents=True)
    download_cifar100(tmp_path / "a", archive=archive)
    assert tree(tmp_path / "a") == COMPLETE_WITH_ARCHIVE
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / FOLDER).write_text("no folder")
    download_cifar100(tmp_path / "b", archive=archive)
    assert tree(tmp_path / "b") == COMPLETE_WITH_ARCHIVE


@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_stays_one(server, archive, tmp_path, there):
    server.serve(f"/official/{FILENAME}")
    elsewhere, root = tmp_path / "large disk" / "cifar", tmp_path / "root"
    root.mkdir()
    if there:
        elsewhere.mkdir(parents=True)
        (elsewhere / "train").write_bytes(b"damaged")
    (root / FOLDER).symlink_to(elsewhere)
    download_cifar100(root, archive=archive)
    assert (root / FOLDER).is_symlink()
    assert tree(elsewhere) == FILES
    assert [path.name for path in elsewhere.parent.iterdir()] == ["cifar"]


# The disk and the reader interrupt ----------------------------------------------------------------------------------


@contextlib.contextmanager
def disk_full_after(size: int):
    """The system itself refuses to write files longer than this, as a full disk would."""
    resource = pytest.importorskip("resource", reason="no file size limits on this system")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_full_while_downloading(server, archive, tmp_path):
    mirror = server.serve("/mirror")
    with (
        disk_full_after(2000),
        pytest.raises(DatasetError, match=r"Free some space .* `sasa-tutorial data download --root"),
    ):
        download_cifar100(tmp_path, mirrors=[mirror, server.serve("/other")], archive=archive)
    assert server.requests == ["/mirror"], "another address does not help against a full disk"
    assert tree(tmp_path) == {PARTIAL: PACKED[:2000]}
    download_cifar100(tmp_path, mirrors=mirror, archive=archive)
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


def test_disk_full_while_unpacking_then_again_without_network(server, archive, tmp_path):
    write(tmp_path, {"train": b"damaged"})
    before = tree(tmp_path)
    with disk_full_after(200_000), pytest.raises(DatasetError, match="Free some space"):
        download_cifar100(tmp_path, mirrors=server.serve("/mirror"), archive=archive)
    assert tree(tmp_path) == {**before, FILENAME: PACKED}, "the whole archive may stay, no piece of a file"
    download_cifar100(tmp_path, archive=archive)
    assert server.requests == ["/mirror"]
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


def interrupt():
    """Ctrl-C."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_ctrl_c_while_downloading(server, archive, tmp_path):
    mirror = server.serve("/mirror", halfway=lambda: (interrupt(), time.sleep(0.2)))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores Ctrl-C
    try:
        with pytest.raises(KeyboardInterrupt):
            download_cifar100(tmp_path, mirrors=mirror, archive=archive)
    finally:
        signal.signal(signal.SIGINT, before)
    assert tree(tmp_path).keys() <= {PARTIAL} and PACKED.startswith(tree(tmp_path).get(PARTIAL, b""))


def test_ctrl_c_while_unpacking(server, archive, tmp_path, monkeypatch):
    def interrupted(path, expected):
        raise KeyboardInterrupt

    (tmp_path / FILENAME).write_bytes(PACKED)
    write(tmp_path, {"meta": b"damaged"})
    before = tree(tmp_path)
    monkeypatch.setattr("sasa_tutorial.datasets.download.read_checked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download_cifar100(tmp_path, archive=archive)
    assert tree(tmp_path) == before


def test_a_root_that_cannot_be(archive, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="name another folder in SASA_DATA"):
        download_cifar100(tmp_path / "file" / "data", archive=archive)
    assert tree(tmp_path) == {"file": b""}


# Two at once --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damaged", [True, False])
def test_another_process_finishes_first(server, archive, tmp_path, damaged):
    """Whole data appears while this download is on its way: it stays right at every moment."""
    if damaged:
        write(tmp_path, {"train": b"damaged"})

    def finish_first():
        shutil.rmtree(tmp_path / FOLDER, ignore_errors=True)
        write(tmp_path, FILES)

    download_cifar100(tmp_path, mirrors=server.serve("/mirror", halfway=finish_first), archive=archive)
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


# The package without its __init__: that imports torch, which takes seconds and which the download does without.
DOWNLOAD_ALONE = """
import json, sys, types
import sasa_tutorial
package = sys.modules["sasa_tutorial.datasets"] = types.ModuleType("sasa_tutorial.datasets")
package.__path__ = [sasa_tutorial.__path__[0] + "/datasets"]
from sasa_tutorial.datasets.archive import Archive
from sasa_tutorial.datasets.download import download
download(Archive(**json.loads(sys.argv[2])), sys.argv[1])
"""


def test_two_processes_at_once(server, archive, tmp_path):
    first, second = threading.Event(), threading.Event()
    server.serve(f"/official/{FILENAME}", halfway=lambda: (first.set(), second.wait(60)))
    command = [sys.executable, "-c", DOWNLOAD_ALONE, str(tmp_path), json.dumps(dataclasses.asdict(archive))]
    downloading = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert first.wait(60)
    waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = waiting.stderr.readline()
    second.set()
    errors = [process.communicate(timeout=60)[1] for process in (downloading, waiting)]
    assert "another process is downloading CIFAR-100; this one waits" in said
    assert [downloading.returncode, waiting.returncode] == [0, 0], errors
    assert len(server.requests) == 1
    assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE


def test_many_threads_at_once(server, archive, tmp_path):
    """The rename itself is raced: all have the archive, none has the folder."""
    (tmp_path / FILENAME).write_bytes(PACKED)
    start, failures = threading.Barrier(6, timeout=30), []

    def download():
        start.wait()
        try:
            download_cifar100(tmp_path, archive=archive)
        except BaseException as error:
            failures.append(error)

    for _ in range(5):
        threads = [threading.Thread(target=download) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert tree(tmp_path) == COMPLETE_WITH_ARCHIVE
        shutil.rmtree(tmp_path / FOLDER)
    assert server.requests == []
