"""Local self-attention: every pixel looks at the k x k window around it.

    y_ij = Σ_{(a,b) ∈ N_k(i,j)} softmax_ab(q_ij · k_ab + q_ij · r_{a-i,b-j}) v_ab                  (SASA, Eq. 2 and 3)

The number of parameters does not depend on k, the cost grows with the number of pixels and not with its square.
"""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial import kernels
from sasa_tutorial.layers.conventions import Layer
from sasa_tutorial.layers.heads import check_channels, check_heads, check_images, join_heads, split_heads
from sasa_tutorial.layers.relative_offsets import RelativeOffsets2d
from sasa_tutorial.windows import check_kernel_size, gather_windows, inside_image


class LocalSelfAttention2d(Layer):
    """The stand-alone layer: a drop-in replacement for a k x k convolution of stride 1.

    Args:
        in_channels, out_channels: as in a convolution.
        kernel_size: side k of the window, odd.
        heads: contiguous groups of d = out_channels / heads channels.
        relative: add q·r; without it the layer does not know where in its window a pixel is (lesson 03).
        content: include q·k; without it there is no `to_k`, and the weights depend on the query alone (SASA, Table 6).
        grouped: project each head from its own part of the input, as the paper's text says; its tables were made with
            dense projections, the default here.
        scaled: divide the logits by √d, as global attention does and the paper does not.
        device, dtype: of the parameters, as in `nn.Conv2d`.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h, w), any h and w.
    Cost: h w (3 c_in c_out + 2 k² c_out + k c_out) multiply-adds.

    Where the paper is silent: cells outside the image get weight 0, and heads share the offsets. As in the paper there
    is no output projection and, unless `scaled`, no scaling of the logits.

    Raises:
        ValueError: an even k, heads that do not divide the channels, neither content nor relative; an input of another
            shape.

    Source: Ramachandran et al. 2019, arXiv:1906.05909, Sec. 2.2, Eq. 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 7,
        heads: int = 8,
        *,
        relative: bool = True,
        content: bool = True,
        grouped: bool = False,
        scaled: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        head_dim = check_heads(out_channels, heads)
        check_kernel_size(kernel_size)
        if not (relative or content):
            raise ValueError("relative=False and content=False leave no logits; keep one of them")
        if grouped:
            check_heads(in_channels, heads, "in_channels of grouped projections")
        self.in_channels, self.heads, self.kernel_size = in_channels, heads, kernel_size
        self.scale = head_dim**-0.5 if scaled else 1.0
        place = {"device": device, "dtype": dtype}

        def projection() -> nn.Conv2d:
            return nn.Conv2d(in_channels, out_channels, 1, groups=heads if grouped else 1, bias=False, **place)

        self.to_q = projection()
        self.to_k = projection() if content else None
        self.to_v = projection()
        self.offsets = RelativeOffsets2d(head_dim, kernel_size, **place) if relative else None

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h w"]:
        check_images(x, self.in_channels)
        # The same sum by a kernel, without windows in memory; None where no kernel computes exactly what follows.
        fast = kernels.fast_local_attention(self, x, LocalSelfAttention2d, RelativeOffsets2d)
        if fast is not None:
            return join_heads(fast)
        q, k, v = self.queries_keys_values(x)
        weights = self.weights(q, k).to(v.dtype)
        y = einsum(weights, self._windows(v), "b heads h w kh kw, b heads d h w kh kw -> b heads d h w")
        return join_heads(y)

    def attention_weights(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b heads h w kh kw"]:
        """How much each pixel takes from each cell of its window; sums to 1 over the window, 0 outside the image."""
        check_images(x, self.in_channels)
        q, k, _ = self.queries_keys_values(x)
        return self.weights(q, k)

    def queries_keys_values(self, x: Float[Tensor, "b c_in h w"], seen: Tensor | None = None) -> tuple[Tensor, ...]:
        """Each (b, heads, d, h, w), keys None without content; queries and keys of `seen`, where that is not x."""
        seen = x if seen is None else seen
        q, v = self.to_q(seen), self.to_v(x)
        q = q if self.scale == 1 else self.scale * q  # both terms of the logits are products with q
        k = None if self.to_k is None else split_heads(self.to_k(seen), self.heads)
        return split_heads(q, self.heads), k, split_heads(v, self.heads)

    def weights(
        self, q: Float[Tensor, "b heads d h w"], k: Float[Tensor, "b heads d h w"] | None
    ) -> Float[Tensor, "b heads h w kh kw"]:
        """softmax(q·k + q·r) over the cells of each window that are pixels, in float32 at least."""
        logits = 0
        if k is not None:
            logits = einsum(q, self._windows(k), "b heads d h w, b heads d h w kh kw -> b heads h w kh kw")
        if self.offsets is not None:
            logits = logits + self.offsets(q)
        inside = inside_image(*q.shape[3:], self.kernel_size, device=q.device)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).masked_fill(~inside, -torch.inf)
        flat = torch.softmax(rearrange(logits, "... kh kw -> ... (kh kw)"), dim=-1)
        return rearrange(flat, "... (kh kw) -> ... kh kw", kh=self.kernel_size, kw=self.kernel_size)

    def _windows(self, x: Float[Tensor, "b heads d h w"]) -> Float[Tensor, "b heads d h w kh kw"]:
        return split_heads(gather_windows(join_heads(x), self.kernel_size), x.shape[1])

    def extra_repr(self) -> str:
        sizes = f"{self.in_channels}, {self.to_q.out_channels}, kernel_size={self.kernel_size}, heads={self.heads}"
        terms = f"relative={self.offsets is not None}, content={self.to_k is not None}, scaled={self.scale != 1}"
        return f"{sizes}, {terms}"
