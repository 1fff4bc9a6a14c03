"""One training step of the CIFAR-100 comparison's networks: forward, loss, backward, update."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

import torch

from sasa_tutorial.bench.memory import peak_growth
from sasa_tutorial.bench.section import Part, Row, columns, number, quartiles
from sasa_tutorial.bench.setting import Setting
from sasa_tutorial.bench.timing import Times, interleaved
from sasa_tutorial.devices import on_gpu
from sasa_tutorial.models import cifar_models
from sasa_tutorial.precision import half_precision
from sasa_tutorial.training.recipe import Recipe, optimizer_for
from sasa_tutorial.training.step import TrainingStep

BASELINE = "convolution"
NETWORKS = (BASELINE, "local_attention", "relative_offsets")  # names in cifar_models()


@dataclass(frozen=True, kw_only=True)
class NetworkSetting:
    """The networks and what they are trained on. The defaults are those of the laptop profile."""

    depth: int = 26
    width: float = 0.25  # factor on the channels
    batch: int = 64  # images a step
    size: int = 32  # pixels, both sides
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class NetworkResult:
    """One network at one setting."""

    name: str
    setting: NetworkSetting
    step: Times
    images_per_second: float  # at the median
    of_convolution: float  # images a second, relative to the same network of convolutions
    peak_bytes: int | None  # of a step, beyond the network and the optimizer's state; None where unknown


def default_networks(device: torch.device) -> tuple[NetworkSetting, ...]:
    """On a CPU the laptop profile's size, then the full width, as many images as the layers are measured on; on a GPU
    the full width."""
    if on_gpu(device):
        return (NetworkSetting(device=str(device), width=1.0, batch=256),)
    return NetworkSetting(device=str(device)), NetworkSetting(device=str(device), width=1.0, batch=32)


def measure_network(
    setting: NetworkSetting, *, rounds: int, done: Callable[[], None] = lambda: None
) -> list[NetworkResult]:
    """Time and memory of a step. `done` is called after every round and every measurement of memory."""
    half = half_precision(torch.device(setting.device))
    steps = {name: step_of(name, setting, half=half) for name in NETWORKS}
    times = interleaved(steps, setting.device, rounds=rounds, done=done)
    del steps
    results = []
    for name in NETWORKS:
        peak = peak_growth(network_steps, name, setting)
        result = NetworkResult(
            name=name,
            setting=setting,
            step=times[name],
            images_per_second=1e3 * setting.batch / times[name].median,
            of_convolution=times[BASELINE].median / times[name].median,
            peak_bytes=peak,
        )
        results.append(result)
        done()
    return results


def network_steps(name: str, setting: NetworkSetting) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step with two of the images, after which the optimizer has its state, and one with all of them."""
    step = step_of(name, setting, half=half_precision(torch.device(setting.device)))
    return partial(step, 2), step


def step_of(
    name: str, setting: NetworkSetting, *, half: torch.dtype | None = None, capture: bool = False
) -> Callable[..., None]:
    """A training step on random images, always the same ones; an argument limits their number, unless it is captured
    in a CUDA graph. `half`: as in `TrainingStep`."""
    torch.manual_seed(0)
    device = torch.device(setting.device)
    model = cifar_models()[name](depth=setting.depth, width=setting.width)
    model.to(device, memory_format=torch.channels_last).train()
    # A small rate: the same images again and again must not make the numbers overflow.
    optimizer = optimizer_for(model, Recipe(epochs=1, batch_size=setting.batch, peak_lr=0.01))
    train = TrainingStep(model, optimizer, label_smoothing=0.1, half=half, capture=capture)
    images = torch.randn(setting.batch, 3, setting.size, setting.size)
    images = images.to(device, memory_format=torch.channels_last)
    labels = torch.randint(0, 100, (setting.batch,)).to(device)

    def step(count: int | None = None) -> None:
        train(images[:count], labels[:count])

    return step


def parts(setting: Setting, *, rounds: int) -> Iterator[Part]:
    """One part for each size of the networks; of the layers' setting the device counts."""
    for network in default_networks(torch.device(setting.device)):
        measure = partial(measure_network, network, rounds=rounds)
        yield Part("network", f"network, width {network.width:g}", rounds + 1 + len(NETWORKS), measure, show)


def show(rows: Sequence[Row]) -> str:
    """Images a second and memory of a training step, a table for each setting."""
    return "\n\n".join(_table(setting, list(found)) for setting, found in groupby(rows, itemgetter("setting")))


def _table(setting: Row, rows: Sequence[Row]) -> str:
    lines = [("network", "step, ms", "quartiles", "images / s", "/ convolution", "peak, MB")]
    for row in rows:
        memory = "unknown" if row["peak_bytes"] is None else number(row["peak_bytes"] / 1e6)
        speed = (number(row["images_per_second"]), f"{row['of_convolution']:.2f}")
        lines.append((row["name"], number(row["step"]["median"]), quartiles(row["step"]), *speed, memory))
    headline = (
        f"A training step of ResNet-{setting['depth']}, width {setting['width']:g}: batch {setting['batch']}, "
        f"{setting['size']} x {setting['size']} pixels, images a second."
    )
    return headline + "\n\n" + columns(lines)
