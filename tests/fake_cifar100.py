"""A CIFAR-100 of three classes for the tests: the structure of the official files, byte strings of Python 2 and all."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from sasa_tutorial.datasets import Archive

FOLDER = "cifar-100-python"
CLASSES = 3
TRAIN_IMAGES, TEST_IMAGES = 180, 30  # 60 and 10 a class
URL = "http://127.0.0.1:9/official/cifar-100-python.tar.gz"  # port 9: nobody answers


class Python2Pickler(pickle._Pickler):
    """Writes byte strings as Python 2 did: those of Python 3 ask for a function that the official files do without."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        short = len(value) < 256
        self.write((b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def python2_pickle(value: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    # What NumPy 1 wrote, whatever version writes now.
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def pixels(index: int) -> np.ndarray:
    """The image at an index of the train file: it says which it is, tells channels and rows apart, and packs well."""
    image = np.zeros((3, 32, 32), dtype=np.uint8)
    image[0, 0, 0], image[1, 0, 1], image[2, 1, 0] = index, 100 + index % 100, 7
    return image


def labels(count: int) -> list[int]:
    return [index % CLASSES for index in range(count)]


def images_pickle(count: int) -> bytes:
    return python2_pickle(
        {
            b"filenames": [b"image_%d.png" % index for index in range(count)],
            b"batch_label": b"training batch 1 of 1",
            b"fine_labels": labels(count),
            b"coarse_labels": [0] * count,
            b"data": np.stack([pixels(index).reshape(-1) for index in range(count)]),
        }
    )


def official_files() -> dict[str, bytes]:
    return {
        "train": images_pickle(TRAIN_IMAGES),
        "test": images_pickle(TEST_IMAGES),
        "meta": python2_pickle(
            {b"fine_label_names": [b"apple", b"aquarium_fish", b"baby"], b"coarse_label_names": [b"things"]}
        ),
    }


def pack(files: dict[str, bytes]) -> bytes:
    """The files as the bytes of a .tar.gz, with strangers among them as in the official one."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in {"file.txt~": b"left by an editor", "../../escaped": b"must not leave", **files}.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


def describe(files: dict[str, bytes], packed: bytes = b"", url: str = URL) -> Archive:
    """The archive whose hashes say that these very bytes are right."""
    return Archive(
        name="cifar100",
        title="CIFAR-100",
        url=url,
        hash=f"md5:{hashlib.md5(packed).hexdigest()}",
        folder=FOLDER,
        files={name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in files.items()},
    )


def write(root: Path, files: dict[str, bytes]) -> None:
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / FOLDER / name).write_bytes(content)
