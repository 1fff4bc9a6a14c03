"""Loading CIFAR-100: the right images, from the right bytes, and nothing else is ever opened."""

import importlib
import os
import pickle
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import sasa_tutorial
from sasa_tutorial.datasets import (
    CIFAR100_ARCHIVE,
    CIFAR100_MEAN,
    CIFAR100_STD,
    DatasetError,
    LabelledImages,
    check_cifar100,
    load_cifar100,
)
from sasa_tutorial.datasets.pickles import loads_arrays
from sasa_tutorial.paths import data_root
from tests.fake_cifar100 import CLASSES, FOLDER, TRAIN_IMAGES, describe, labels, official_files, pixels, write

FILES = official_files()
ARCHIVE = describe(FILES)
# What the split leaves of the fake's 180 images. A change here is a change of the validation set of every record.
# fmt: off
TRAIN = [6, 11, 18, 22, 30, 34, 39, 47, 55, 56, 58, 69, 76, 77, 78, 87, 98, 99, 106, 107, 109, 133, 137, 158, 162, 167,
         172, 173, 174, 178]
# fmt: on


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("SASA_DATA", raising=False)
    write(tmp_path, FILES)
    return tmp_path


def indices(data: LabelledImages) -> list[int]:
    """Which images of the train file these are: each one says so in its first pixel."""
    return data.images[:, 0, 0, 0].tolist()


# The images ---------------------------------------------------------------------------------------------------------


def test_pixels_and_labels_arrive_where_they_belong(root):
    data = load_cifar100(root, split="train+validation", archive=ARCHIVE)
    assert data.class_names == ("apple", "aquarium_fish", "baby")
    assert data.labels.tolist() == labels(TRAIN_IMAGES)
    np.testing.assert_array_equal(data.images.numpy(), np.stack([pixels(i) for i in range(TRAIN_IMAGES)]))


def test_splits_are_stratified_disjoint_and_complete(root):
    splits = {split: load_cifar100(root, split=split, archive=ARCHIVE) for split in ("train", "validation", "test")}
    assert {split: data.labels.bincount().tolist() for split, data in splits.items()} == {
        "train": [10] * CLASSES,
        "validation": [50] * CLASSES,
        "test": [10] * CLASSES,
    }
    train, validation = indices(splits["train"]), indices(splits["validation"])
    assert sorted(train + validation) == list(range(TRAIN_IMAGES))
    for data in splits.values():
        assert data.labels.tolist() == [index % CLASSES for index in indices(data)], "images and labels moved apart"


def test_the_split_is_the_one_of_the_records(root):
    assert indices(load_cifar100(root, split="train", archive=ARCHIVE)) == TRAIN


def test_the_split_does_not_touch_the_global_generators(root):
    np.random.seed(1)  # noqa: NPY002 - the global state is what is tested
    torch.manual_seed(1)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    load_cifar100(root, split="validation", archive=ARCHIVE)
    assert np.random.get_state()[1].tolist() == before[0]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_root_is_the_argument_else_the_variable(root, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SASA_DATA", str(root))
    assert len(load_cifar100(split="test", archive=ARCHIVE)) == 30
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DatasetError, match=str(empty)):
        load_cifar100(empty, split="test", archive=ARCHIVE)


def test_unknown_split_is_named(root):
    with pytest.raises(ValueError, match=r"'train', 'validation', 'test', 'train\+validation', got 'valid'"):
        load_cifar100(root, split="valid", archive=ARCHIVE)


# Damage -------------------------------------------------------------------------------------------------------------


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def lose_the_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def folder_is_a_file(path: Path) -> None:
    lose_the_folder(path)
    path.parent.write_text("")


def make_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)  # opening it would wait for ever


DAMAGE = {
    remove: "is missing",
    truncate: "is damaged: expected SHA-256 {sha256}, found",
    flip_a_bit: "is damaged: expected SHA-256 {sha256}, found",
    make_a_folder: "is a folder, expected a file",
    lose_the_folder: "is missing too",
    folder_is_a_file: "is a file, expected a folder",
    make_a_pipe: "expected a file",
}


@pytest.mark.parametrize("name", ["train", "meta"])
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damage_is_named_and_mended_by_a_command(root, name, damage):
    if damage is make_a_pipe and not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    damage(root / FOLDER / name)
    with pytest.raises(DatasetError) as caught:
        load_cifar100(root, split="train", archive=ARCHIVE)
    message = str(caught.value)
    assert DAMAGE[damage].format(sha256=ARCHIVE.sha256[name]) in message
    assert str(root / FOLDER) in message
    assert f"`SASA_DATA={root} sasa-tutorial data download`" in message
    findings = {finding.name: finding for finding in check_cifar100(root, archive=ARCHIVE)}
    assert not findings[name].ok
    assert findings[name].path == root / FOLDER / name
    assert DAMAGE[damage].format(sha256=ARCHIVE.sha256[name]) in findings[name].problem
    assert findings["test"].ok == (damage not in (lose_the_folder, folder_is_a_file))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(root):
    (root / FOLDER / "train").chmod(0)
    with pytest.raises(DatasetError, match="Permission denied"):
        load_cifar100(root, split="train", archive=ARCHIVE)


