"""External attention: the keys and values are two learned memories, the same for every image.

    A = norm(q M_kᵀ),  y = A M_v            norm: softmax over the pixels, then each pixel's row divided by its sum

Slots compete for nothing at first: each spreads a total of 1 over the pixels; then each pixel shares itself out among
the slots. Together this is the softmax over slots of (logits - logsumexp of the logits over pixels).

Source: Guo et al. 2021, arXiv:2105.02358.
"""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.layers.conventions import Layer, draw_normal
from sasa_tutorial.layers.heads import check_channels, check_heads, check_images, join_heads, split_heads


class ExternalAttention2d(Layer):
    """Attention to `slots` learned key-value pairs, shared by all images and all heads.

    Args:
        in_channels, out_channels: as in a convolution.
        slots: rows of each memory.
        heads: contiguous groups of d = out_channels / heads channels.
        normalization: "double", the paper's; or "slots", a softmax over the slots for each pixel by itself, with which
            no pixel sees another (the ablation).
        device, dtype: of the parameters, as in `nn.Conv2d`.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h, w), any h and w.
    Cost: n (c_in c_out + 2 c_out slots + c_out²) multiply-adds: linear in the number of pixels n.

    The two memories are untied, as in the paper and unlike the released code on a CPU, where they share storage. The
    residual, the batch norm and the ReLU around it belong to the network's block.

    Raises:
        ValueError: arguments that do not fit; an input of another shape.

    Source: Guo et al. 2021, arXiv:2105.02358, Sec. 3.2 and Algorithm 1; heads: Sec. 3.3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        slots: int = 64,
        heads: int = 1,
        *,
        normalization: str = "double",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if normalization not in ("double", "slots"):
            raise ValueError(f'normalization must be "double" or "slots", got {normalization!r}')
        self.normalization = normalization
        check_channels(in_channels=in_channels, out_channels=out_channels, slots=slots)
        head_dim = check_heads(out_channels, heads)
        self.in_channels, self.heads = in_channels, heads
        place = {"device": device, "dtype": dtype}
        self.to_q = nn.Conv2d(in_channels, out_channels, 1, bias=False, **place)
        self.to_out = nn.Conv2d(out_channels, out_channels, 1, bias=False, **place)
        self.memory_k = nn.Parameter(torch.empty(slots, head_dim, **place))
        self.memory_v = nn.Parameter(torch.empty(slots, head_dim, **place))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        slots, head_dim = self.memory_k.shape
        draw_normal(self.memory_k, head_dim**-0.5)
        draw_normal(self.memory_v, slots**-0.5)

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h w"]:
        weights = self.attention_weights(x).to(self.memory_v.dtype)  # made in float32 at least
        y = einsum(weights, self.memory_v, "b heads n s, s d -> b heads d n")
        return self.to_out(join_heads(rearrange(y, "b heads d (h w) -> b heads d h w", h=x.shape[2])))

    def attention_weights(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b heads n s"]:
        """How pixel n shares itself out among the slots; sums to 1 over s."""
        check_images(x, self.in_channels)
        q = rearrange(split_heads(self.to_q(x), self.heads), "b heads d h w -> b heads d (h w)")
        normalize = double_normalization if self.normalization == "double" else slot_normalization
        return normalize(einsum(q, self.memory_k, "b heads d n, s d -> b heads n s"))

    def extra_repr(self) -> str:
        sizes = f"{self.in_channels}, {self.to_q.out_channels}, slots={len(self.memory_k)}, heads={self.heads}"
        return f"{sizes}, normalization={self.normalization!r}"


def double_normalization(logits: Float[Tensor, "*batch n s"]) -> Float[Tensor, "*batch n s"]:
    """Softmax over the pixels n, then division by the sum over the slots s; in float32 at least.

    Computed as softmax_s(log softmax_n(logits)), which is equal and needs no 1e-9 against division by zero: that
    number is 0 in float16.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.softmax(torch.log_softmax(logits, dim=-2), dim=-1)


def slot_normalization(logits: Float[Tensor, "*batch n s"]) -> Float[Tensor, "*batch n s"]:
    """Softmax over the slots s, in float32 at least."""
    return torch.softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)
