"""T2T-ViT: a transformer over tokens made of overlapping patches, built from callables that make its attention.

Three soft splits take an image to 16 times smaller sides: 7x7 patches every 4 pixels, then twice 3x3 every 2. Between
the splits the tokens attend to each other with 64 channels and are laid out as an image again. Whoever replaces both
callables has replaced all attention there is.

Sources: Yuan et al. 2021, arXiv:2101.11986; the released `t2t_vit.py` (github.com/yitu-opensource/T2T-ViT).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from sasa_tutorial.layers.heads import check_channels, check_images
from sasa_tutorial.layers.position_encodings import sinusoids
from sasa_tutorial.models.t2t_attention import SelfAttention, TokenPerformer

Attention = Callable[[int, int], nn.Module]
"""(channels, heads) -> a layer from (b, n, channels) to the same."""

TokenAttention = Callable[[int, int], nn.Module]
"""(in_channels, out_channels) -> a layer from (b, n, in) to (b, n, out), with whatever it adds to itself."""

SIZES = {7: (256, 4, 2), 10: (256, 4, 2), 12: (256, 4, 2), 14: (384, 6, 3), 19: (448, 7, 3), 24: (512, 8, 3)}
"""Channels of a token, heads and the widening of the MLP, by the number of blocks."""

TOKEN_CHANNELS = 64
"""Channels between two soft splits."""


class T2TViT(nn.Module):
    """Soft splits, a class token, fixed positions, blocks, a norm, and a linear classifier of the class token.

    Args:
        depth: blocks; 7, 10, 12, 14, 19 or 24.
        attention: makes the attention of the blocks.
        token_attention: makes the attention between the soft splits.
        num_classes: length of the output.
        image_size: side of the images, a multiple of 16; the positions are made for it.
        drop_path: chance in training that an image skips a half of the last block; 0 for the first, linear between.

    Shapes: (b, 3, image_size, image_size) -> (b, num_classes).

    With the defaults it is T2T-ViT, with `TokenSelfAttention` T2T-ViT_t. The published numbers of parameters include
    what is not trained: the positions and the Performer's random directions, buffers here.

    Raises:
        ValueError: an argument that is none of these; images of another shape.
    """

    def __init__(
        self,
        depth: int,
        *,
        attention: Attention = SelfAttention,
        token_attention: TokenAttention = TokenPerformer,
        num_classes: int = 1000,
        image_size: int = 224,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if depth not in SIZES:
            raise ValueError(f"depth must be one of {sorted(SIZES)}, got {depth}")
        if image_size < 16 or image_size % 16:
            raise ValueError(f"image_size must be a multiple of 16, got {image_size}")
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must be in [0, 1), got {drop_path}")
        check_channels(num_classes=num_classes)
        channels, heads, ratio = SIZES[depth]
        self.image_size = image_size
        self.tokens = SoftSplits(channels, token_attention)
        self.class_token = nn.Parameter(torch.empty(channels))
        positions = torch.empty((image_size // 16) ** 2 + 1, channels)
        self.register_buffer("positions", positions, persistent=False)
        rates = [drop_path * block / (depth - 1) for block in range(depth)]
        self.blocks = nn.Sequential(*(Block(channels, heads, ratio, attention, rate) for rate in rates))
        self.norm = nn.LayerNorm(channels)
        self.classifier = nn.Linear(channels, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The class token, the fixed positions, and all linear layers in place of what those have drawn."""
        self.positions.copy_(sinusoids(*self.positions.shape, like=self.positions))
        nn.init.trunc_normal_(self.class_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b classes"]:
        check_images(images, 3)
        if images.shape[2:] != (self.image_size, self.image_size):
            raise ValueError(f"expected images of side {self.image_size}, got {tuple(images.shape)}")
        class_token = repeat(self.class_token, "c -> b 1 c", b=images.shape[0])
        x = torch.cat((class_token, self.tokens(images)), dim=1) + self.positions
        return self.classifier(self.norm(self.blocks(x)[:, 0]))


class SoftSplits(nn.Module):
    """Images to tokens, a patch of one split being tokens of the split before.

    Shapes: (b, 3, h, w) -> (b, h/16 · w/16, channels), h and w multiples of 16; row by row.
    """

    def __init__(self, channels: int, attention: TokenAttention) -> None:
        super().__init__()
        self.pixels = nn.Unfold(7, stride=4, padding=2)
        self.tokens = nn.Unfold(3, stride=2, padding=1)
        self.first = TokenLayer(3 * 7 * 7, TOKEN_CHANNELS, attention)
        self.second = TokenLayer(TOKEN_CHANNELS * 3 * 3, TOKEN_CHANNELS, attention)
        self.project = nn.Linear(TOKEN_CHANNELS * 3 * 3, channels)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        h = images.shape[2]
        x = self.first(rearrange(self.pixels(images), "b c n -> b n c"))
        x = self.tokens(rearrange(x, "b (h w) c -> b c h w", h=h // 4))
        x = self.second(rearrange(x, "b c n -> b n c"))
        x = self.tokens(rearrange(x, "b (h w) c -> b c h w", h=h // 8))
        return self.project(rearrange(x, "b c n -> b n c"))


class TokenLayer(nn.Module):
    """x = attention(norm(x)), then x + MLP(norm(x)): only the attention changes the channels, so it adds by itself."""

    def __init__(self, in_channels: int, out_channels: int, attention: TokenAttention) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(in_channels), nn.LayerNorm(out_channels)
        self.attention = attention(in_channels, out_channels)
        self.mlp = _mlp(out_channels, ratio=1)

    def forward(self, x: Float[Tensor, "b n c_in"]) -> Float[Tensor, "b n c_out"]:
        x = self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); each sum is skipped for an image with chance `drop_path`."""

    def __init__(self, channels: int, heads: int, ratio: int, attention: Attention, drop_path: float = 0.0) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.attention_norm, self.mlp_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = attention(channels, heads)
        self.mlp = _mlp(channels, ratio)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        x = x + self._drop(self.attention(self.attention_norm(x)))
        return x + self._drop(self.mlp(self.mlp_norm(x)))

    def _drop(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        if not self.training or not self.drop_path:
            return x
        return x * F.dropout(x.new_ones(x.shape[0], 1, 1), self.drop_path)


def _mlp(channels: int, ratio: int) -> nn.Module:
    return nn.Sequential(nn.Linear(channels, ratio * channels), nn.GELU(), nn.Linear(ratio * channels, channels))