def test_a_read_error_of_the_disk(root, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(DatasetError, match=r"train cannot be read \(Input/output error\).*sasa-tutorial data download"):
        load_cifar100(root, split="train", archive=ARCHIVE)
    assert not any(finding.ok for finding in check_cifar100(root, archive=ARCHIVE))


def test_the_mending_command_is_short_for_the_default_root(root, monkeypatch):
    monkeypatch.setenv("SASA_DATA", str(root / "nowhere"))
    with pytest.raises(DatasetError, match="`sasa-tutorial data download`"):
        load_cifar100(split="test", archive=ARCHIVE)


def test_check_finds_nothing_wrong_with_the_right_files(root):
    findings = check_cifar100(root, archive=ARCHIVE)
    assert [finding.name for finding in findings] == ["train", "test", "meta"]
    assert all(finding.ok and finding.problem == "" for finding in findings)


# Pickles that would run something -----------------------------------------------------------------------------------


class Calls:
    """Unpickling this calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def evil_pickle(proof: Path, protocol: int = 2) -> bytes:
    return pickle.dumps({"data": Calls(os.mkdir, str(proof))}, protocol=protocol)


def test_the_evil_pickle_is_evil(tmp_path):
    pickle.loads(evil_pickle(tmp_path / "ran"))
    assert (tmp_path / "ran").exists(), "the tests below would prove nothing"


@pytest.mark.parametrize("name", ["train", "meta"])
def test_a_pickle_with_a_wrong_hash_is_not_opened(root, name, monkeypatch):
    # The hash alone must stop it: behind it, this opens anything.
    monkeypatch.setattr("sasa_tutorial.datasets.cifar100.loads_arrays", partial(pickle.loads, encoding="bytes"))
    write(root, {name: evil_pickle(root / "ran")})
    with pytest.raises(DatasetError, match="SHA-256"):
        load_cifar100(root, split="train", archive=ARCHIVE)
    check_cifar100(root, archive=ARCHIVE)
    assert not (root / "ran").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_with_a_right_hash_runs_nothing(root, protocol):
    files = {**FILES, "train": evil_pickle(root / "ran", protocol)}
    write(root, files)
    with pytest.raises(DatasetError, match=r"mkdir, and only NumPy arrays are allowed"):
        load_cifar100(root, split="train", archive=describe(files))
    assert not (root / "ran").exists()


@pytest.mark.parametrize(
    "name",
    [
        b"cbuiltins\neval\n.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",  # a dotted name, allowed from protocol 4 on
        b"c_codecs\nencode\n.",
        b"\x82\x01.",  # the registry of extensions
        b"Pevil\n.",  # a persistent id
    ],
)
def test_only_arrays_may_be_asked_for(name):
    with pytest.raises(pickle.UnpicklingError):
        loads_arrays(name)


@pytest.mark.parametrize("content", [b"", b"not a pickle", FILES["train"][:5000], b"\x80\x02]q\x00(K\x01"])
def test_broken_pickles_are_one_kind_of_error(content):
    with pytest.raises(pickle.UnpicklingError):
        loads_arrays(content)


def test_arrays_of_numpy_1_and_2_both_open():
    assert b"cnumpy.core.multiarray\n_reconstruct" in FILES["train"], "as the official files have it"
    newer = FILES["train"].replace(b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n")
    np.testing.assert_array_equal(loads_arrays(newer)[b"data"], loads_arrays(FILES["train"])[b"data"])


def test_what_is_opened_is_what_was_hashed(root, monkeypatch):
    """A file exchanged after its hash was taken is too late: it is read once."""
    read, reads = Path.read_bytes, []

    def read_then_exchange(path):
        content = read(path)
        reads.append(path.name)
        path.write_bytes(evil_pickle(root / "ran"))
        return content

    monkeypatch.setattr(Path, "read_bytes", read_then_exchange)
    assert len(load_cifar100(root, split="train+validation", archive=ARCHIVE)) == TRAIN_IMAGES
    assert sorted(reads) == ["meta", "train"]


# Nothing more than asked --------------------------------------------------------------------------------------------


def test_nothing_is_downloaded_unless_asked(tmp_path, monkeypatch):
    def fail(*arguments, **settings):
        raise AssertionError("the network was used")

    monkeypatch.setattr("socket.socket.connect", fail)
    with pytest.raises(DatasetError):
        load_cifar100(tmp_path, split="train", archive=ARCHIVE)
    assert list(tmp_path.iterdir()) == []


def test_importing_needs_no_package_for_downloads(monkeypatch):
    for name in ("pooch", "requests", "tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)  # importing them fails
    for name in [name for name in sys.modules if name.startswith("sasa_tutorial.datasets")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sasa_tutorial, "datasets", None)
    importlib.import_module("sasa_tutorial.datasets.download")


def test_the_read_me_has_the_hashes_of_the_code():
    text = (Path(__file__).parents[1] / "data" / "README.md").read_text(encoding="utf-8")
    for expected in (CIFAR100_ARCHIVE.md5, *CIFAR100_ARCHIVE.sha256.values()):
        assert expected in text


# LabelledImages -----------------------------------------------------------------------------------------------------


def labelled(**changes) -> LabelledImages:
    parts = {
        "images": torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 3, 32, 32),
        "labels": torch.tensor([0, 1, 2, 0]),
        "class_names": ("a", "b", "c"),
    }
    return LabelledImages(**{**parts, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(4, 3, 32, 32)}, "uint8.*float32"),
        ({"images": torch.zeros(4, 32, 32, 3, dtype=torch.uint8)}, r"\(4, 32, 32, 3\)"),
        ({"images": torch.zeros(4, 3072, dtype=torch.uint8)}, r"\(4, 3072\)"),
        ({"labels": torch.zeros(4, dtype=torch.int32)}, "int64.*int32"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"\(4,\).*\(3,\)"),
        ({"labels": torch.zeros(4, 1, dtype=torch.int64)}, r"\(4, 1\)"),
        ({"labels": torch.tensor([0, 1, 2, 3])}, "0 to 2.*got 0 to 3"),
        ({"labels": torch.tensor([0, -1, 2, 0])}, "0 to 2.*got -1 to 2"),
        ({"labels": torch.zeros(4, dtype=torch.int64, device="meta")}, "meta.*cpu"),
    ],
)
def test_wrong_parts_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        labelled(**changes)


@pytest.mark.parametrize(
    "index", [[2, 0], torch.tensor([2, 0]), torch.tensor([2, 0], dtype=torch.int32), range(2, -1, -2)]
)
def test_subset_keeps_the_order_of_the_indices(index):
    part = labelled().subset(index)
    assert (part.images[:, 0, 0, 0].tolist(), part.labels.tolist(), len(part)) == ([2, 0], [2, 0], 2)


def test_subset_by_mask_and_empty_subset():
    assert labelled().subset(torch.tensor([False, True, False, True])).images[:, 0, 0, 0].tolist() == [1, 3]
    assert len(labelled().subset([])) == len(labelled().subset(torch.zeros(4, dtype=torch.bool))) == 0


def test_subset_is_a_copy():
    data = labelled(images=torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    data.subset([0]).images.fill_(9)
    assert int(data.images.max()) == 0


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([4], "0 to 3, got 4"),
        ([-1], "got -1"),
        ([0.5], "float"),
        (2, r"shape \(\)"),
        ([[1]], r"\(1, 1\)"),
        ([True], "mask"),
    ],
)
def test_wrong_indices_are_named(index, message):
    with pytest.raises(ValueError, match=message):
        labelled().subset(index)


def test_to_moves_images_and_labels():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    moved = labelled().to(device)
    assert moved.images.device.type == moved.labels.device.type == device
    assert moved.class_names == ("a", "b", "c")
    assert device in repr(moved)


# The real data ------------------------------------------------------------------------------------------------------

needs_data = pytest.mark.skipif(
    not (data_root() / FOLDER).is_dir(),
    reason=f"CIFAR-100 is not in {data_root()}; `sasa-tutorial data download` puts it there",
)


@pytest.fixture(scope="module")
def real() -> dict[str, LabelledImages]:
    return {split: load_cifar100(split=split) for split in ("train", "validation", "test", "train+validation")}


@needs_data
def test_real_splits(real):
    counts = {split: data.labels.bincount() for split, data in real.items()}
    expected = {"train": 450, "validation": 50, "test": 100, "train+validation": 500}
    assert {split: (len(count), count.unique().tolist()) for split, count in counts.items()} == {
        split: (100, [count]) for split, count in expected.items()
    }


@needs_data
def test_real_train_and_validation_are_disjoint_and_complete(real):
    def rows(data: LabelledImages) -> list[bytes]:
        return sorted(
            image.tobytes() + bytes([label]) for image, label in zip(data.images.numpy(), data.labels, strict=True)
        )

    # As multisets: a few images are in the official training set twice.
    assert sorted(rows(real["train"]) + rows(real["validation"])) == rows(real["train+validation"])


@needs_data
@pytest.mark.parametrize("split", ["train+validation", "test"])
def test_real_images_are_those_of_torchvision(real, split):
    from torchvision.datasets import CIFAR100

    theirs = CIFAR100(str(data_root()), train=split != "test")
    assert torch.equal(real[split].images, torch.from_numpy(theirs.data).movedim(3, 1))
    assert real[split].labels.tolist() == theirs.targets
    assert list(real[split].class_names) == theirs.classes


@needs_data
def test_mean_and_deviation(real):
    images = real["train+validation"].images
    values = torch.arange(256, dtype=torch.float64) / 255
    for channel in range(3):
        share = images[:, channel].flatten().bincount(minlength=256).double()
        share /= share.sum()
        mean = (share * values).sum()
        deviation = (share * (values - mean) ** 2).sum().sqrt()
        assert mean.item() == pytest.approx(CIFAR100_MEAN[channel], abs=5.1e-6)
        assert deviation.item() == pytest.approx(CIFAR100_STD[channel], abs=5.1e-6)
