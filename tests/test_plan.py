"""What a record keeps of a run's settings, byte for byte: a change here would disown the records there are."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from sasa_tutorial.experiments.study import Entry
from sasa_tutorial.training.plan import plan_folder_run, plan_run
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import read_records
from tests.conftest import ROOT
from tests.test_folder import make_folder

_TABLES = '"table_decay": 0.0, "table_start": 1.0, "table_rate": 1.0, "vector_rate": 1.0, '
_RECIPE = f'"momentum": 0.9, "weight_decay": 0.0005, {_TABLES}'
_CLIPPED = _RECIPE.replace('"weight', '"clip": 5.0, "weight').replace('"table_rate": 1.0', '"table_rate": 8.0')
_END = '"padding_mode": "reflect", "flip": "random", "compile": false, "bfloat16": '
_EVERY_IMAGE = '"train_images": null, "validation_images": null, "test_images": null, '
SETTINGS = {
    "smoke": '"depth": 14, "width": 0.125, "train_images": 1600, "validation_images": 500, "test_images": 500, '
    '"epochs": 3, "batch_size": 32, "peak_lr": 0.1, "warmup": 0.15, '
    f'{_RECIPE}"label_smoothing": 0.1, "ema_decay": 0.0, "padding": 4, {_END}false',
    "laptop": '"depth": 26, "width": 0.25, "train_images": 30000, "validation_images": null, "test_images": null, '
    '"epochs": 2, "batch_size": 64, "peak_lr": 0.1, "warmup": 0.1, '
    f'{_RECIPE}"label_smoothing": 0.0, "ema_decay": 0.0, "padding": 0, {_END}true',
    "evening": f'"depth": 26, "width": 0.25, {_EVERY_IMAGE}"epochs": 10, "batch_size": 64, "peak_lr": 0.2, '
    f'"warmup": 0.1, {_CLIPPED}"label_smoothing": 0.0, "ema_decay": 0.99, "padding": 4, {_END}true',
    "gpu": f'"depth": 26, "width": 0.5, {_EVERY_IMAGE}"epochs": 12, "batch_size": 256, "peak_lr": 0.2, '
    f'"warmup": 0.1, {_RECIPE}"label_smoothing": 0.1, "ema_decay": 0.99, "padding": 4, {_END}false',
    "full": f'"depth": 26, "width": 1.0, {_EVERY_IMAGE}"epochs": 40, "batch_size": 512, "peak_lr": 0.4, '
    f'"warmup": 0.1, {_RECIPE}"label_smoothing": 0.1, "ema_decay": 0.99, "padding": 4, {_END}false',
}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_settings_of_a_profile_are_those_of_its_records(profile):
    plan = plan_run("convolution", profile, 2)
    expected = f'{{"model": "convolution", "profile": "{profile}", "seed": 2, {SETTINGS[profile]}}}'
    assert plan.identity == expected
    assert plan.folder.name == f"convolution-{profile}-seed2-{hashlib.sha256(expected.encode()).hexdigest()[:6]}"


def test_what_a_study_changes_stands_in_its_place():
    entry = Entry(label="", model="relative_offsets", options={"kernel_size": 5}, width=0.5, rate=2.0)
    before, after = SETTINGS["full"].split('"train_images"')
    network = before.replace('"width": 1.0', '"width": 0.5') + '"kernel_size": 5, '
    recipe = ('"train_images"' + after).replace('"peak_lr": 0.4', '"peak_lr": 0.8')
    assert json.dumps(entry.plan(PROFILES["full"], 0).config) == f"{{{network}{recipe}}}"
    trial = plan_run("convolution", "smoke", epochs=1, steps=7)
    changed = SETTINGS["smoke"].replace('"epochs": 3', '"epochs": 1')
    assert json.dumps(trial.config) == f'{{{changed}, "steps": 7}}'


def test_the_settings_of_a_folder_are_its_size_its_images_and_the_papers_recipe(tmp_path):
    plan = plan_folder_run("sasa_resnet_26", make_folder(tmp_path), steps=7, batch=6)
    assert json.dumps(plan.config) == (
        '{"image_size": 224, "classes": 3, "train_images": 21, "validation_images": 3, "test_images": 12, '
        '"files": "ea1ff3e58c18", "resize": 256, "least_area": 0.08, '
        '"epochs": 130, "batch_size": 6, "peak_lr": 0.00234375, "warmup": 0.07692307692307693, '
        f'"momentum": 0.9, "weight_decay": 0.0001, {_TABLES}'
        '"label_smoothing": 0.1, "ema_decay": 0.571429, "padding": 0, '
        f'{_END}false, "steps": 7}}'
    )


@pytest.mark.parametrize("path", ["data/results/cifar100.jsonl", "data/weights/records.jsonl"])
def test_committed_records_are_written_as_they_were_read(path):
    lines = Path(ROOT / path).read_text(encoding="utf-8").splitlines()
    assert [json.dumps(asdict(record), ensure_ascii=False) for record in read_records(ROOT / path)] == lines
