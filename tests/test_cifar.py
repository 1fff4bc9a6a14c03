"""Loading CIFAR-100: the right images, from the right bytes, and nothing else is ever opened."""

import hashlib
import importlib
import os
import pickle
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import sasa_tutorial
from sasa_tutorial.datasets import (
    CIFAR10_ARCHIVE,
    CIFAR100_ARCHIVE,
    CIFAR100_MEAN,
    CIFAR100_STD,
    SOURCES,
    DatasetError,
    LabelledImages,
    check_cifar100,
    load_cifar10,
    load_cifar100,
    normalise,
)
from sasa_tutorial.datasets.cifar import CIFAR10_MEAN, CIFAR10_STD
from sasa_tutorial.paths import data_root
from sasa_tutorial.training.plan import Plan
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import local_records
from tests.fake_cifar100 import (
    CLASSES,
    FOLDER,
    TRAIN_IMAGES,
    describe,
    labels,
    official_files,
    pixels,
    python2_pickle,
    write,
)

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
    assert DAMAGE[damage].format(sha256=ARCHIVE.files[name].removeprefix("sha256:")) in message
    assert str(root / FOLDER) in message
    assert f"`sasa-tutorial data download --root {root}`" in message
    findings = {finding.name: finding for finding in check_cifar100(root, archive=ARCHIVE)}
    assert not findings[name].ok
    assert findings[name].path == root / FOLDER / name
    assert DAMAGE[damage].format(sha256=ARCHIVE.files[name].removeprefix("sha256:")) in findings[name].problem
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
def test_a_pickle_with_a_wrong_hash_is_not_opened(root, name):
    write(root, {name: evil_pickle(root / "ran")})
    with pytest.raises(DatasetError, match="SHA-256"):
        load_cifar100(root, split="train", archive=ARCHIVE)
    check_cifar100(root, archive=ARCHIVE)
    assert not (root / "ran").exists()


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
    for archive in (CIFAR100_ARCHIVE, CIFAR10_ARCHIVE):
        for expected in (archive.hash, *archive.files.values()):
            assert expected.partition(":")[2] in text


# CIFAR-10 -----------------------------------------------------------------------------------------------------------


def cifar10_files(images: int = 660) -> dict[str, bytes]:
    """Five batches and a test set of ten classes, as the official ones are laid out; an image says which it is."""

    def batch(first: int, count: int) -> bytes:
        which = range(first, first + count)
        planes = np.zeros((count, 3, 32, 32), dtype=np.uint8)
        planes[:, 0, 0, 0], planes[:, 1, 0, 0] = [i // 256 for i in which], [i % 256 for i in which]
        return python2_pickle({b"data": planes.reshape(count, -1), b"labels": [i % 10 for i in which]})

    names = {f"data_batch_{k + 1}": batch(k * images // 5 * 10, images // 5 * 10) for k in range(5)}
    meta = python2_pickle({b"label_names": [b"class_%d" % label for label in range(10)]})
    return {**names, "test_batch": batch(0, 20), "batches.meta": meta}


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory):
    files, root = cifar10_files(), tmp_path_factory.mktemp("cifar10")
    hashes = {name: f"md5:{hashlib.md5(content).hexdigest()}" for name, content in files.items()}
    archive = replace(CIFAR10_ARCHIVE, files=hashes)
    (root / archive.folder).mkdir()
    for name, content in files.items():
        (root / archive.folder / name).write_bytes(content)
    return root, archive


def test_cifar10_is_five_batches_in_order_split_class_by_class(cifar10):
    root, archive = cifar10
    every, train, validation, test = (
        load_cifar10(root, split=split, archive=archive)
        for split in ("train+validation", "train", "validation", "test")
    )
    which = every.images[:, 0, 0, 0].int() * 256 + every.images[:, 1, 0, 0]
    assert which.tolist() == list(range(6600)) and every.labels.tolist() == [i % 10 for i in range(6600)]
    assert validation.labels.bincount().tolist() == [500] * 10 and train.labels.bincount().tolist() == [160] * 10
    assert len(test) == 20 and test.class_names == tuple(f"class_{label}" for label in range(10))
    pixels, labels = next(validation.batches(torch.device("cpu"), 3))
    assert torch.equal(pixels, normalise(validation.images[:3], CIFAR10_MEAN, CIFAR10_STD))
    assert torch.equal(labels, validation.labels[:3]) and validation.mean == CIFAR10_MEAN


def test_cifar10_is_checked_and_mended_as_cifar100_is(cifar10, tmp_path):
    root, archive = cifar10
    assert all(finding.ok for finding in archive.check(root))
    (tmp_path / archive.folder).mkdir()
    (tmp_path / archive.folder / "data_batch_1").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"data_batch_1 is damaged: expected MD5 .*data download cifar10 --root .*`"):
        load_cifar10(tmp_path, split="train", archive=archive)


def test_cifar10_has_the_hashes_that_torchvision_has():
    from torchvision.datasets import CIFAR10 as theirs

    hashes = {name: f"md5:{md5}" for name, md5 in [*theirs.train_list, *theirs.test_list]}
    hashes[theirs.meta["filename"]] = f"md5:{theirs.meta['md5']}"
    assert dict(CIFAR10_ARCHIVE.files) == hashes
    assert (CIFAR10_ARCHIVE.url, CIFAR10_ARCHIVE.hash) == (theirs.url, f"md5:{theirs.tgz_md5}")
    assert CIFAR10_ARCHIVE.folder == theirs.base_folder


def test_a_source_of_ten_classes_makes_networks_of_ten(cifar10, monkeypatch):
    root, archive = cifar10
    monkeypatch.setattr("sasa_tutorial.datasets.sources.load_cifar10", partial(load_cifar10, root, archive=archive))
    sizes = {"train_images": 100, "validation_images": 50, "test_images": 20}
    profile = replace(PROFILES["smoke"], source=SOURCES["cifar10"], **sizes)
    plan = Plan(model="convolution", profile=profile, seed=0)
    images = profile.images(0, torch.device("cpu"))
    pixels, labels = next(images.train.batches(0, range(1), 10, slice(0, 10)))
    assert plan.network()(pixels).shape == (10, 10) and len(labels) == 10
    assert [len(images.train), len(images.validation), len(images.test)] == [100, 50, 20]
    assert plan.profile.dataset == "cifar10" and plan.records == local_records(), (
        "no evidence: nothing is planned on it"
    )


@pytest.mark.parametrize("root", ["~/cifar", "~/cifar/cifar-100-python"])
def test_a_root_may_begin_at_home_or_be_the_folder_itself(root, monkeypatch):
    monkeypatch.setenv("SASA_DATA", root)
    assert ARCHIVE.root(None) == ARCHIVE.root(root) == Path.home() / "cifar"
    monkeypatch.setenv("SASA_DATA", "elsewhere")
    assert data_root() == Path(__file__).parents[1] / "elsewhere", "tied to the checkout, wherever a notebook runs"


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
