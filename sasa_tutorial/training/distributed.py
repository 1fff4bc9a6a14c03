"""One process or many: `torchrun` starts the same command on every GPU or machine, and this file is all that knows.

With W processes each takes 1/W of every batch. Gradients are averaged (DistributedDataParallel) and batch norms use
the statistics of the whole batch, so that the numbers are those of one process with the same batch size, up to
rounding.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from sasa_tutorial.devices import gpu_of_this_process, on_apple_gpu, on_gpu


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is, and where it computes."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """This process's part of a batch of `total` images."""
        part = total // self.count
        return slice(self.rank * part, (self.rank + 1) * part)

    def sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over all processes (the value itself where there is one)."""
        if self.count > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Whether any process says yes. All of them have to ask, at the same step."""
        return flag if self.count == 1 else bool(self.sum(torch.tensor(int(flag), device=self.device)).item())

    def share_object(self, make: Callable[[], Any]) -> Any:
        """What `make` returns in the first process, in all of them: files need to exist only where it runs."""
        if self.count == 1:
            return make()
        box: list[Any] = [None, None]
        if self.first:
            try:
                box[0] = make()
            except Exception as error:  # every process has to fail together, or the others wait for ever
                box[1] = error
        dist.broadcast_object_list(box, src=0, device=self.device)
        if box[1] is not None:
            raise box[1]
        return box[0]

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as this process trains it; its parameters stay those of `model`."""
        if self.count == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if on_gpu(self.device) else None)


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """The process group that `torchrun` asked for, for as long as the block lasts; without torchrun, one process.

    Raises:
        ValueError: several processes for one Apple GPU.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, device)
        return
    if on_apple_gpu(device):
        raise ValueError("several processes cannot share Apple's GPU: leave torchrun out, or add --device cpu")
    if on_gpu(device):
        device = gpu_of_this_process()
    dist.init_process_group("nccl" if on_gpu(device) else "gloo")
    try:
        yield Processes(dist.get_rank(), count, device)
    finally:
        dist.destroy_process_group()


def with_global_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """The same model with batch norms over the batches of all processes. Parameters and names stay."""
    if on_gpu(device):
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            # nn.SyncBatchNorm refuses CPU tensors; the class is all that differs, so nothing is copied.
            module.__class__ = _GlobalBatchNorm2d
    return model


class _GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose mean and variance are over every process's share of the batch."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if not self.training:
            return super().forward(x)
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = all_reduce(x.sum(dim=(0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = all_reduce(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]
