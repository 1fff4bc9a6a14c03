"""Which run it is: everything that decides a run's numbers, and where it is kept."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from sasa_tutorial import paths
from sasa_tutorial.errors import SettingError
from sasa_tutorial.models.paper import mechanism_of
from sasa_tutorial.training.imagenet import folder_profile
from sasa_tutorial.training.profiles import PROFILES, Profile, resolve_profile
from sasa_tutorial.training.records import Record, committed_records, local_records


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run before it is run.

    Raises:
        ValueError: a network or number that does not exist.
    """

    model: str  # key of the profile's networks
    profile: Profile
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)  # of the network, where not its defaults
    steps: int | None = None  # end after so many, the schedule shortened with them; None: all epochs
    as_planned: bool = True  # with the profile's own settings

    def __post_init__(self) -> None:
        if self.model not in self.profile.networks:
            raise SettingError(f"no network is called {self.model!r}; there are: {', '.join(self.profile.networks)}")
        if type(self.seed) is not int or not 0 <= self.seed < 2**32:
            raise SettingError(f"seed must be a whole number from 0 to {2**32 - 1}, got {self.seed!r}")
        if self.steps is not None and self.steps <= 0:
            raise SettingError(f"steps must be positive, got {self.steps}")

    def __str__(self) -> str:
        profile = self.profile.usual or PROFILES[self.profile.name]
        usual = Plan(model=self.model, profile=profile, seed=self.seed).config
        unusual = [f", {name} {value}" for name, value in self.config.items() if usual.get(name) != value]
        return f"{self.model}{''.join(unusual)}, profile {self.profile.name}, seed {self.seed}"

    def network(self) -> nn.Module:
        """The network, with weights drawn anew."""
        build = self.profile.networks[self.model]
        return build(**self.profile.network_settings, num_classes=self.profile.source.classes, **self.options)

    @property
    def mechanism(self) -> str:
        """The lesson the network belongs to."""
        return mechanism_of(self.model)

    @property
    def config(self) -> dict[str, Any]:
        """The settings of network, data and recipe, flat, as a record keeps them."""
        profile = self.profile
        network = {**profile.network_settings, **self.options}
        return (
            network | profile.image_settings | profile.recipe.settings | ({"steps": self.steps} if self.steps else {})
        )

    @property
    def identity(self) -> str:
        """The same for two runs that must give the same numbers on the same machine."""
        return json.dumps({"model": self.model, "profile": self.profile.name, "seed": self.seed, **self.config})

    @property
    def folder(self) -> Path:
        """Checkpoint, weights and lock of the run. Other settings are another run, in a folder of its own."""
        settings = hashlib.sha256(self.identity.encode()).hexdigest()[:6]
        return paths.build_root() / "runs" / f"{self.model}-{self.profile.name}-seed{self.seed}-{settings}"

    @property
    def checkpoint(self) -> Path:
        """Where the run is kept until it is finished."""
        return self.folder / "checkpoint.pt"

    @property
    def records(self) -> Path:
        """The file its record goes to: planned runs on CIFAR-100, in one's own checkout, are evidence; others trials.

        A checkout that this user cannot write is somebody else's.
        """
        folder = paths.results_root()
        own = paths.checkout() is not None and (os.access(folder, os.W_OK) or not folder.exists())
        evidence = self.as_planned and self.profile.source.recorded and own
        return committed_records() if evidence else local_records()

    def same_settings(self, record: Record) -> bool:
        """Whether `record` is of a run like this one, with any seed."""
        # The settings last: they are put together anew each time, and most records differ before that.
        return (record.model, record.profile) == (self.model, self.profile.name) and record.config == self.config

    def matches(self, record: Record) -> bool:
        """Whether `record` is of this run."""
        return record.seed == self.seed and self.same_settings(record)


def plan_run(
    model: str, profile: str = "auto", seed: int = 0, *, epochs: int | None = None, steps: int | None = None
) -> Plan:
    """The run that a command or a notebook asks for; `epochs` or `steps` make it a trial.

    Raises:
        ValueError: a network, profile or number that does not exist.
    """
    resolved = resolve_profile(profile)
    as_planned = epochs is None and steps is None
    if epochs is not None:
        resolved = replace(resolved, recipe=replace(resolved.recipe, epochs=epochs))
    return Plan(model=model, profile=resolved, seed=seed, steps=steps, as_planned=as_planned)


def plan_folder_run(
    model: str,
    images: Path,
    seed: int = 0,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    **settings: int | None,
) -> Plan:
    """The run of one of the papers' networks on the images in a folder; `settings` as in `folder_profile`.

    Raises:
        ValueError: a network or number that does not exist.
        DatasetError: the folder is not laid out like ImageNet.
    """
    profile = folder_profile(images, epochs=epochs, steps=steps, **settings)
    return Plan(model=model, profile=profile, seed=seed, steps=steps, as_planned=False)
