"""The attention of T2T-ViT: one kind between the tokens of its blocks, two between the tokens of its soft splits.

A layer of a block keeps the channels. A layer of a soft split narrows them, so its input cannot be added to its output;
it adds its own values instead.

Sources: Yuan et al. 2021, arXiv:2101.11986; `transformer_block.py`, `token_transformer.py` and `token_performer.py` of
the released code (github.com/yitu-opensource/T2T-ViT). Performer: Choromanski et al. 2020, arXiv:2009.14794.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.kernels.global_attention import global_attention
from sasa_tutorial.layers.heads import check_channels, check_heads


class SelfAttention(nn.Module):
    """Multi-head attention of all tokens to all tokens; queries, keys and values have no bias, the output has.

    Shapes: (b, n, channels) -> the same.
    Cost: 4 n channels² + 2 n² channels multiply-adds.

    Raises:
        ValueError: heads does not divide channels; an input of another shape.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        check_heads(channels, heads, "channels")
        self.channels, self.heads = channels, heads
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        check_tokens(x, self.channels)
        q, k, v = rearrange(self.to_qkv(x), "b n (qkv heads d) -> qkv b heads n d", qkv=3, heads=self.heads)
        return self.to_out(rearrange(global_attention(q, k, v, q.shape[-1] ** -0.5), "b heads n d -> b n (heads d)"))


class TokenSelfAttention(nn.Module):
    """One head of softmax attention to fewer channels, plus the values. T2T-ViT with it is called T2T-ViT_t.

        y_i = v_i + W_O Σ_j softmax_j(q_i · k_j / √in_channels) v_j

    The root is of the input's channels, not of the d = out_channels that q and k have: so it is in the released code.

    Shapes: (b, n, in_channels) -> (b, n, out_channels).
    Cost: n (3 in_channels d + d²) + 2 n² d multiply-adds.

    Raises:
        ValueError: channels not positive; an input of another shape.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        self.in_channels = in_channels
        self.to_qkv = nn.Linear(in_channels, 3 * out_channels, bias=False)
        self.to_out = nn.Linear(out_channels, out_channels)

    def forward(self, x: Float[Tensor, "b n c_in"]) -> Float[Tensor, "b n c_out"]:
        check_tokens(x, self.in_channels)
        q, k, v = rearrange(self.to_qkv(x), "b n (qkv d) -> qkv b n d", qkv=3)
        return v + self.to_out(global_attention(q, k, v, self.in_channels**-0.5))


class TokenPerformer(nn.Module):
    """`TokenSelfAttention` with weights that are products of random features: no n x n weights exist.

        y_i = v_i + W_O Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j),  φ(x) = exp(W x - |x|²/2) / √m

    W is fixed: m = d / 2 orthogonal rows, d = out_channels. The released code gives them the length √m and the mean of
    φ(q)·φ(k) is about exp(-|q - k|²/4); with the length √d of the Performer's paper, about exp(q·k).

    Shapes: (b, n, in_channels) -> (b, n, out_channels).
    Cost: n (3 in_channels d + d² + 4 d m) multiply-adds: linear in n.

    A tenth of what is added to v is dropped, as released; a tenth of the following MLP's output, there too, is not.

    Raises:
        ValueError: in_channels not positive, or out_channels under 2; an input of another shape.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        check_channels(in_channels=in_channels)
        if out_channels < 2:
            raise ValueError(f"out_channels must be at least 2, two for each random feature, got {out_channels}")
        self.in_channels = in_channels
        self.to_kqv = nn.Linear(in_channels, 3 * out_channels)
        self.to_out = nn.Linear(out_channels, out_channels)
        self.dropout = nn.Dropout(0.1)
        features = out_channels // 2
        self.register_buffer("directions", torch.empty(features, out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The directions: orthogonal, of length √m."""
        with torch.no_grad():
            nn.init.orthogonal_(self.directions).mul_(len(self.directions) ** 0.5)

    def forward(self, x: Float[Tensor, "b n c_in"]) -> Float[Tensor, "b n c_out"]:
        check_tokens(x, self.in_channels)
        k, q, v = rearrange(self.to_kqv(x), "b n (kqv d) -> kqv b n d", kqv=3)
        # In float32 at least: in float16 the exponentials become 0, and so does the 1e-8.
        with _full_precision(x.device.type):
            k, q, v = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (k, q, v))
            k, q = self._features(k), self._features(q)
            total = einsum(q, k.sum(1), "b n m, b m -> b n")
            y = einsum(q, einsum(k, v, "b n m, b n d -> b m d"), "b n m, b m d -> b n d")
            y = y / (total[..., None] + 1e-8)
        return v + self.dropout(self.to_out(y.to(x.dtype)))

    def _features(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n m"]:
        projected = einsum(x, self.directions, "b n d, m d -> b n m")
        return torch.exp(projected - x.square().sum(-1, keepdim=True) / 2) * self.directions.shape[0] ** -0.5


def _full_precision(device: str) -> AbstractContextManager:
    # The meta device, on which networks are counted, has no autocast to switch off.
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def check_tokens(x: Tensor, channels: int) -> None:
    """Refuse what is no batch of tokens.

    Raises:
        ValueError: x is not (b, n, channels).
    """
    if x.ndim != 3 or x.shape[2] != channels:
        raise ValueError(f"expected an input (b, n, {channels}), got {tuple(x.shape)}")
