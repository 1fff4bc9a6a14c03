"""The other layers as public implementations get them wrong: what takes the place of one method or function of each."""

import torch
from einops import einsum, rearrange

from sasa_tutorial.layers import ExternalAttention2d
from sasa_tutorial.layers.heads import split_heads


def missing_transpose(self, x):
    weights, v = self._weights_and_values(x)
    y = einsum(weights, v, "b heads i j, b heads d j -> b heads i d")
    return self.to_out(y.reshape(x.shape[0], -1, *x.shape[2:]))


def heads_without_permute(x, heads):
    b, c, *pixels = x.shape
    return x.reshape(b, heads, *pixels, c // heads).movedim(-1, 2)


def softmax_over_queries(self, x):
    q, k, v = (self._tokens(project(x)) for project in (self.to_q, self.to_k, self.to_v))
    weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-2)
    return self.to_out(rearrange(weights @ v, "b heads (h w) d -> b (heads d) h w", h=x.shape[2]))


def unscaled_offsets(self, x):
    q, k, v = self.to_qkv(x).split((self.key_channels, self.key_channels, self.value_channels), dim=1)
    q = rearrange(q, "b (heads d) h w -> b heads d h w", heads=self.heads)
    k, v = (rearrange(t, "b (heads d) h w -> b heads d (h w)", heads=self.heads) for t in (k, v))
    logits = q.flatten(3).transpose(-1, -2) @ k * q.shape[2] ** -0.5 + self.offsets(q)
    return torch.softmax(logits, dim=-1), v


def tied_memories(self, *arguments, **options):
    ORIGINAL_INIT(self, *arguments, **options)
    self.memory_v = torch.nn.Parameter(self.memory_k.data)


ORIGINAL_INIT = ExternalAttention2d.__init__


def softmax_over_slots_only(logits):
    return torch.softmax(logits, dim=-1)


def normalised_in_half_precision(logits):
    over_pixels = torch.softmax(logits, dim=-2)
    return over_pixels / (1e-9 + over_pixels.sum(dim=-1, keepdim=True))


def positions_of_the_image(self, x):
    v = rearrange(self.to_v(x), "b (m c) h w -> b m c h w", m=self.mixtures)
    p = self.value_mixture()
    row, col = (torch.arange(side) // 2 % self.block for side in x.shape[2:])  # no longer the place in the block
    mixed = einsum(v, p[:, row][:, :, col], "b m c h w, m h w -> b c h w")
    return self._in_blocks(split_heads(mixed, self.heads))
