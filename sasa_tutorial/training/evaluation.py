"""How good a network is on a set of images."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from sasa_tutorial.datasets import ImageSet
from sasa_tutorial.precision import computing, summing
from sasa_tutorial.training.distributed import Processes


@dataclass(frozen=True, kw_only=True)
class Score:
    """Mean cross-entropy (nats) and the percentage of images whose label is first, or among the first five."""

    loss: float
    top1: float
    top5: float


@torch.no_grad()
def evaluate(model: nn.Module, images: ImageSet, processes: Processes, *, batch_size: int | None = None) -> Score:
    """The model's score on all `images`; with several processes each takes every n-th image.

    The model is put into evaluation mode and left there.
    """
    model.eval()
    mine = images.subset(torch.arange(processes.rank, len(images), processes.count))
    numbers = summing(processes.device)
    totals = torch.zeros(3, dtype=numbers, device=processes.device)
    for pixels, labels in mine.batches(processes.device, batch_size):
        with computing(processes.device):
            logits = model(pixels.contiguous(memory_format=torch.channels_last))
        logits = logits.float()
        hits = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        loss = F.cross_entropy(logits, labels, reduction="sum")
        totals += torch.stack((loss.to(numbers), hits[:, 0].sum().to(numbers), hits.sum().to(numbers)))
    loss, top1, top5 = (processes.sum(totals) / len(images)).tolist()
    return Score(loss=loss, top1=100 * top1, top5=100 * top5)
