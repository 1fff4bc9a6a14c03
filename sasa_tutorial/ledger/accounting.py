"""From a network to the numbers that a paper's table prints.

AAConv's tables count multiply-adds alone, as `flops_per_image` does. SASA's tables print FLOPs of 23 networks that
cost differently. Multiply-adds, with q·r as a dot product for every cell of a window, give 16 of them; the others are
0.06 to 0.12 G away. Three rules together give all 23. They are a reading of the tables; the text does not say how it
counts. And they are a reading of Tables 1 and 3 to 7 alone: for the detectors of Table 2 they give one number of five,
multiply-adds two.

  1. r is added to the key before one dot product, q·(k + r): one FLOP for every channel and cell. Without keys q·r is
     a sum of row and column halves, as in this library; in the stem, a dot product of its own.
  2. Every number that leaves a batch norm costs PER_NORM FLOPs more (norm, ReLU, sum).
  3. Every logit costs PER_LOGIT FLOPs more (softmax).

The two constants are fitted: no other pair of whole numbers does it, and notebook 08 draws the region of those that do.
"""

from dataclasses import dataclass

import torch
from torch import nn

from sasa_tutorial.layers import AttentionStem2d, LocalSelfAttention2d
from sasa_tutorial.models.cost import flops_on_paper, on_paper, parameter_count

PER_NORM = 5  # FLOPs for every number that leaves a batch norm
PER_LOGIT = 8  # FLOPs for every logit of attention


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One network at one image size; everything for one image. One multiply-add is 2 FLOPs."""

    params: int  # that are trained
    buffers: int  # numbers that are kept and not trained
    flops: int  # multiply-adds, as this library computes them
    explicit_flops: int  # multiply-adds, with q·r as a dot product for every cell instead of row and column halves
    added_flops: int  # multiply-adds, with r added to the keys: rule 1
    norm_outputs: int
    logits: int

    def table_flops(self, per_norm: float = PER_NORM, per_logit: float = PER_LOGIT) -> float:
        """By the three rules that give the FLOPs of SASA's tables; see the head of this file."""
        return self.added_flops + per_norm * self.norm_outputs + per_logit * self.logits


def count(model: nn.Module, size: int) -> Cost:
    """The cost of a network on the meta device for an image of size x size pixels; nothing is computed.

    A copy is counted; the model stays as it is.
    """
    return count_on_paper(on_paper(model), size)


def count_on_paper(model: nn.Module, size: int) -> Cost:
    """The same for a network that `on_paper` or `put_on_paper` returned; it is left with hooks."""
    tally = dict.fromkeys(("explicit", "added", "norms", "logits"), 0)

    def local(layer: LocalSelfAttention2d, inputs: tuple, out: torch.Tensor) -> None:
        pixels, cells = out[:, 0].numel(), layer.kernel_size**2
        tally["logits"] += pixels * layer.heads * cells
        if layer.offsets is not None:
            halves, for_every_cell = _halves(layer, pixels), pixels * out.shape[1] * cells
            tally["explicit"] += 2 * for_every_cell - halves
            tally["added"] += for_every_cell - halves if layer.to_k is not None else 0

    def stem(layer: AttentionStem2d, inputs: tuple, out: torch.Tensor) -> None:
        pixels, cells = inputs[0][:, 0].numel(), layer.block**2
        tally["logits"] += pixels * layer.heads * cells
        for kind in ("explicit", "added"):
            tally[kind] += 2 * pixels * out.shape[1] * cells - _halves(layer, pixels)

    def norm(layer: nn.BatchNorm2d, inputs: tuple, out: torch.Tensor) -> None:
        tally["norms"] += out.numel()

    hooks = {LocalSelfAttention2d: local, AttentionStem2d: stem, nn.modules.batchnorm._BatchNorm: norm}
    for module in model.modules():
        for kind, hook in hooks.items():
            if isinstance(module, kind):
                module.register_forward_hook(hook)
    flops = flops_on_paper(model, size)
    return Cost(
        params=parameter_count(model),
        buffers=sum(buffer.numel() for buffer in model.buffers()),
        flops=flops,
        explicit_flops=flops + tally["explicit"],
        added_flops=flops + tally["added"],
        norm_outputs=tally["norms"],
        logits=tally["logits"],
    )


def _halves(layer: LocalSelfAttention2d | AttentionStem2d, pixels: int) -> int:
    """What the library spends on q·r: every query with both tables."""
    return 2 * pixels * layer.heads * (layer.offsets.row.numel() + layer.offsets.col.numel())
