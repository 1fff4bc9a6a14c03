"""Trained weights: rounded as promised, checked before use, bound to their record, and still the network they were."""

import copy
import hashlib
import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sasa_tutorial import paths
from sasa_tutorial.datasets import load_cifar100, normalise, stratified_subset, synthetic_cifar100
from sasa_tutorial.experiments import publishing, weights
from sasa_tutorial.experiments.publishing import publish_weights
from sasa_tutorial.experiments.weights import WeightsError, published_weights, trained_network
from sasa_tutorial.layers import ExternalAttention2d
from sasa_tutorial.lessons import LESSONS
from sasa_tutorial.training.checkpoints import save_checkpoint
from sasa_tutorial.training.distributed import Processes
from sasa_tutorial.training.evaluation import evaluate
from sasa_tutorial.training.plan import Plan
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.records import Record, append_record, local_records
from tests.conftest import ROOT, real_data

NAMES = tuple(sorted(lesson.name for lesson in LESSONS))
TINY = replace(PROFILES["laptop"], depth=14, width=0.125)
BEGUN = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """Weights and records in a folder of the test's own, empty at first."""
    monkeypatch.setattr(paths, "results_root", lambda: tmp_path / "results")
    for module in (weights, publishing):
        monkeypatch.setattr(module, "weights_root", lambda: tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def finished(elsewhere, monkeypatch) -> tuple[Plan, dict[str, torch.Tensor]]:
    """A run that looks finished: weights, checkpoint, record; and its weights."""
    plan = Plan(model="external_attention", profile=TINY, seed=3, options={"slots": 16})
    network = plan.network()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(1e-6, 2e-6)  # where float16 has two digits
            module.num_batches_tracked.fill_(1311)
    plan.folder.mkdir(parents=True)
    save_file(network.state_dict(), plan.folder / "weights.safetensors")
    save_checkpoint(plan.folder / "finished-abc123.pt", {"progress": {"started": BEGUN}})
    append_record(local_records(), run_record(plan))
    monkeypatch.setattr(publishing, "_validation_top1", lambda network, plan: 20.2)
    return plan, network.state_dict()


def run_record(plan: Plan, date: str = BEGUN) -> Record:
    return Record(
        model=plan.model,
        mechanism=plan.mechanism,
        dataset="cifar100",
        profile=plan.profile.name,
        config=plan.config,
        seed=plan.seed,
        params=1,
        flops_per_image=1,
        epochs=3,
        val_top1=20.0,
        test_top1=20.0,
        test_top5=40.0,
        train_seconds=1.0,
        images_per_second=1.0,
        peak_memory_bytes=None,
        device="a CPU",
        torch="2.11.0",
        version="0.1.0",
        commit=None,
        date=date,
        status="finished",
    )


# Publishing


def test_parameters_are_rounded_and_statistics_are_not(finished):
    plan, original = finished
    entry = publish_weights(plan)
    kept = load_file(entry.path)
    parameters = dict(plan.network().named_parameters())
    assert kept.keys() == original.keys() and 0 < len(parameters) < len(kept)
    for name, value in original.items():
        if name in parameters:
            assert kept[name].dtype == torch.float16 and torch.equal(kept[name], value.half())
        else:
            assert kept[name].dtype == value.dtype and torch.equal(kept[name], value), name
    assert (entry.dtype, entry.val_top1, entry.bytes) == ("float16", 20.0, entry.path.stat().st_size)
    assert entry.sha256 == hashlib.sha256(entry.path.read_bytes()).hexdigest()
    assert sorted(file.name for file in entry.path.parent.iterdir()) == [
        "external_attention.safetensors",
        "index.json",
        "records.jsonl",
    ]


def test_the_network_comes_back_as_it_was_but_for_the_rounding(finished):
    plan, original = finished
    publish_weights(plan)
    before = torch.get_rng_state()
    network = trained_network("external_attention")
    assert torch.equal(before, torch.get_rng_state()), "loading draws no random numbers of the reader's"
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    parameters = dict(network.named_parameters())
    for name, value in network.state_dict().items():
        expected = original[name].half().float() if name in parameters else original[name]
        assert value.dtype == original[name].dtype and torch.equal(value, expected), name


def test_the_starting_network_is_the_one_that_the_run_began_with(finished):
    plan, _ = finished
    publish_weights(plan)
    torch.manual_seed(plan.seed)
    begun = plan.network()
    start = weights.starting_network("external_attention")
    assert start.training and all(map(torch.equal, start.parameters(), begun.parameters()))


def test_publishing_twice_changes_nothing(finished):
    plan, _ = finished
    first = publish_weights(plan)
    content = {file.name: file.read_bytes() for file in first.path.parent.iterdir()}
    assert publish_weights(plan) == first
    assert {file.name: file.read_bytes() for file in first.path.parent.iterdir()} == content


def test_weights_of_another_run_than_the_record_are_refused(finished):
    plan, _ = finished
    local_records().unlink()
    append_record(local_records(), run_record(plan, date="2026-02-02T00:00:00+00:00"))
    with pytest.raises(WeightsError, match=rf"begun {BEGUN[:10]}.*recorded: 2026-02-02.*--fresh"):
        publish_weights(plan)


def test_weights_without_the_recorded_accuracy_are_refused(finished, elsewhere, monkeypatch):
    plan, _ = finished
    monkeypatch.setattr(publishing, "_validation_top1", lambda network, plan: 20.31)
    with pytest.raises(WeightsError, match=r"top-1 20\.31 %, the record 20\.00 %"):
        publish_weights(plan)
    assert not elsewhere.exists()


def test_a_run_that_is_not_finished_is_refused(elsewhere):
    with pytest.raises(WeightsError, match=r"no finished run.*`sasa-tutorial train convolution --profile laptop"):
        publish_weights(Plan(model="convolution", profile=TINY, seed=0))


def test_synthetic_images_are_refused(elsewhere):
    with pytest.raises(WeightsError, match="only networks trained on CIFAR-100"):
        publish_weights(Plan(model="convolution", profile=PROFILES["smoke"], seed=0))


def test_large_weights_and_those_beyond_float16_are_refused(finished, monkeypatch):
    plan, original = finished
    monkeypatch.setattr(publishing, "LARGEST", 1000)
    with pytest.raises(WeightsError, match=r"bytes are too many for the repository; at most 1,000"):
        publish_weights(plan)
    original["classifier.bias"][0] = 1e5
    save_file(original, plan.folder / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"classifier\.bias has the magnitude 1e\+05; float16 ends at 65504"):
        publish_weights(plan)


# Using


@pytest.fixture
def published(finished) -> weights.PublishedWeights:
    return publish_weights(finished[0])


def test_a_changed_byte_is_found_before_the_file_is_used(published):
    content = bytearray(published.path.read_bytes())
    content[-1] ^= 1
    published.path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"is damaged: expected SHA-256 {published.sha256}.*git checkout"):
        trained_network(published.model)
    assert published.problem.startswith("is damaged")


