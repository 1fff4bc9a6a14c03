"""Shapes nobody thought of: every layer equals its oracle in value and gradient there, or refuses with a ValueError.

The oracle has no gradient of its own, so the layer's is compared with the oracle's slope: both are moved a little along
one random direction through the input and all parameters at once.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sasa_tutorial import layers
from tests import oracles

few = settings(deadline=None, max_examples=15)
batch, side, channels, heads = st.integers(1, 2), st.integers(1, 5), st.integers(1, 7), st.integers(1, 3)


def compare(layer: torch.nn.Module, x: torch.Tensor, oracle) -> None:
    """`oracle` takes the parameters by name and the input, as numpy arrays."""
    inputs = {"x": x, **dict(layer.named_parameters())}
    direction = {name: torch.randn_like(tensor) for name, tensor in inputs.items()}

    def expected(step: float) -> np.ndarray:
        moved = {name: (inputs[name] + step * direction[name]).detach().numpy() for name in inputs}
        return oracle(moved, moved.pop("x"))

    x.requires_grad_()
    found = layer(x)
    assert found.dtype == torch.float64
    assert np.allclose(found.detach().numpy(), expected(0), rtol=1e-9, atol=1e-9)
    probe = torch.randn_like(found)
    gradients = torch.autograd.grad(found, list(inputs.values()), probe, allow_unused=True)
    slope = sum((g * u).sum().item() for g, u in zip(gradients, direction.values(), strict=True) if g is not None)
    step = 1e-5
    measured = ((expected(step) - expected(-step)) * probe.numpy()).sum() / (2 * step)
    assert slope == pytest.approx(measured, rel=1e-5, abs=1e-6)


def image(b: int, c: int, h: int, w: int) -> torch.Tensor:
    return torch.randn(b, c, h, w, dtype=torch.float64)


def projected(p, x, heads, groups=1):
    names = ("to_q", "to_k", "to_v")
    return [oracles.heads_of(oracles.project(p[f"{n}.weight"], x, groups), heads) for n in names if f"{n}.weight" in p]


@few
@given(batch, channels, channels, side, side, heads)
def test_global_attention(b, c_in, c_out, h, w, heads):
    if c_out % heads:
        with pytest.raises(ValueError, match=f"{c_out} channels and {heads} heads"):
            layers.GlobalSelfAttention2d(c_in, c_out, heads)
        return

    def oracle(p, x):
        y = oracles.global_attention(*projected(p, x, heads), (c_out // heads) ** -0.5)
        return oracles.project(p["to_out.weight"], oracles.channels_of(y))

    compare(layers.GlobalSelfAttention2d(c_in, c_out, heads).double(), image(b, c_in, h, w), oracle)


@few
@given(batch, channels, channels, side, side, st.integers(0, 7), heads, st.booleans(), st.booleans(), st.booleans())
def test_local_attention(b, c_in, c_out, h, w, k, heads, relative, content, grouped):
    options = {"relative": relative, "content": content, "grouped": grouped}
    impossible = (
        c_out % heads or k % 2 == 0 or not (relative or content) or (grouped and c_in % heads),
        relative and c_out // heads < 2,
    )
    if any(impossible):
        with pytest.raises(ValueError, match=r"got|no logits"):
            layers.LocalSelfAttention2d(c_in, c_out, k, heads, **options)
        return

    def oracle(p, x):
        parts = projected(p, x, heads, heads if grouped else 1)
        q, key, v = parts if content else (parts[0], None, parts[1])
        y, _ = oracles.local_attention(q, key, v, p.get("offsets.row"), p.get("offsets.col"), k)
        return oracles.channels_of(y)

    compare(layers.LocalSelfAttention2d(c_in, c_out, k, heads, **options).double(), image(b, c_in, h, w), oracle)


@few
@given(batch, channels, channels, st.integers(1, 4), st.integers(1, 4), st.integers(0, 4), heads, st.booleans())
def test_augmented_convolution(b, c_in, c_out, h, w, attended, heads, relative):
    keys, values, largest = 2 * heads, attended * heads, (3, 4)
    build = {"key_channels": keys, "value_channels": values, "heads": heads, "max_size": largest}
    build["positions"] = "relative" if relative else "none"
    if values > c_out:
        with pytest.raises(ValueError, match=f"0 to out_channels {c_out}, got {values}"):
            layers.AttentionAugmentedConv2d(c_in, c_out, **build)
        return
    layer = layers.AttentionAugmentedConv2d(c_in, c_out, **build).double()
    if relative and values and h > largest[0]:
        with pytest.raises(ValueError, match=rf"{h} x {w} is larger than max_size \(3, 4\)"):
            layer(image(b, c_in, h, w))
        return

    def oracle(p, x):
        return oracles.augmented_convolution(p, x, key_channels=keys, heads=heads, max_size=largest)

    compare(layer, image(b, c_in, h, w), oracle)


@few
@given(batch, channels, channels, side, side, st.integers(0, 5), heads)
def test_external_attention(b, c_in, c_out, h, w, slots, heads):
    if c_out % heads or not slots:
        with pytest.raises(ValueError, match="got"):
            layers.ExternalAttention2d(c_in, c_out, slots, heads)
        return

    def oracle(p, x):
        q = oracles.heads_of(oracles.project(p["to_q.weight"], x), heads)
        y = oracles.external_attention(q, p["memory_k"], p["memory_v"])
        return oracles.project(p["to_out.weight"], oracles.channels_of(y))

    compare(layers.ExternalAttention2d(c_in, c_out, slots, heads).double(), image(b, c_in, h, w), oracle)


@few
@given(
    batch, st.integers(1, 3), st.integers(1, 4), side, side, st.integers(1, 4), heads, st.integers(1, 3),
    st.sampled_from(("plain", "convolution", "mixture")),
)  # fmt: skip
def test_attention_stem(b, c_in, d, h, w, block, heads, mixtures, values):
    options = {"block": block, "heads": heads, "mixtures": mixtures, "values": values}
    if d < 2:
        with pytest.raises(ValueError, match="got 1"):
            layers.AttentionStem2d(c_in, heads * d, **options)
        return
    layer = layers.AttentionStem2d(c_in, heads * d, **options).double().eval()  # a norm that changes nothing but 1e-5
    if h % block or w % block:
        with pytest.raises(ValueError, match=f"image of {h} x {w}"):
            layer(image(b, c_in, h, w))
        return

    def oracle(p, x):
        y = oracles.stem(p, x, **options) / (1 + 1e-5) ** 0.5
        y = y * p["norm.weight"][:, None, None] + p["norm.bias"][:, None, None]
        return y.reshape(b, heads * d, h // block, block, w // block, block).max(axis=(3, 5))

    compare(layer, image(b, c_in, h, w), oracle)


@few
@given(batch, channels, side, side)
def test_positions_leave_the_gradient_alone(b, c, h, w):
    if c < 2:
        with pytest.raises(ValueError, match="got 1"):
            layers.AbsolutePositions2d(c)
        return
    x = image(b, c, h, w)
    code = layers.AbsolutePositions2d(c)(torch.zeros_like(x)).numpy()
    compare(layers.AbsolutePositions2d(c), x, lambda p, x: x + code)
