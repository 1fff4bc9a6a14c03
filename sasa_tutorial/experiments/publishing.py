"""Making the file of trained weights from a finished run, and the line of the index that goes with it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sasa_tutorial.experiments.weights import PublishedWeights, WeightsError, published_weights, record_files, untrained
from sasa_tutorial.files import write_whole
from sasa_tutorial.paths import shown, weights_root
from sasa_tutorial.training.checkpoints import load_checkpoint
from sasa_tutorial.training.distributed import Processes
from sasa_tutorial.training.evaluation import evaluate
from sasa_tutorial.training.plan import Plan
from sasa_tutorial.training.records import Record, append_record, committed_records, local_records, read_records

LARGEST = 3_000_000  # bytes of a file: they are part of the repository and of the installed package
AGREEMENT = 0.3  # points of validation top-1 between a record and its rounded weights


def publish_weights(plan: Plan) -> PublishedWeights:
    """Make the file of a network from its finished run on this machine, in place of the one there was.

    Raises:
        WeightsError: the run is not finished, is not of real images, or has no record; its weights do not give the
            record's accuracy, are beyond float16, or are too large.
    """
    if not plan.profile.source.recorded:
        raise WeightsError(f"{plan}: only networks trained on CIFAR-100 are published. Choose another profile.")
    record = _record_of_finished(plan)
    network = untrained(plan)
    rounded = rounded_to_half(load_file(plan.folder / "weights.safetensors"), dict(network.named_parameters()))
    network.load_state_dict(rounded)
    measured = _validation_top1(network, plan)
    if abs(measured - record.val_top1) > AGREEMENT:
        raise WeightsError(
            f"{plan}: the rounded weights have validation top-1 {measured:.2f} %, the record {record.val_top1:.2f} %; "
            f"at most {AGREEMENT} points apart were expected. The weights are of another run: train it with --fresh."
        )
    content = save(rounded)
    if len(content) > LARGEST:
        raise WeightsError(f"{plan}: {len(content):,} bytes are too many for the repository; at most {LARGEST:,}.")
    entry = PublishedWeights(
        file=f"{plan.model}.safetensors",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        dtype="float16",
        **{name: getattr(record, name) for name in ("model", "profile", "seed", "date", "val_top1")},
    )
    weights_root().mkdir(parents=True, exist_ok=True)
    if not any(other.identity == record.identity for other in read_records(committed_records())):
        append_record(record_files()[1], record)
    _write(entry.path, content)
    index = published_weights() if (weights_root() / "index.json").exists() else {}
    lines = {name: asdict(each) for name, each in sorted({**index, plan.model: entry}.items())}
    _write(weights_root() / "index.json", json.dumps(lines, indent=1) + "\n")
    return entry


def rounded_to_half(state: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state in which the parameters are float16, and buffers what they were.

    Raises:
        WeightsError: a parameter is beyond float16.
    """
    rounded = {name: value.half() if name in parameters else value for name, value in state.items()}
    for name in parameters:
        if not rounded[name].isfinite().all():
            largest = state[name].abs().max().item()
            raise WeightsError(f"{name} has the magnitude {largest:.3g}; float16 ends at 65504.")
    return rounded


def _validation_top1(network: nn.Module, plan: Plan) -> float:
    _, validation, _ = plan.profile.load()
    cpu = torch.device("cpu")
    return evaluate(network.to(memory_format=torch.channels_last), validation, Processes(0, 1, cpu)).top1


def _record_of_finished(plan: Plan) -> Record:
    """The record of the run in the plan's folder, known by the moment it began: a run may have been done twice."""
    finished = next(iter(plan.folder.glob("finished-*.pt")), None)
    if finished is None or not (plan.folder / "weights.safetensors").is_file():
        command = f"sasa-tutorial train {plan.model} --profile {plan.profile.name} --seed {plan.seed}"
        raise WeightsError(f"{shown(plan.folder)} holds no finished run. Train it first: `{command}`.")
    started = load_checkpoint(finished)["progress"]["started"]
    records = [r for path in (committed_records(), local_records()) for r in read_records(path) if plan.matches(r)]
    for record in records:
        if record.date == started and record.status == "finished":
            return record
    others = ", ".join(record.date for record in records) or "none"
    raise WeightsError(
        f"{shown(plan.folder)} holds a run begun {started}, and no record is of that one (recorded: {others}). "
        "Train it again with --fresh."
    )


def _write(path: Path, content: bytes | str) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise WeightsError(f"{shown(path)} could not be written ({error}); what was there before is kept.") from error
