"""Relative offsets: a logit for every direction, whatever lies there."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.layers.conventions import Layer, draw_normal
from sasa_tutorial.windows import check_kernel_size


class RelativeOffsets2d(Layer):
    """Logits q_ij · r_{a-i,b-j}: how much a query likes a direction, whatever lies there.

    r_{a-i,b-j} = [row_{a-i}, col_{b-j}], halves of d channels, one table for all heads                  (SASA, Eq. 3)

    Shapes: q (b, heads, d, h, w) -> logits (b, heads, h, w, k, k).
    Cost: 2 b h w heads d k multiply-adds at most, because the halves are summed after the product, not before.

    The paper does not say whether heads share the table; sharing it is this library's choice (as in AAConv, by the same
    group), and costs d·k parameters in all.

    Raises:
        ValueError: head_dim < 2, or kernel_size even; queries of another shape.

    Source: Ramachandran et al. 2019, arXiv:1906.05909, Sec. 2.2, Eq. 3.
    """

    def __init__(
        self,
        head_dim: int,
        kernel_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if head_dim < 2:
            raise ValueError(f"head_dim must be at least 2, one half for rows and one for columns, got {head_dim}")
        check_kernel_size(kernel_size)
        self.row = nn.Parameter(torch.empty(head_dim // 2, kernel_size, device=device, dtype=dtype))
        self.col = nn.Parameter(torch.empty(head_dim - head_dim // 2, kernel_size, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        # As large as the projections' outputs make content logits, so that neither drowns the other at the start.
        for table in (self.row, self.col):
            draw_normal(table, (len(self.row) + len(self.col)) ** -0.5)

    def forward(self, q: Float[Tensor, "b heads d h w"]) -> Float[Tensor, "b heads h w kh kw"]:
        row, col = self.halves(q)
        return rearrange(row, "... kh -> ... kh 1") + rearrange(col, "... kw -> ... 1 kw")

    def halves(
        self, q: Float[Tensor, "b heads d h w"]
    ) -> tuple[Float[Tensor, "b heads h w kh"], Float[Tensor, "b heads h w kw"]]:
        """The two summands: q's first half with each row offset, its second half with each column offset."""
        if q.ndim != 5 or q.shape[2] != len(self.row) + len(self.col):
            expected = f"(b, heads, {len(self.row) + len(self.col)}, h, w)"
            raise ValueError(f"the offsets are for queries {expected}, got {tuple(q.shape)}")
        q_row, q_col = q.split((self.row.shape[0], self.col.shape[0]), dim=2)  # inside each head, never across heads
        row = einsum(q_row, self.row, "b heads d h w, d kh -> b heads h w kh")
        col = einsum(q_col, self.col, "b heads d h w, d kw -> b heads h w kw")
        return row, col

    def extra_repr(self) -> str:
        return f"{len(self.row) + len(self.col)}, kernel_size={self.row.shape[1]}"


def relative_to_absolute(logits: Float[Tensor, "*batch l l2"]) -> Float[Tensor, "*batch l l"]:
    """From logits by offset to logits by position, with padding and two reshapes: the skew trick.

    out[i, j] = in[i, j - i + l - 1]

    Row i of the input holds the offsets -(l-1) … l-1; the l of them that reach positions 0 … l-1 begin at l-1-i.
    Padding each row by one number makes rows 2l long, and reading the same memory in rows of 2l-1 shifts each row one
    further.

    Shapes: (…, l, 2l-1) -> (…, l, l).

    Raises:
        ValueError: the last axis does not have 2l-1 entries.

    Source: Bello et al. 2019, arXiv:1904.09925, appendix; Huang et al. 2018, arXiv:1809.04281 (music transformer).
    """
    length, offsets = logits.shape[-2:]
    if offsets != 2 * length - 1:
        raise ValueError(f"expected {2 * length - 1} offsets for {length} positions, got {offsets}")
    batch = logits.shape[:-2]
    padded = torch.nn.functional.pad(logits, (0, 1))
    flat = torch.nn.functional.pad(padded.reshape(*batch, 2 * length * length), (0, length - 1))
    return flat.reshape(*batch, length + 1, 2 * length - 1)[..., :length, length - 1 :]
