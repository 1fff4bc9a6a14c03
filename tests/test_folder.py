"""Training on a folder of images: the same loop, and batches that depend on seed, epoch and image alone."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torchvision.transforms import functional as pictures

from sasa_tutorial.cli import cli
from sasa_tutorial.datasets import DatasetError, image_folder
from sasa_tutorial.datasets.decoding import IMAGENET_MEAN, IMAGENET_STD, FolderScoredImages, FolderTrainingImages
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.models import attention_augmented_resnet, cifar_models, paper_models, resnet, sasa_resnet
from sasa_tutorial.models.paper import mechanism_of
from sasa_tutorial.training import imagenet
from sasa_tutorial.training.distributed import Processes
from sasa_tutorial.training.evaluation import evaluate
from sasa_tutorial.training.imagenet import folder_profile, paper_recipe
from sasa_tutorial.training.loop import Training
from sasa_tutorial.training.plan import plan_folder_run
from sasa_tutorial.training.recipe import Recipe
from sasa_tutorial.training.records import local_records
from sasa_tutorial.training.run import _check_agreement, train
from sasa_tutorial.training.stopping import Stopped, StopRequest
from tests.conftest import script
from tests.test_commands import free_port, printed_losses
from tests.test_training import StopAfter, WithDropout, numbers

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
RECIPE = Recipe(epochs=2, batch_size=6, peak_lr=0.05, ema_decay=0.9)  # 3 steps an epoch, 21 images
CLASSES = ("blue", "green", "red")


def make_folder(root: Path) -> Path:
    """3 classes of 8 and 4 images: noise of different sizes, one channel brighter; the fourth of each is grey."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 8), ("val", 4)):
        for channel, name in ((2, "blue"), (1, "green"), (0, "red")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                h, w = torch.randint(30, 60, (2,), generator=generator).tolist()
                image = torch.randint(0, 100, (3, h, w), generator=generator, dtype=torch.uint8)
                image[channel] += 100
                image = image[:1] if number == 3 else image
                pictures.to_pil_image(image).save(folder / f"{number}.{'png' if number % 2 else 'JPEG'}")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def sets(folder):
    return image_folder(folder)


def training_images(sets, **settings) -> FolderTrainingImages:
    return FolderTrainingImages(**{"images": sets.train, "device": CPU, "size": 32, "seed": 3, **settings})


def batches(images, epoch=0, steps=range(3), share=slice(0, 6)) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(images.batches(epoch, steps, 6, share))


def same(one, two) -> bool:
    return len(one) == len(two) and all(
        torch.equal(x, y) for a, b in zip(one, two, strict=True) for x, y in zip(a, b, strict=True)
    )


# Which images ---------------------------------------------------------------------------------------------------------


def test_train_is_split_class_by_class_and_val_is_the_test_set(folder, sets):
    assert [torch.bincount(part.labels).tolist() for part in sets] == [[7] * 3, [1] * 3, [4] * 3]
    kept, held_out = ({part.path(i) for i in range(len(part))} for part in sets[:2])
    assert kept | held_out == set((folder / "train").rglob("*.*")) and not kept & held_out
    assert {sets.test.path(i) for i in range(12)} == set((folder / "val").rglob("*.*"))
    for part in sets:
        assert part.class_names == CLASSES
        assert all(part.path(i).parent.name == CLASSES[part.labels[i]] for i in range(len(part)))
    again = image_folder(folder)
    assert [part.names.tolist() for part in again] == [part.names.tolist() for part in sets]


def test_four_percent_are_held_out_and_not_the_same_of_every_class(tmp_path):
    for split, count in (("train", 100), ("val", 1)):
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                (tmp_path / split / name / f"{number}.png").touch()
    validation = image_folder(tmp_path).validation
    assert torch.bincount(validation.labels).tolist() == [4, 4, 4]
    names = [{validation.path(i).name for i in range(12) if validation.labels[i] == label} for label in range(3)]
    assert names[0] != names[1] != names[2]


def test_the_fingerprint_is_of_the_files_and_not_of_where_they_lie(sets, tmp_path):
    copy = make_folder(tmp_path / "elsewhere")
    assert image_folder(copy).fingerprint == sets.fingerprint
    (copy / "val" / "red" / "0.JPEG").rename(copy / "val" / "red" / "9.JPEG")
    assert image_folder(copy).fingerprint != sets.fingerprint


# What a step sees -----------------------------------------------------------------------------------------------------


def test_workers_do_not_change_the_batches_nor_draw_from_the_networks_numbers(sets):
    before = torch.get_rng_state()
    alone = batches(training_images(sets))
    assert same(alone, batches(training_images(sets, workers=2)))
    scored = FolderScoredImages(images=sets.validation, size=32, resize=36)
    assert same(list(scored.batches(CPU, 2)), list(replace(scored, workers=2).batches(CPU, 2)))
    assert torch.equal(before, torch.get_rng_state())


def test_a_signal_to_the_group_of_the_run_does_not_reach_the_workers(sets):
    seen = training_images(sets, workers=2).batches(0, range(3), 6, slice(0, 6))
    next(seen), next(seen)  # one from each worker
    workers = multiprocessing.active_children()
    assert len(workers) == 2 and all(os.getpgid(worker.pid) != os.getpgrp() for worker in workers)


def test_an_epoch_that_is_taken_up_again_goes_on_with_the_same_batches(sets):
    images = training_images(sets)
    assert same(batches(images)[1:], batches(images, steps=range(1, 3)))


def test_the_shares_of_two_processes_are_the_batch_of_one(sets):
    images = training_images(sets)
    shares = [batches(images, share=Processes(rank, 2, CPU).share(6)) for rank in range(2)]
    assert [len(labels) for _, labels in shares[0]] == [3, 3, 3]
    together = [tuple(torch.cat(parts) for parts in zip(*step, strict=True)) for step in zip(*shares, strict=True)]
    assert same(together, batches(images))


def test_an_epoch_shows_every_image_once_each_in_a_crop_of_its_own(sets):
    """Seen by image, not by place in the order, so that a new order alone does not pass for new crops."""

    def by_image(seed, epoch):
        images = training_images(sets, seed=seed)
        order = images.order(epoch).tolist()
        assert sorted(order) == list(range(21))
        pixels = torch.cat([pixels for pixels, _ in images.batches(epoch, range(21), 1, slice(0, 1))])
        return order, pixels[torch.tensor(order).argsort()]

    runs = [by_image(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for i, (order, crops) in enumerate(runs):
        for other_order, other in runs[:i]:
            assert order != other_order
            assert all(not torch.equal(crop, another) for crop, another in zip(crops, other, strict=True))


def test_half_of_the_images_are_mirrored_and_crops_differ_in_size(tmp_path):
    ramp = torch.arange(64, dtype=torch.uint8)[None, None].expand(3, 64, 64) * 4
    for split, count in (("train", 21), ("val", 1)):
        (tmp_path / split / "ramp").mkdir(parents=True)
        for number in range(count):
            pictures.to_pil_image(ramp).save(tmp_path / split / "ramp" / f"{number}.png")
    found = image_folder(tmp_path)

    def slopes(**settings):  # from left to right, over 40 epochs
        images = training_images(found, **settings)
        pixels = torch.cat([next(images.batches(epoch, range(1), 1, slice(0, 1)))[0] for epoch in range(40)])
        return pixels[:, 0, :, -1].mean(dim=1) - pixels[:, 0, :, 0].mean(dim=1)

    assert 10 <= (slopes() < 0).sum() <= 30
    within = next(training_images(found).batches(0, range(1), 20, slice(0, 20)))[0]
    assert len({pixels[0].sum().item() for pixels in within}) > 10, "every image of an epoch has its own crop"
    straight = slopes(flip="none")
    assert (straight > 0).all() and straight.max() > 2 * straight.min()
    whole = slopes(flip="none", least_area=1.0)
    assert whole.std() < 0.1 * whole.mean()


def test_scoring_sees_the_middle_of_every_image_once_in_order(sets):
    images = FolderScoredImages(images=sets.test, size=32, resize=36)
    seen = list(images.batches(CPU, 5))
    assert [len(labels) for _, labels in seen] == [5, 5, 2]
    assert torch.equal(torch.cat([labels for _, labels in seen]), sets.test.labels)
    pixels = torch.cat([pixels for pixels, _ in seen])
    for index in range(12):
        image = pictures.center_crop(pictures.resize(sets.test.read(index), 36), [32, 32])
        expected = pictures.normalize(pictures.to_tensor(image), IMAGENET_MEAN, IMAGENET_STD)
        assert torch.allclose(pixels[index], expected, atol=1e-5)
    grey = pixels[3] * torch.tensor(IMAGENET_STD)[:, None, None] + torch.tensor(IMAGENET_MEAN)[:, None, None]
    assert torch.allclose(grey[0], grey[2], atol=1e-5)


def test_a_score_is_shared_between_processes_and_the_rest_is_not_lost(sets):
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = FolderScoredImages(images=sets.test, size=32, resize=36)
    parts = [images.subset(torch.arange(rank, 12, 5)) for rank in range(5)]
    hits = [evaluate(model, part, ALONE).top1 * len(part) for part in parts]
    assert [len(part) for part in parts] == [3, 3, 2, 2, 2]
    assert sum(hits) / 12 == pytest.approx(evaluate(model, images, ALONE).top1)
    assert list(images.subset(torch.arange(0)).batches(CPU)) == []


# The loop -------------------------------------------------------------------------------------------------------------


def prepare(sets, recipe=RECIPE, workers=0, **settings) -> Training:
    torch.manual_seed(3)
    model = WithDropout().to(memory_format=torch.channels_last)
    scored = FolderScoredImages(images=sets.validation, size=32, resize=36, workers=workers)
    training = Training(model, training_images(sets, workers=workers), scored, recipe, ALONE, **settings)
    training.report = lambda line: None
    return training


@pytest.mark.parametrize("stops", [(1,), (3,), (2, 3)])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit_whatever_the_workers(sets, tmp_path, stops):
    whole = prepare(sets)
    whole.run(StopRequest())
    path = tmp_path / "checkpoint.pt"
    for count in stops:
        part = prepare(sets, checkpoint=path, workers=1)
        if path.exists():
            part.resume(path)
        with pytest.raises(Stopped, match="saved in"):
            part.run(StopAfter(count))
    torch.rand(100)  # a new process would not have the old one's random state
    last = prepare(sets, checkpoint=path)
    last.resume(path)
    last.run(StopRequest())
    expected, found = numbers(whole), numbers(last)
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_it_learns(sets):
    torch.manual_seed(0)
    network = cifar_models()["convolution"](depth=14, width=0.125, num_classes=3)
    scored = FolderScoredImages(images=sets.test, size=32, resize=36)
    recipe = replace(RECIPE, epochs=20, ema_decay=0.0, label_smoothing=0.0)
    training = Training(network, training_images(sets, least_area=0.5), scored, recipe, ALONE)
    training.report = lambda line: None
    training.run(StopRequest())
    assert training.logbook.lines[-1].train_loss < 0.8 * training.logbook.lines[0].train_loss
    assert evaluate(training.trained, scored, ALONE).top1 > 60  # a quarter of them is grey


def test_the_recipe_is_the_papers(folder):
    full = paper_recipe(1_230_000, batch=4096)
    assert (full.epochs, full.peak_lr, full.momentum, full.ema_decay) == (130, 1.6, 0.9, 0.9999)
    assert full.warmup * full.epochs == pytest.approx(10)
    assert paper_recipe(1_230_000).peak_lr == 0.1 and paper_recipe(1_230_000).batch_size == 256
    assert paper_recipe(1_230_000, steps=300).ema_decay == 0.99  # else weights of the beginning would be scored
    profile = folder_profile(folder, batch=6)
    assert (profile.source.image_size, profile.source.resize) == (224, 256)
    assert folder_profile(folder, batch=6, size=32).source.resize == 37


def test_other_settings_are_another_run_and_workers_are_not(folder):
    def plan(**settings):
        return plan_folder_run("sasa_resnet_26", folder, **{"batch": 6, **settings})

    assert plan().identity == plan(workers=5).identity
    others = [plan(size=64), plan(batch=4), plan(steps=7), plan(epochs=3), plan(seed=1)]
    assert len({other.folder for other in others} | {plan().folder}) == 6
    assert plan().records == local_records() and plan().mechanism == "relative_offsets"
    assert str(plan(steps=7, seed=2)) == (
        "sasa_resnet_26, batch_size 6, peak_lr 0.00234375, ema_decay 0.571429, steps 7, profile folder, seed 2"
    )


@pytest.mark.parametrize(
    ("name", "build", "millions"),
    [
        ("resnet_50", partial(resnet, 50), 25.6),
        ("sasa_resnet_50", partial(sasa_resnet, 50), 18.0),
        ("full_attention_resnet_26", partial(sasa_resnet, 26, stem="attention"), 10.3),
        ("attention_augmented_resnet_50", partial(attention_augmented_resnet, 50), 25.8),
    ],
)
def test_the_networks_are_the_builders_and_have_the_papers_size(name, build, millions):
    with torch.device("meta"):
        model, expected = paper_models()[name](num_classes=1000, image_size=224), build()
    assert [(n, p.shape) for n, p in model.named_parameters()] == [(n, p.shape) for n, p in expected.named_parameters()]
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_every_network_belongs_to_a_lesson():
    lessons = {name: mechanism_of(name) for name in paper_models()}
    assert {name: mechanism_of(name) for name in cifar_models()} == {name: name for name in cifar_models()}
    assert set(lessons.values()) < set(cifar_models())
    for depth in (26, 38, 50):
        assert {f"resnet_{depth}", f"sasa_resnet_{depth}", f"full_attention_resnet_{depth}"} < set(lessons)


def test_validation_is_of_train_and_test_is_of_val(folder, sets):
    images = folder_profile(folder, batch=6, size=64, workers=0).images(7, CPU)
    parts = (images.train, images.validation, images.test)
    assert [part.images.names.tolist() for part in parts] == [part.names.tolist() for part in sets]
    assert [part.size for part in parts] == [64] * 3 and images.train.seed == 7


class OtherMachine(Processes):
    """A process whose first one has other files."""

    def share_object(self, make):
        return make().replace('"test_images": 12', '"test_images": 50000')


def test_machines_with_different_images_are_told(folder):
    plan = plan_folder_run("resnet_26", folder, batch=6)
    with pytest.raises(TutorialError, match="process 1 would train another run than the first process"):
        _check_agreement(plan, OtherMachine(1, 2, CPU))


# Errors ---------------------------------------------------------------------------------------------------------------


def broken_folder(tmp_path: Path, change: str) -> Path:
    if change == "nothing":
        return tmp_path / "nowhere"
    root = make_folder(tmp_path / "images")
    if change in ("train", "val"):
        (root / change).rename(tmp_path / "away")
    elif change == "flat":
        (root / "val").rename(tmp_path / "away")
        (root / "val").mkdir()
        (tmp_path / "away" / "red" / "0.JPEG").rename(root / "val" / "0.JPEG")
    elif change == "classes":
        (root / "val" / "red").rename(root / "val" / "rot")
    elif change == "empty":
        for path in (root / "train" / "red").iterdir():
            path.rename(path.with_suffix(".txt"))
    return root


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nothing", r"there is no folder .*nowhere\. Expected: PATH/train/CLASS/"),
        ("train", r"there is no folder .*train\. Expected"),
        ("val", r"there is no folder .*val\. Expected"),
        ("flat", r"val holds no classes\. Expected: one folder of images for each class.*datasets\.ImageNet"),
        ("classes", r"different classes: red is only in train \(2 differ\)\. Expected"),
        ("empty", r"train/red holds 0 images, expected at least 2, ending in \.jpg.*remove its folder"),
    ],
)
def test_a_folder_of_another_layout_is_told_what_was_expected(tmp_path, change, message):
    with pytest.raises(DatasetError, match=message):
        image_folder(broken_folder(tmp_path, change))


def test_numbers_that_cannot_be_are_named(folder):
    with pytest.raises(ValueError, match="21 training images do not fill a batch of 256: ask for a smaller one"):
        folder_profile(folder)
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        folder_profile(folder, batch=0)
    with pytest.raises(ValueError, match="no network is called 'convolution'; there are: resnet_26, "):
        plan_folder_run("convolution", folder, batch=6)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["cut", "text", "gone"])
