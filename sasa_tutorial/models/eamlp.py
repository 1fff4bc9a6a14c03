"""EAMLP: T2T-ViT in which every attention is external, so that no token is ever compared with another.

Source: Guo et al. 2021, arXiv:2105.02358, Sec. 3.3 and Algorithm 2; folder `EAMLP/models` of the released code
(github.com/MenghaoGuo/EANet, commit c4bb93b).
"""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.layers.external_attention import double_normalization
from sasa_tutorial.layers.heads import check_channels, check_heads
from sasa_tutorial.models.t2t_attention import check_tokens
from sasa_tutorial.models.t2t_vit import T2TViT


class MultiHeadExternalAttention(nn.Module):
    """External attention for the tokens of a transformer: many heads, one pair of memories for all of them.

        A = norm(q M_kᵀ + b_k),  y = W_out concat_heads(A M_v + b_v),  q = W_q x         for each head of d channels

    Args:
        channels: in and out.
        heads: as self-attention would have; d = channels / heads.
        slots: rows of each memory.
        expansion: W_q widens the tokens so many times, and there are so many times the heads.

    Shapes: (b, n, channels) -> the same.
    Cost: 2 n expansion channels (channels + slots) multiply-adds. At expansion 4 that is more than the 4 n channels² +
    2 n² channels of self-attention unless n > 2 channels + 4 slots: 1,024 tokens in EAMLP-14, which has 197.

    Where the released code is not the paper, this is the code. The paper projects tokens to as many channels as they
    have; the code expands them 4 times, and the published 30 and 55 million parameters need that. The paper's memories
    are matrices; in the code they have biases. b_k, and with it the bias of W_q, moves a slot's logits of all tokens
    alike, which the normalization takes out: neither has an effect or a gradient. They are kept because they count.

    Raises:
        ValueError: an argument not positive, or heads does not divide channels; an input of another shape.

    Source: class `Attention` of the released `transformer_block.py`.
    """

    def __init__(self, channels: int, heads: int, slots: int = 64, expansion: int = 4) -> None:
        super().__init__()
        check_channels(channels=channels, slots=slots, expansion=expansion)
        head_dim = check_heads(channels, heads, "channels")
        self.channels, self.heads = channels, expansion * heads
        self.to_q = nn.Linear(channels, expansion * channels)
        self.memory_k = nn.Linear(head_dim, slots)
        self.memory_v = nn.Linear(slots, head_dim)
        self.to_out = nn.Linear(expansion * channels, channels)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        y = self.memory_v(self.attention_weights(x).to(x.dtype))
        return self.to_out(rearrange(y, "b heads n d -> b n (heads d)"))

    def attention_weights(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b heads n s"]:
        """How token n shares itself out among the slots, in each head; sums to 1 over s."""
        check_tokens(x, self.channels)
        q = rearrange(self.to_q(x), "b n (heads d) -> b heads n d", heads=self.heads)
        return double_normalization(self.memory_k(q))


class TokenExternalAttention(nn.Module):
    """External attention between two soft splits: one head, to fewer channels, plus its queries.

        y = q + W_out (A M_v + b_v),  A = norm(q M_kᵀ),  q = W_q x

    Shapes: (b, n, in_channels) -> (b, n, out_channels).
    Cost: n out_channels (in_channels + out_channels + 2 slots) multiply-adds: linear in n.

    There are 128 slots and a tenth of A, and of what is added to q, is dropped, as released. There M_v is given the
    storage of M_k, which lasts only until the network is moved to a GPU (see `EANetBlock`); here they are untied.

    Raises:
        ValueError: an argument not positive; an input of another shape.

    Source: class `Attention` of the released `token_performer.py`, which holds no Performer, and, but for the dropout,
    of `token_transformer.py`.
    """

    def __init__(self, in_channels: int, out_channels: int, slots: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels, slots=slots)
        self.in_channels = in_channels
        self.to_q = nn.Linear(in_channels, out_channels)
        self.memory_k = nn.Linear(out_channels, slots, bias=False)
        self.memory_v = nn.Linear(slots, out_channels)
        self.to_out = nn.Linear(out_channels, out_channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "b n c_in"]) -> Float[Tensor, "b n c_out"]:
        check_tokens(x, self.in_channels)
        q = self.to_q(x)
        weights = self.dropout(double_normalization(self.memory_k(q)).to(q.dtype))
        return q + self.dropout(self.to_out(self.memory_v(weights)))


def eamlp(depth: int, *, num_classes: int = 1000, image_size: int = 224, drop_path: float = 0.0) -> T2TViT:
    """EAMLP-7, 14 or 19: the T2T-ViT of that depth (10, 12 and 24 exist too) without self-attention.

    Args: as of `T2TViT`; the released checkpoint, EAMLP-7 for images of side 384, was trained with drop_path 0.1.

    Shapes: (b, 3, image_size, image_size) -> (b, num_classes).
    Size: 30 and 55 million parameters for depth 14 and 19, which includes the fixed positions: 29.80 and 54.47 million
    are trained.

    Raises:
        ValueError: as `T2TViT`.
    """
    return T2TViT(
        depth,
        attention=MultiHeadExternalAttention,
        token_attention=TokenExternalAttention,
        num_classes=num_classes,
        image_size=image_size,
        drop_path=drop_path,
    )
