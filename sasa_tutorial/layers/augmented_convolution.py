"""Attention-augmented convolution: some output channels by convolution, the others by global attention.

    AAConv(x) = [conv(x), W_O concat_heads softmax((Q Kᵀ + S_H + S_W) / √d) V]
    S_H[i, j] = q_i · r^H_{row j - row i},  S_W[i, j] = q_i · r^W_{col j - col i}      (added; SASA concatenates halves)

Source: Bello et al. 2019, arXiv:1904.09925.
"""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.layers.conventions import Layer, draw_normal
from sasa_tutorial.layers.heads import check_channels, check_heads, check_images, join_heads, split_heads
from sasa_tutorial.layers.relative_offsets import relative_to_absolute
from sasa_tutorial.windows import check_kernel_size


class AddedOffsets2d(Layer):
    """Logits q · (r^H + r^W) between all pairs of pixels, each table of full width d and shared by the heads.

    Args:
        head_dim: d.
        max_size: the largest image (H, W) there are offsets for; smaller ones use the middle of the tables.

    Shapes: q (b, heads, d, h, w) -> logits (b, heads, h·w, h·w).
    Cost: n d (2h - 1 + 2w - 1) heads multiply-adds, by the skew trick; an explicit r_{ij} would take n² d.

    Raises:
        ValueError: an image larger than max_size.
    """

    def __init__(
        self,
        head_dim: int,
        max_size: tuple[int, int],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(height=max_size[0], width=max_size[1])
        self.max_size = tuple(max_size)
        self.row = nn.Parameter(torch.empty(2 * max_size[0] - 1, head_dim, device=device, dtype=dtype))
        self.col = nn.Parameter(torch.empty(2 * max_size[1] - 1, head_dim, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for table in (self.row, self.col):
            draw_normal(table, table.shape[1] ** -0.5)

    def forward(self, q: Float[Tensor, "b heads d h w"]) -> Float[Tensor, "b heads n n"]:
        h, w = q.shape[3:]
        if h > self.max_size[0] or w > self.max_size[1]:
            raise ValueError(f"an image of {h} x {w} is larger than max_size {self.max_size}; build the layer for it")
        row, col = _middle(self.row, 2 * h - 1), _middle(self.col, 2 * w - 1)
        by_row = relative_to_absolute(einsum(q, row, "b heads d h w, r d -> b heads w h r"))
        by_col = relative_to_absolute(einsum(q, col, "b heads d h w, r d -> b heads h w r"))
        by_row = rearrange(by_row, "b heads w h h2 -> b heads h w h2 1")
        by_col = rearrange(by_col, "b heads h w w2 -> b heads h w 1 w2")
        return rearrange(by_row + by_col, "b heads h w h2 w2 -> b heads (h w) (h2 w2)")

    def extra_repr(self) -> str:
        return f"{self.row.shape[1]}, max_size={self.max_size}"


def _middle(table: Float[Tensor, "offsets d"], offsets: int) -> Float[Tensor, "offsets2 d"]:
    start = (table.shape[0] - offsets) // 2
    return table[start : start + offsets]


class AttentionAugmentedConv2d(Layer):
    """A convolution whose last channels come from global attention; stride 1, "same" padding.

    Args:
        in_channels, out_channels: as in a convolution.
        kernel_size: of the convolution, odd.
        key_channels: d_k = κ · out_channels, over all heads.
        value_channels: d_v = υ · out_channels, the channels that attention makes; 0 leaves the convolution,
            out_channels leaves attention alone.
        heads: must divide both.
        max_size: the largest (H, W) the layer will meet.
        positions: "relative" or "none".
        device, dtype: of the parameters, as in `nn.Conv2d`.

    Shapes: (b, in_channels, h, w) -> (b, out_channels, h, w).
    Cost: n (k² c_in (c_out - d_v) + c_in (2 d_k + d_v) + d_v²) + n² (d_k + d_v) multiply-adds, plus the offsets'.
    Memory: heads · n² logits an image.

    Raises:
        ValueError: arguments that do not fit; an input of another shape or larger than max_size.

    Source: Bello et al. 2019, arXiv:1904.09925, Sec. 3. The batch norm that follows it there belongs to the network.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        key_channels: int,
        value_channels: int,
        heads: int = 8,
        max_size: tuple[int, int] = (32, 32),
        positions: str = "relative",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        check_kernel_size(kernel_size)
        if not 0 <= value_channels <= out_channels:
            raise ValueError(f"value_channels must be 0 to out_channels {out_channels}, got {value_channels}")
        if positions not in ("relative", "none"):
            raise ValueError(f'positions must be "relative" or "none", got {positions!r}')
        self.in_channels, self.heads = in_channels, heads
        self.key_channels, self.value_channels = key_channels, value_channels
        convolved = out_channels - value_channels
        options = {"bias": False, "device": device, "dtype": dtype}
        self.conv = (
            nn.Conv2d(in_channels, convolved, kernel_size, padding=kernel_size // 2, **options) if convolved else None
        )
        self.to_qkv = self.to_out = self.offsets = None
        if value_channels:
            head_dim = check_heads(key_channels, heads, "key_channels")
            check_heads(value_channels, heads, "value_channels")
            self.to_qkv = nn.Conv2d(in_channels, 2 * key_channels + value_channels, 1, **options)
            self.to_out = nn.Conv2d(value_channels, value_channels, 1, **options)
            if positions == "relative":
                self.offsets = AddedOffsets2d(head_dim, max_size, device=device, dtype=dtype)

    def forward(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b c_out h w"]:
        check_images(x, self.in_channels)
        parts = [] if self.conv is None else [self.conv(x)]
        if self.to_qkv is not None:
            parts.append(self._attend(x))
        return torch.cat(parts, dim=1)

    def attention_weights(self, x: Float[Tensor, "b c_in h w"]) -> Float[Tensor, "b heads n n"]:
        """How much query pixel i (third axis) takes from pixel j (fourth); each row sums to 1.

        Raises:
            ValueError: value_channels is 0, so nothing attends.
        """
        check_images(x, self.in_channels)
        if self.to_qkv is None:
            raise ValueError("value_channels is 0: this layer is a convolution and has no attention weights")
        return self._weights_and_values(x)[0]

    def _attend(self, x: Tensor) -> Float[Tensor, "b d_v h w"]:
        weights, v = self._weights_and_values(x)
        y = einsum(weights, v, "b heads i j, b heads d j -> b heads d i")
        return self.to_out(join_heads(rearrange(y, "b heads d (h w) -> b heads d h w", h=x.shape[2])))

    def _weights_and_values(self, x: Tensor) -> tuple[Float[Tensor, "b heads n n"], Float[Tensor, "b heads d n"]]:
        q, k, v = self.to_qkv(x).split((self.key_channels, self.key_channels, self.value_channels), dim=1)
        q, k, v = (split_heads(t, self.heads) for t in (q, k, v))
        q = q * q.shape[2] ** -0.5  # scales all three terms
        queries, k, v = (rearrange(t, "b heads d h w -> b heads d (h w)") for t in (q, k, v))
        logits = einsum(queries, k, "b heads d i, b heads d j -> b heads i j")
        if self.offsets is not None:
            logits = logits + self.offsets(q)
        return torch.softmax(logits, dim=-1), v

    def extra_repr(self) -> str:
        sizes = f"key_channels={self.key_channels}, value_channels={self.value_channels}, heads={self.heads}"
        return f"{sizes}, positions={('none' if self.offsets is None else 'relative')!r}"