def test_an_image_that_cannot_be_read_is_named(tmp_path, workers, damage):
    found = image_folder(make_folder(tmp_path / "images"))
    path = found.train.path(4)
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"not an image")
    with pytest.raises(DatasetError, match=rf"^{re.escape(str(path))} cannot be read as an image \(.*Restore") as error:
        batches(training_images(found, workers=workers), steps=range(4))
    assert "Traceback" not in str(error.value)


# The command ----------------------------------------------------------------------------------------------------------

SHORT = ("--steps", "2", "--batch", "6", "--size", "32")


def test_the_command_trains_and_leaves_one_local_record(said, folder, tmp_path):
    result = said("train", "sasa_resnet_26", "--folder", str(folder), "--seed", "5", *SHORT)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^epoch   1/1   train loss \d\.\d{3} ", result.stdout, re.M)
    path = tmp_path / "build" / "runs" / "records.jsonl"
    (record,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (record["model"], record["mechanism"], record["dataset"]) == ("sasa_resnet_26", "relative_offsets", "folder")
    assert (record["seed"], record["epochs"], record["config"]["steps"]) == (5, 130, 2)
    assert record["config"]["train_images"] == 21 and record["status"] == "finished"


def test_wrong_arguments_are_one_clear_sentence(folder, tmp_path):
    with pytest.raises(DatasetError, match="there is no folder "):
        CliRunner().invoke(cli, ["train", "resnet_26", "--folder", str(tmp_path / "nowhere")], catch_exceptions=False)
    for arguments, message in (
        (("convolution", "--batch", "6"), "--batch goes with --folder."),
        (("resnet_26", "--folder", str(folder), "--profile", "full"), "--folder goes without --profile."),
        (("--folder", str(folder), "--missing"), "--folder goes without --missing."),
    ):
        result = CliRunner().invoke(cli, ["train", *arguments])
        assert result.exit_code == 2 and message in result.output


# The command, with a network small enough to be saved ten times a second.
WITH_A_SMALL_NETWORK = """
import sys
import sasa_tutorial.training.loop as loop
from sasa_tutorial.cli import main
from sasa_tutorial.models import cifar_models
import sasa_tutorial.training.imagenet as imagenet

loop.SECONDS_BETWEEN_CHECKPOINTS = 0.1
small = cifar_models()["convolution"]
build = lambda num_classes, image_size: small(depth=14, width=0.125, num_classes=num_classes)
imagenet.paper_models = lambda: {"resnet_14": build}
sys.argv[0] = "sasa-tutorial"
main()
"""


def small_network(num_classes: int, image_size: int) -> nn.Module:
    return cifar_models()["convolution"](depth=14, width=0.125, num_classes=num_classes)


def start(folder: Path, *extra: str) -> subprocess.Popen[str]:
    arguments = ("train", "resnet_14", "--folder", str(folder), "--batch", "6", "--size", "32", "--workers", "2")
    return subprocess.Popen(
        [sys.executable, "-u", "-c", WITH_A_SMALL_NETWORK, *arguments, "--epochs", "100000", *extra],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def first_line(process: subprocess.Popen[str], pattern: str) -> str:
    return next((line for line in process.stdout if re.match(pattern, line)), "")


def test_killed_it_goes_on_and_a_stop_of_all_its_processes_saves_it(folder):
    process = start(folder)
    try:
        assert first_line(process, "epoch"), process.stderr.read()
        process.kill()  # its workers live on until they notice
        process.stdout.close()
        process.wait()
        process = start(folder, "--resume")
        assert first_line(process, "going on after step"), process.stderr.read()
        assert first_line(process, "epoch") and first_line(process, "epoch"), process.stderr.read()
        os.killpg(process.pid, signal.SIGTERM)  # as torchrun does; a terminal's Ctrl-C goes the same way
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 143, errors
        assert "stopped by a kill at step" in errors and "Traceback" not in errors
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_two_processes_get_the_loss_of_one(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet, "paper_models", lambda: {"resnet_14": small_network})
    lines = []
    train(plan_folder_run("resnet_14", folder, steps=2, batch=6, size=32, workers=0), device="cpu", say=lines.append)
    program = tmp_path / "program.py"
    program.write_text(WITH_A_SMALL_NETWORK)
    torchrun = str(Path(script()).parent / "torchrun")
    arguments = ("train", "resnet_14", "--folder", str(folder), *SHORT, "--workers", "1")
    together = subprocess.run(
        [torchrun, "--nproc-per-node=2", f"--master-port={free_port()}", str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "OMP_NUM_THREADS": "1", "SASA_BUILD": str(tmp_path / "two")},
    )
    assert together.returncode == 0, together.stderr
    assert printed_losses("\n".join(lines)) == pytest.approx(printed_losses(together.stdout), abs=1.5e-3)
