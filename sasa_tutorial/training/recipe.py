"""The settings of a training run, and the optimizer and learning-rate schedule they describe."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

FLIPS = ("random", "alternating", "none")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. One meaning and one unit a line."""

    epochs: int  # passes over the training images
    batch_size: int  # images a step, over all processes together
    peak_lr: float  # learning rate at the end of the warm-up
    warmup: float = 0.1  # share of the steps over which the rate rises linearly
    momentum: float = 0.9  # Nesterov
    clip: float = 0.0  # gradients together longer than this are shortened to it (Euclidean norm); 0: never
    weight_decay: float = 5e-4  # of kernels: the weights of convolutions and linear layers
    table_decay: float = 0.0  # of tables: position tables, memories, mixture embeddings
    table_start: float = 1.0  # factor on the values with which tables begin
    table_rate: float = 1.0  # factor on the learning rate of tables
    vector_rate: float = 1.0  # factor on the learning rate of vectors: scales and shifts of norms, biases
    label_smoothing: float = 0.1  # probability mass spread over all classes
    ema_decay: float = 0.0  # of the averaged weights that are evaluated instead; 0: none
    padding: int = 4  # pixels around the image before the random crop back to its size
    padding_mode: str = "reflect"  # or "zeros"
    flip: str = "random"  # mirror half of the images, drawn anew each epoch; "alternating": the other half; or "none"
    compile: bool = False  # torch.compile the network
    capture: bool = True  # on a GPU: replay forward and backward as one CUDA graph; changes the time, not the numbers
    bfloat16: bool = False  # on a CPU that multiplies bfloat16 in hardware: convolutions in it, while training

    @property
    def settings(self) -> dict[str, Any]:
        """What decides a run's numbers, by name; clipping only where there is any, for the sake of older records."""
        neutral = {"capture"} | (set() if self.clip else {"clip"})
        return {name: value for name, value in asdict(self).items() if name not in neutral}

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "peak_lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share of the steps, from 0 to below 1, got {self.warmup}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be from 0 to below 1, got {self.ema_decay}")
        if self.clip < 0:
            raise ValueError(f"clip must not be negative, got {self.clip}")
        for name in ("table_start", "table_rate", "vector_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.flip not in FLIPS:
            raise ValueError(f"flip must be one of {', '.join(map(repr, FLIPS))}, got {self.flip!r}")
        if self.padding_mode not in ("reflect", "zeros"):
            raise ValueError(f'padding_mode must be "reflect" or "zeros", got {self.padding_mode!r}')
        if self.padding < 0:
            raise ValueError(f"padding must not be negative, got {self.padding}")


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate for step 0 … steps-1: linear warm-up to `peak_lr`, then half a cosine towards 0.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts; warm-up as in SASA, Sec. 4.1.
    """
    warmup = recipe.warmup * steps
    if step < warmup:
        return recipe.peak_lr * (step + 1) / (warmup + 1)
    return recipe.peak_lr * (1 + math.cos(math.pi * (step - warmup) / max(1.0, steps - warmup))) / 2


def parameter_kinds(model: nn.Module) -> dict[str, str]:
    """What each parameter is, by name: the rule by which weight decay and learning rates are given.

    "kernel": the weight of a convolution or a linear layer, whose scale a norm or a softmax has to keep in bounds.
    "table": any other parameter with more than one axis: relative offsets, memories, mixture embeddings. Decay would
        pull them to zero faster than their small gradients teach them.
    "vector": a norm's scale or shift, a bias.
    """
    linear = (nn.Conv1d, nn.Conv2d, nn.Linear)
    kernels = {id(module.weight) for module in model.modules() if isinstance(module, linear)}
    return {
        name: "kernel" if id(parameter) in kernels else "table" if parameter.ndim > 1 else "vector"
        for name, parameter in model.named_parameters()
    }


@torch.no_grad()
def start_tables(model: nn.Module, factor: float) -> None:
    """Bring tables that were just drawn to the size with which a recipe begins, its `table_start`."""
    kinds = parameter_kinds(model)
    for name, parameter in model.named_parameters():
        if kinds[name] == "table":
            parameter.mul_(factor)


def optimizer_for(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum; each kind of parameter has its own decay and its own factor on the learning rate.

    A group's factor is its "scale"; `set_rates` makes each group's rate of it.
    """
    kinds = parameter_kinds(model)
    settings = {
        "kernel": (recipe.weight_decay, 1.0),
        "table": (recipe.table_decay, recipe.table_rate),
        "vector": (0.0, recipe.vector_rate),
    }
    groups = [
        {
            "params": [p for name, p in model.named_parameters() if kinds[name] == kind and p.requires_grad],
            "weight_decay": decay,
            "scale": scale,
        }
        for kind, (decay, scale) in settings.items()
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.peak_lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group of `optimizer_for` its learning rate: scale · rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["scale"] * rate
