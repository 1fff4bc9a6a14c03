"""Trained weights of the lessons' networks, one run each: small files that are checked before they are used.

Parameters are rounded to float16. What a batch norm has averaged and counted stays as it was: there are few of these
numbers, and a variance may be too small for float16. `index.json` says what each file must be and which record belongs
to it; `records.jsonl` beside it has the records of runs that are not among those of the tables.
"""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from sasa_tutorial.errors import TutorialError
from sasa_tutorial.files import read_checked
from sasa_tutorial.paths import shown, weights_root
from sasa_tutorial.training.plan import Plan
from sasa_tutorial.training.profiles import PROFILES
from sasa_tutorial.training.recipe import parameter_kinds, start_tables
from sasa_tutorial.training.records import Record, committed_records, read_records


class WeightsError(TutorialError):
    """Trained weights that cannot be used or made: which, what was expected, and how to mend it."""


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A line of the index: what the file must be, and the run it is from."""

    file: str
    sha256: str
    bytes: int
    dtype: str  # of the parameters
    model: str
    profile: str
    seed: int
    date: str  # start of the run: with the three above what tells its record from all others
    val_top1: float  # of its record, in percent

    @property
    def path(self) -> Path:
        return weights_root() / self.file

    @property
    def problem(self) -> str:
        """What is wrong with the file or its record, as the end of a sentence about the path; empty if nothing is."""
        return self._read()[1] or ("" if self._record() else f"has no record ({self._identity}) any more")

    @property
    def record(self) -> Record:
        """The record of the run.

        Raises:
            WeightsError: there is none.
        """
        record = self._record()
        if record is None:
            raise WeightsError(
                f"{shown(self.path)} has no record: {self._identity} was expected among them. {_mend(self.model)}"
            )
        return record

    def read(self) -> bytes:
        """The bytes of the file, read once and checked.

        Raises:
            WeightsError: missing, or not what the index says.
        """
        content, problem = self._read()
        if problem:
            raise WeightsError(f"{shown(self.path)} {problem}. {_mend(self.model)}")
        return content

    @property
    def _identity(self) -> str:
        return f"{self.model}, profile {self.profile}, seed {self.seed}, begun {self.date}"

    def _record(self) -> Record | None:
        names = ("model", "profile", "seed", "date")
        records = (record for path in record_files() for record in read_records(path))
        return next((r for r in records if all(getattr(r, name) == getattr(self, name) for name in names)), None)

    def _read(self) -> tuple[bytes, str]:
        content, problem = read_checked(self.path, f"sha256:{self.sha256}")
        expected = f": expected SHA-256 {self.sha256} ({self.bytes:,} bytes)" if problem == "is missing" else ""
        return content, problem + expected


def published_weights() -> dict[str, PublishedWeights]:
    """The index, by name of the network.

    Raises:
        WeightsError: it is missing or cannot be read.
    """
    path = weights_root() / "index.json"
    names = {field.name for field in fields(PublishedWeights)}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        return {name: PublishedWeights(**{field: entry[field] for field in names}) for name, entry in index.items()}
    except FileNotFoundError as error:
        raise WeightsError(f"{shown(path)} is missing. Restore it with `git checkout -- data/weights`.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{shown(path)} is not an index of weights ({type(error).__name__}: {error}). "
            "Restore it with `git checkout -- data/weights`."
        ) from error


def trained_network(name: str) -> nn.Module:
    """The trained network of a lesson: in evaluation mode, float32, on the CPU, its parameters frozen.

    Built with the settings of its record. The random numbers drawn after this call do not depend on it.

    Raises:
        ValueError: no network of that name has weights.
        WeightsError: the file or its record is missing, damaged, or of another version of the network.
    """
    entry = _entry(name)
    network, content = untrained(_plan_of(entry.record)), entry.read()
    try:
        network.load_state_dict(load(content))  # copies into the network's own float32
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{shown(entry.path)} does not fit the network ({reason}). {_mend(name)}") from error
    return network.eval().requires_grad_(False)


def starting_network(name: str) -> nn.Module:
    """The same network with the weights that its training began with, drawn anew from the seed of the run.

    In training mode: its batch norms have not seen an image yet, so they take the statistics of what they are shown.

    Raises:
        ValueError: no network of that name has weights.
        WeightsError: the record is missing.
    """
    record = _entry(name).record
    network = untrained(_plan_of(record))
    start_tables(network, record.config.get("table_start", 1.0))
    return network.train().requires_grad_(False)


@dataclass(frozen=True, kw_only=True)
class LearnedTable:
    """What training made of a position table, a memory or an embedding of a published network.

    Numbers that never moved are left out: the vectors of offsets that no map of the network is large enough to have.
    """

    network: str
    parameter: str
    moved: float  # the share of its numbers that moved
    correlation: float  # of those with what they began with; 1: nothing was learned but a scale
    growth: float  # their norm over the norm they began with


def learned_tables(name: str) -> list[LearnedTable]:
    """Every table of a published network beside its start; none for a network without tables.

    Raises:
        ValueError: no network of that name has weights.
        WeightsError: as `trained_network`.
    """
    network = starting_network(name)
    before, after = dict(network.named_parameters()), dict(trained_network(name).named_parameters())
    found = []
    for parameter, kind in parameter_kinds(network).items():
        if kind == "table":
            found.append(_learned(name, parameter, before[parameter].flatten(), after[parameter].flatten()))
    return found


def _learned(network: str, parameter: str, start: Float[Tensor, " n"], end: Float[Tensor, " n"]) -> LearnedTable:
    half = torch.finfo(torch.float16)  # what rounding alone may change: a part of a number, or of the least normal one
    moved = (end - start).abs() > half.eps * start.abs().clamp(min=half.smallest_normal)
    if not moved.any():
        return LearnedTable(network=network, parameter=parameter, moved=0.0, correlation=1.0, growth=1.0)
    start, end = start[moved], end[moved]
    return LearnedTable(
        network=network,
        parameter=parameter,
        moved=moved.float().mean().item(),
        correlation=torch.corrcoef(torch.stack((start, end)))[0, 1].item(),
        growth=(end.norm() / start.norm()).item(),
    )


def _entry(name: str) -> PublishedWeights:
    index = published_weights()
    if name not in index:
        raise ValueError(f"no trained weights are called {name!r}; there are: {', '.join(index) or 'none'}")
    return index[name]


def untrained(plan: Plan) -> nn.Module:
    """The network of a run as it was before its first step."""
    with torch.random.fork_rng(devices=[]):  # the reader's random numbers stay what they are
        torch.default_generator.manual_seed(plan.seed)  # as a run begins; torch.manual_seed would touch GPUs too
        return plan.network()


def _plan_of(record: Record) -> Plan:
    """The plan that builds a record's network, also when the profile has changed since."""
    size = {name: record.config[name] for name in ("depth", "width")}
    profile = replace(PROFILES[record.profile], **size)
    usual = Plan(model=record.model, profile=profile, seed=record.seed)
    known = {*usual.config, "steps"}
    options = {name: value for name, value in record.config.items() if name not in known}
    return replace(usual, options=options)


def record_files() -> tuple[Path, Path]:
    """Where the records of published networks are: those of the tables, and the others."""
    return committed_records(), weights_root() / "records.jsonl"


def _mend(name: str) -> str:
    return (
        "Restore it with `git checkout -- data/weights` (or install the package again), "
        f"or make it anew with `sasa-tutorial weights --publish {name}`"
        " after a training run."
    )
