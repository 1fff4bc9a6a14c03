"""Averaged weights: an exponential moving average over the steps, evaluated instead of the weights themselves."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average:
    """w̄ ← decay · w̄ + (1 - decay) · w after every step, from w̄ = w after the first; parameters and running statistics.

    Args:
        model: whose weights; they keep their places in memory.
        decay: from 0 to below 1.

    Source: Polyak and Juditsky 1992; the averaging is PyTorch's.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.kept = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        # Whole numbers, batch norm's counts of batches, are not averaged: nothing reads them.
        self.averages, self.weights = ([x for x in _tensors(m) if x.is_floating_point()] for m in (self.module, model))

    @property
    def module(self) -> nn.Module:
        """The network with the averaged weights."""
        return self.kept.module

    @torch.no_grad()
    def update(self) -> None:
        """After a step. `AveragedModel.update_parameters` would make the CPU wait for the GPU at each of them."""
        if self.kept.n_averaged == 0:
            self.kept.update_parameters(self.model)
            return
        self.kept.multi_avg_fn(self.averages, self.weights, self.kept.n_averaged)
        self.kept.n_averaged += 1

    def state_dict(self, prefix: str = "") -> dict[str, Any]:
        """As `AveragedModel` has it."""
        return self.kept.state_dict(prefix=prefix)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a `state_dict`."""
        self.kept.load_state_dict(state)


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return [tensor.detach() for tensor in (*module.parameters(), *module.buffers())]