def test_a_missing_file_record_index_or_name_is_named(published):
    shutil.copy(published.path, kept := published.path.with_suffix(".kept"))
    published.path.unlink()
    with pytest.raises(WeightsError, match="is missing: expected SHA-256"):
        trained_network(published.model)
    kept.rename(published.path)
    (published.path.parent / "records.jsonl").unlink()
    with pytest.raises(
        WeightsError, match="has no record: external_attention, profile laptop, seed 3, begun 2026-01-01"
    ):
        trained_network(published.model)
    assert "has no record" in published.problem
    with pytest.raises(ValueError, match="no trained weights are called 'resnet'; there are: external_attention"):
        trained_network("resnet")
    (published.path.parent / "index.json").write_text("{]")
    with pytest.raises(WeightsError, match="is not an index of weights"):
        trained_network(published.model)
    (published.path.parent / "index.json").unlink()
    with pytest.raises(WeightsError, match=r"index\.json is missing"):
        trained_network(published.model)


def test_weights_of_another_network_are_named(published):
    other = Plan(model="convolution", profile=TINY, seed=0).network()
    save_file(other.state_dict(), published.path)
    index = published.path.parent / "index.json"
    digest = hashlib.sha256(published.path.read_bytes()).hexdigest()
    index.write_text(index.read_text().replace(published.sha256, digest))
    with pytest.raises(WeightsError, match="does not fit the network"):
        trained_network(published.model)


def test_learned_tables_are_held_against_their_start(monkeypatch):
    def network(change: float):
        layer = ExternalAttention2d(4, 8, slots=16, heads=2)
        generator = torch.Generator().manual_seed(0)
        for parameter in layer.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        layer.memory_k.data *= -change
        layer.memory_v.data[0] *= change
        return layer

    monkeypatch.setattr(weights, "starting_network", lambda name: network(-1.0))
    monkeypatch.setattr(weights, "trained_network", lambda name: network(2.0))
    key, value = weights.learned_tables("external_attention")
    assert (key.parameter, value.parameter) == ("memory_k", "memory_v"), "projections are no tables"
    assert key.correlation == pytest.approx(-1.0) and key.growth == pytest.approx(2.0)
    assert key.moved == 1
    # Only the first of sixteen slots has moved; the others would say that the memory is what it was.
    assert value.moved == pytest.approx(1 / 16)
    assert value.correlation == pytest.approx(-1.0) and value.growth == pytest.approx(2.0)


def test_a_table_that_never_moved_says_so(monkeypatch):
    layer = ExternalAttention2d(4, 8, slots=16, heads=2)
    layer.memory_k.data[0] *= 1e-5  # numbers that float16 rounds most coarsely
    rounded = copy.deepcopy(layer).half().float()
    monkeypatch.setattr(weights, "starting_network", lambda name: layer)
    monkeypatch.setattr(weights, "trained_network", lambda name: rounded)
    for table in weights.learned_tables("external_attention"):
        assert (table.moved, table.correlation, table.growth) == (0, 1, 1)


def test_a_start_is_as_large_as_the_recipe_made_it(finished, monkeypatch):
    publish_weights(finished[0])
    drawn = weights.starting_network("external_attention").state_dict()
    record = published_weights()["external_attention"].record
    record.config["table_start"] = 0.25
    monkeypatch.setattr(weights.PublishedWeights, "record", record)
    smaller = weights.starting_network("external_attention").state_dict()
    for name, value in drawn.items():
        assert torch.equal(smaller[name], value * (0.25 if "memory" in name else 1)), name


# The committed files


def test_every_lesson_has_small_right_weights():
    entries = published_weights()
    assert tuple(entries) == NAMES
    for name, entry in entries.items():
        assert entry.problem == "" and entry.bytes < publishing.LARGEST and entry.model == name
        assert entry.val_top1 == entry.record.val_top1 and entry.record.status == "finished"
    folder = ROOT / "data" / "weights"
    listed = {"index.json", "records.jsonl", *(entry.file for entry in entries.values())}
    assert {file.name for file in folder.iterdir()} == listed, "what is there is in the index"
    assert json.loads((folder / "index.json").read_text()).keys() == entries.keys()


@pytest.mark.parametrize("name", NAMES)
def test_they_are_networks_that_tell_images_apart(name):
    network = trained_network(name)
    images = normalise(synthetic_cifar100(100, split="validation").images)
    with torch.no_grad():
        logits = network(images)
    assert logits.isfinite().all() and logits.std(dim=0).mean() > 0.2, "images that differ get answers that differ"
    assert {p.dtype for p in network.parameters()} == {torch.float32}


@pytest.mark.skipif(not real_data(), reason="CIFAR-100 is not here")
@pytest.mark.parametrize("name", NAMES)
def test_on_real_images_they_have_the_recorded_accuracy(name):
    recorded = published_weights()[name].record
    images = stratified_subset(load_cifar100(split="validation"), recorded.config["validation_images"])
    score = evaluate(trained_network(name), images, Processes(0, 1, torch.device("cpu")))
    assert score.top1 == pytest.approx(recorded.val_top1, abs=0.5)


def test_they_are_part_of_the_installed_package(monkeypatch):
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    monkeypatch.setattr(paths, "checkout", lambda: None)
    assert paths.weights_root() == ROOT / wheel["force-include"]["data/weights"]


def test_the_command_lists_and_checks_them(said):
    result = said("weights")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(NAMES)
    assert all(f"data/weights/{name}.safetensors: ok (" in line for name, line in zip(NAMES, lines, strict=True))
    learned = said("weights", "--learned").stdout
    assert "relative_offsets, groups.0.0.spatial.offsets.row: correlation with its start " in learned
    assert "convolution, stem" not in learned, "it has no tables"
    refused = said("weights", "--publish", "convolution", "--profile", "laptop", "--seed", "99")
    assert refused.returncode == 1 and "holds no finished run" in refused.stderr and "Traceback" not in refused.stderr
