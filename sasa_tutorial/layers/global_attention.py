"""Global multi-head self-attention: every pixel looks at every pixel.

    y_i = W_O concat_heads Σ_j softmax_j(q_i · k_j / √d) v_j          q = W_Q x, k = W_K x, v = W_V x

Without positions the layer does not know where a pixel is: permuting the pixels permutes the output.

Source: Vaswani et al. 2017, arXiv:1706.03762, Sec. 3.2; over pixels: Bello et al. 2019, arXiv:1904.09925, Sec. 3.1.
"""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial import kernels
from sasa_tutorial.layers.conventions import Layer
from sasa_tutorial.layers.heads import check_channels, check_heads, check_images, join_heads, split_heads


class GlobalSelfAttention2d(Layer):
    """Multi-head attention over all n = h·w pixels, with projections by 1x1 convolutions without bias.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h, w), any h and w.
    Cost: n (3 c_in c_out + c_out²) + 2 n² c_out multiply-adds; n² · heads attention weights.

    Raises:
        ValueError: heads does not divide out_channels; an input of another shape.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 8,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        check_heads(out_channels, heads)
        self.in_channels, self.heads = in_channels, heads
        options = {"bias": False, "device": device, "dtype": dtype}
        self.to_q = nn.Conv2d(in_channels, out_channels, 1, **options)
        self.to_k = nn.Conv2d(in_channels, out_channels, 1, **options)
        self.to_v = nn.Conv2d(in_channels, out_channels, 1, **options)
        self.to_out = nn.Conv2d(out_channels, out_channels, 1, **options)

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h w"]:
        check_images(x, self.in_channels)
        # Contiguous: PyTorch's kernels that do not store the n x n weights want the channels of a token side by side.
        q, k, v = (self._tokens(project(x)).contiguous() for project in (self.to_q, self.to_k, self.to_v))
        y = kernels.global_attention(q, k, v, scale=q.shape[-1] ** -0.5)  # the n x n weights need not be kept
        return self.to_out(join_heads(rearrange(y, "b heads (h w) d -> b heads d h w", h=x.shape[2])))

    def attention_weights(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b heads n n"]:
        """How much query pixel i (third axis) takes from pixel j (fourth); each row sums to 1."""
        check_images(x, self.in_channels)
        q, k = self._tokens(self.to_q(x)), self._tokens(self.to_k(x))
        logits = einsum(q, k, "b heads i d, b heads j d -> b heads i j") * q.shape[-1] ** -0.5
        return torch.softmax(logits, dim=-1)  # float32 under autocast

    def _tokens(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b heads n d"]:
        return rearrange(split_heads(x, self.heads), "b heads d h w -> b heads (h w) d")

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.to_q.out_channels}, heads={self.heads}"
