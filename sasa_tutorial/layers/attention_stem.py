"""The attention stem: what replaces a network's first convolution when the input is three noisy colour channels.

A pixel's colour says little about what it belongs to, so attention by content alone finds no edges. The stem attends
inside small blocks with values that know where in the block they come from: a mixture of value matrices, weighted by
position.

    v~_ab = (Σ_m p(a,b,m) W_V^m) x_ab        p(a,b,m) = softmax_m((row_a + col_b) · ν_m)               (SASA, App. A.1)
"""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.layers.conventions import Layer, draw_normal
from sasa_tutorial.layers.heads import check_channels, check_heads, check_images, join_heads, split_heads
from sasa_tutorial.layers.relative_offsets import RelativeOffsets2d, relative_to_absolute


class AttentionStem2d(Layer):
    """Self-attention inside non-overlapping blocks, batch norm, max-pool over each block.

    Args:
        in_channels, out_channels: colours in, features out.
        block: side of a block, in pixels; also of the pooling.
        heads: contiguous groups of d = out_channels / heads channels.
        mixtures: value matrices W_V^m, for values="mixture".
        values: "plain" (one 1x1 projection), "convolution" (block x block, zero-padded to the same size) or "mixture"
            (spatially-aware values): the three stems of SASA, Table 7.
        device, dtype: of the parameters, as in `nn.Conv2d`.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h / block, w / block).
    Cost at n = block² pixels a block: h w (2 c_in c_out + 2 n c_out + (2 block - 1) c_out + values) multiply-adds; the
    values cost c_in c_out, block² c_in c_out or mixtures · (c_in + 1) c_out.

    Where the paper is silent, the reading whose FLOPs match Table 7: four mixtures, and q·r in the logits. As in the
    trunk there is no scaling; p is shared by the heads.

    Raises:
        ValueError: arguments that do not fit; h or w that block does not divide.

    Source: Ramachandran et al. 2019, arXiv:1906.05909, Sec. 3.2 and App. A.1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 64,
        block: int = 4,
        heads: int = 4,
        mixtures: int = 4,
        *,
        values: str = "mixture",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels, block=block, mixtures=mixtures)
        head_dim = check_heads(out_channels, heads)
        if values not in ("plain", "convolution", "mixture"):
            raise ValueError(f'values must be "plain", "convolution" or "mixture", got {values!r}')
        self.in_channels, self.heads, self.block = in_channels, heads, block
        self.mixtures, self.values = mixtures, values
        place = {"device": device, "dtype": dtype}
        self.to_q = nn.Conv2d(in_channels, out_channels, 1, bias=False, **place)
        self.to_k = nn.Conv2d(in_channels, out_channels, 1, bias=False, **place)
        if values == "convolution":
            self.to_v = nn.Conv2d(in_channels, out_channels, block, bias=False, **place)
        else:
            count = mixtures if values == "mixture" else 1
            self.to_v = nn.Conv2d(in_channels, count * out_channels, 1, bias=False, **place)
        if values == "mixture":
            self.row_embedding = nn.Parameter(torch.empty(block, head_dim, **place))
            self.col_embedding = nn.Parameter(torch.empty(block, head_dim, **place))
            self.mixture_embedding = nn.Parameter(torch.empty(mixtures, head_dim, **place))
            self.reset_parameters()
        self.offsets = RelativeOffsets2d(head_dim, 2 * block - 1, **place)
        self.norm = nn.BatchNorm2d(out_channels, **place)

    def reset_parameters(self) -> None:
        """The stem's own: what says where in the block a pixel is. Its parts have theirs.

        Row and column embeddings begin as small as all other tables, N(0, 1 / d): under N(0, 1) they hardly moved
        (profile `evening`, three seeds: correlation with their start 0.74 to 0.97, here below 0.9 throughout) and
        validation accuracy was no better (49.7 %, here 50.6 %).
        """
        if self.values == "mixture":
            for table in (self.row_embedding, self.col_embedding, self.mixture_embedding):
                draw_normal(table, table.shape[1] ** -0.5)

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h2 w2"]:
        weights = self.attention_weights(x)
        y = einsum(weights, self.values_in_blocks(x), "b heads hb wb i j, b heads hb wb j d -> b heads hb wb i d")
        y = rearrange(y, f"b heads hb wb (p q) d -> b heads d {_PIXELS}", p=self.block, q=self.block)
        return F.max_pool2d(self.norm(join_heads(y)), self.block)

    def attention_weights(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b heads hb wb n n"]:
        """How much pixel i of a block takes from pixel j of the same block, both counted row by row."""
        check_images(x, self.in_channels)
        if x.shape[2] % self.block or x.shape[3] % self.block:
            raise ValueError(f"block {self.block} must divide h and w, got an image of {x.shape[2]} x {x.shape[3]}")
        q, k = (split_heads(project(x), self.heads) for project in (self.to_q, self.to_k))
        queries, keys = self._in_blocks(q), self._in_blocks(k)
        content = einsum(queries, keys, "b heads hb wb i d, b heads hb wb j d -> b heads hb wb i j")
        return torch.softmax(content + self.position_logits(q), dim=-1)

    def position_logits(self, q: Float[Tensor, "b heads d h w"]) -> Float[Tensor, "b heads hb wb n n"]:
        """q_i · r_{j - i}, for pixels i and j of one block: only 2 block - 1 rows and columns can lie between them."""
        row, col = self.offsets.halves(q)
        sizes = {"p": self.block, "q": self.block}
        row = relative_to_absolute(rearrange(row, f"b heads {_PIXELS} r -> b heads hb wb q p r", **sizes))
        col = relative_to_absolute(rearrange(col, f"b heads {_PIXELS} r -> b heads hb wb p q r", **sizes))
        row = rearrange(row, "b heads hb wb q p p2 -> b heads hb wb p q p2 1")
        col = rearrange(col, "b heads hb wb p q q2 -> b heads hb wb p q 1 q2")
        return rearrange(row + col, "b heads hb wb p q p2 q2 -> b heads hb wb (p q) (p2 q2)")

    def values_in_blocks(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b heads hb wb n d"]:
        """v~: for a mixture, Σ_m p(a,b,m) v^m at row a and column b of a block."""
        if self.values == "convolution":  # the larger half of the padding goes right and below, as in padding="same"
            before, after = (self.block - 1) // 2, self.block // 2
            return self._in_blocks(split_heads(self.to_v(F.pad(x, (before, after, before, after))), self.heads))
        if self.values == "plain":
            return self._in_blocks(split_heads(self.to_v(x), self.heads))
        v = rearrange(
            self.to_v(x), f"b (m c) {_PIXELS} -> b m c hb p wb q", m=self.mixtures, p=self.block, q=self.block
        )
        mixed = einsum(v, self.value_mixture().to(v.dtype), "b m c hb p wb q, m p q -> b c hb p wb q")
        return self._in_blocks(split_heads(rearrange(mixed, f"b c hb p wb q -> b c {_PIXELS}"), self.heads))

    def value_mixture(self) -> Float[Tensor, "m p q"]:
        """p(a, b, m): the share of value matrix m at row a and column b of a block; sums to 1 over m.

        Raises:
            ValueError: the stem's values are not a mixture.
        """
        if self.values != "mixture":
            raise ValueError(f'values="{self.values}" has no mixture; build the stem with values="mixture"')
        position = self.row_embedding[:, None] + self.col_embedding[None, :]
        return torch.softmax(einsum(position, self.mixture_embedding, "p q e, m e -> m p q"), dim=0)

    def _in_blocks(self, x: Float[Tensor, "b heads d h w"]) -> Float[Tensor, "b heads hb wb n d"]:
        return rearrange(x, f"b heads d {_PIXELS} -> b heads hb wb (p q) d", p=self.block, q=self.block)

    def extra_repr(self) -> str:
        sizes = f"{self.in_channels}, {self.to_q.out_channels}, block={self.block}, heads={self.heads}"
        return f"{sizes}, mixtures={self.mixtures}, values={self.values!r}"


_PIXELS = "(hb p) (wb q)"  # h and w, in blocks of p x q pixels
