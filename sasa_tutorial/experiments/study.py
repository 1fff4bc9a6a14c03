"""What a study is: networks that differ in one thing, and the runs it takes to compare them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sasa_tutorial.training.plan import Plan
from sasa_tutorial.training.profiles import PROFILES, Profile

EVERYWHERE = tuple(reversed(PROFILES))  # the largest first


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One network of a study, as it differs from a lesson's."""

    label: str
    model: str  # key of cifar_models()
    options: Mapping[str, Any] = field(default_factory=dict)  # of its builder
    width: float = 1.0  # factor on the profile's
    recipe: Mapping[str, float] = field(default_factory=dict)  # instead of the profile's settings
    rate: float = 1.0  # factor on the profile's peak learning rate
    published: float | None = None
    against: str | None = None  # label of the entry it is compared with, where that is not the study's reference

    def plan(self, profile: Profile, seed: int) -> Plan:
        """The run of this network under a profile."""
        peak_lr = {"peak_lr": round(profile.recipe.peak_lr * self.rate, 6)} if self.rate != 1 else {}
        recipe = replace(profile.recipe, **{**self.recipe, **peak_lr})
        size = replace(profile, width=profile.width * self.width, recipe=recipe)
        return Plan(model=self.model, profile=size, seed=seed, options=self.options)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Networks that differ in one thing."""

    name: str
    question: str
    source: str  # of the published numbers
    trend: str  # what was published, in words
    entries: tuple[Entry, ...]
    reference: str  # label of the entry that the others are compared with, unless they say otherwise
    metric: str = "test_top1"  # field of a record; choices are made on "val_top1"
    seeds: int = 3
    lesson: str  # the notebook that derives what is varied
    profiles: tuple[str, ...] = EVERYWHERE

    def __getitem__(self, label: str) -> Entry:
        return next(entry for entry in self.entries if entry.label == label)

    def reference_of(self, entry: Entry) -> Entry:
        """What an entry is compared with; itself where it is a reference."""
        return self[entry.against or self.reference]
