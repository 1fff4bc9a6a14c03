"""A whole benchmark as one document: which parts there are, and what it was measured on."""

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch

from sasa_tutorial.bench import tables
from sasa_tutorial.bench.floor import measure_floor
from sasa_tutorial.bench.growth import FACTORS, measure_growth, settings_over
from sasa_tutorial.bench.layers import measure_layers
from sasa_tutorial.bench.machine import measure_machine
from sasa_tutorial.bench.network import NETWORKS, default_networks, measure_network
from sasa_tutorial.bench.setting import Setting
from sasa_tutorial.bench.subjects import subjects
from sasa_tutorial.devices import device_name, on_gpu, processor_name
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.training.provenance import commit

SECTIONS = ("machine", "layers", "network", "growth", "floor")


@dataclass(frozen=True)
class Part:
    """What is measured, and shown, in one go."""

    section: str  # of the document
    title: str
    steps: int  # how often `done` is called
    measure: Callable[..., Any]  # done= -> a result or a list of them
    show: Callable[[Any], str]  # what is stored -> text

    def run(self, document: dict[str, Any], done: Callable[[], None]) -> str:
        """Measure, store it in the document, return it as text.

        Raises:
            TutorialError: the GPU has too little memory for it.
        """
        try:
            results = self.measure(done=done)
        except torch.OutOfMemoryError as error:
            raise TutorialError(
                f"too little memory on the GPU for {self.title}: take fewer images (--batch), or other parts (--only)"
            ) from error
        if isinstance(results, list):
            stored = [asdict(result) for result in results]
            document[self.section] += stored
        else:
            stored = document[self.section] = asdict(results)
        return self.show(stored)


def sections_for(device: torch.device) -> tuple[str, ...]:
    """What can be measured there: the floor is that of a GPU."""
    return SECTIONS if on_gpu(device) else SECTIONS[:-1]


def parts(setting: Setting, sections: Sequence[str], *, rounds: int) -> Iterator[Part]:
    """The parts of these sections, in order.

    Raises:
        ValueError: a section that there is not, or not on this device.
    """
    device = torch.device(setting.device)
    for section in sections:
        if section not in sections_for(device):
            raise ValueError(f"on {device.type} there are {', '.join(sections_for(device))}, got {section!r}")
    timed = rounds + 1
    if "machine" in sections:
        yield Part("machine", "machine", timed, partial(measure_machine, setting, rounds=rounds), tables.machine)
    if "layers" in sections:
        steps = timed + len(subjects(setting))
        yield Part("layers", "layers", steps, partial(measure_layers, setting, rounds=rounds), tables.layers)
    for network in default_networks(device) if "network" in sections else ():
        measure = partial(measure_network, network, rounds=rounds)
        yield Part("network", f"network, width {network.width:g}", timed + len(NETWORKS), measure, tables.networks)
    for factor in FACTORS if "growth" in sections else ():
        measure = partial(measure_growth, factor, settings_over(factor, setting), rounds=rounds)
        yield Part("growth", f"growth over {factor}", timed, measure, tables.growth)
    if "floor" in sections:
        yield Part("floor", "floor", timed, partial(measure_floor, setting, rounds=rounds), tables.floor)


def new_document(setting: Setting, *, rounds: int) -> dict[str, Any]:
    """A document without measurements: the machine, the versions, the setting."""
    return {
        "device": device_name(torch.device(setting.device)),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": rounds,
        "setting": asdict(setting),
        "machine": None,
        "layers": [],
        "network": [],
        "growth": [],
        "floor": None,
    }
