"""The block that EANet puts on top of a convolutional network: external attention, batch norm, the input added, ReLU.

Sources: Guo et al. 2021, arXiv:2105.02358, Sec. 3.2; class `External_attention` of the released `model_torch.py`
(github.com/MenghaoGuo/EANet, commit 3ae0778).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.layers import ExternalAttention2d


class EANetBlock(nn.Module):
    """Every pixel adds what it has read from the memories.

        y = relu(x + BN(W_out A M_v)),  A = norm((W_q x) M_kᵀ)            norm: over the pixels, then over the slots

    Args:
        channels: in and out.
        slots: rows of each memory.

    Shapes: (b, channels, h, w) -> the same, any h and w.
    Cost: 2 n (channels² + channels slots) multiply-adds; 2 channels² + 2 channels slots + 2 channels parameters.

    The released block, part by part: `conv1` is `attention.to_q`, `linear_0` is `memory_k`, `linear_1` is `memory_v`
    (transposed), `conv2` is `attention.to_out` and `norm`. Two things differ:

    - `conv1` has a bias. It moves a slot's logits of all pixels by one number, M_k bias, which the softmax over the
      pixels takes out again: the output is the same and the gradient of the bias is 0, so it is left out.
    - `linear_1` is given the storage of `linear_0`. On a CPU they stay one tensor; moving the block to a GPU copies
      each, so there, where it was trained, they start equal and part. Here they start equal and part everywhere.

    Projections and memories start as released, N(0, 2 / channels), both memories from one draw.

    Raises:
        ValueError: channels or slots not positive; an input of another shape.
    """

    def __init__(self, channels: int, slots: int = 64) -> None:
        super().__init__()
        self.attention = ExternalAttention2d(channels, channels, slots=slots)
        self.norm = nn.BatchNorm2d(channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """What the block draws in place of what the layer in it has drawn."""
        channels = self.norm.num_features
        for projection in (self.attention.to_q, self.attention.to_out):
            nn.init.kaiming_normal_(projection.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.attention.memory_v, std=(2 / channels) ** 0.5)
        with torch.no_grad():
            self.attention.memory_k.copy_(self.attention.memory_v)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return F.relu(self.norm(self.attention(x)) + x, inplace=True)
