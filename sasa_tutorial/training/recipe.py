"""The settings of a training run, and the optimizer and learning-rate schedule they describe."""

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. One meaning and one unit a line."""

    epochs: int  # passes over the training images
    batch_size: int  # images a step, over all processes together
    peak_lr: float  # learning rate at the end of the warm-up
    warmup: float = 0.1  # share of the steps over which the rate rises linearly
    momentum: float = 0.9  # Nesterov
    weight_decay: float = 5e-4  # on weights of convolutions and linear layers only
    label_smoothing: float = 0.1  # probability mass spread over all classes
    ema_decay: float = 0.0  # of the averaged weights that are evaluated instead; 0: none
    padding: int = 4  # pixels around the image before the random crop back to its size
    padding_mode: str = "reflect"  # or "zeros"
    flip: bool = True  # mirror half of the images
    compile: bool = False  # torch.compile the network

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "peak_lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share of the steps, from 0 to below 1, got {self.warmup}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be from 0 to below 1, got {self.ema_decay}")
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


def optimizer_for(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weight decay on matrices and kernels, not on norms, biases and other vectors."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.peak_lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )
