"""The attention layers against nested loops, and against what their equations imply."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from sasa_tutorial import kernels, layers
from sasa_tutorial.kernels import available_backends, local_attention, using
from sasa_tutorial.layers import external_attention
from tests import oracles

D = torch.float64
sizes = st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6))  # b, h, w
head_shapes = st.tuples(st.integers(1, 3), st.integers(2, 4))  # heads, d
few = settings(deadline=None, max_examples=12)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=D)


def parameters(layer: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy() for name, p in layer.named_parameters()}


def same(found: torch.Tensor, expected: np.ndarray) -> None:
    assert np.allclose(found.detach().numpy(), expected, rtol=1e-10, atol=1e-10)


@given(sizes, head_shapes, st.sampled_from((1, 3, 5, 7)), st.booleans(), st.booleans())
@few
def test_every_backend_is_the_equation(size, heads_d, kernel_size, content, relative):
    (b, h, w), (heads, d) = size, heads_d
    content = content or not relative
    q, k, v = (random(b, heads, d, h, w) for _ in range(3))
    row, col = random(d // 2, kernel_size), random(d - d // 2, kernel_size)
    arguments = [q, k if content else None, v, *((row, col) if relative else (None, None))]
    expected, _ = oracles.local_attention(*(None if a is None else a.numpy() for a in arguments), kernel_size)
    for backend in available_backends("cpu"):
        same(local_attention(*arguments, kernel_size=kernel_size, backend=backend), expected)


@given(sizes, head_shapes, st.sampled_from((3, 5)), st.booleans())
@few
def test_backends_agree_in_every_gradient(size, heads_d, kernel_size, content):
    (b, h, w), (heads, d) = size, heads_d
    inputs = [random(b, heads, d, h * 2, w * 2).requires_grad_() for _ in range(3)]
    inputs += [random(d // 2, kernel_size).requires_grad_(), random(d - d // 2, kernel_size).requires_grad_()]
    if not content:
        inputs[1] = None
    gradients = {}
    for backend in available_backends("cpu"):
        out = local_attention(*inputs, kernel_size=kernel_size, backend=backend)
        probe = torch.arange(out.numel(), dtype=D).reshape(out.shape).sin()
        gradients[backend] = torch.autograd.grad((out * probe).sum(), [x for x in inputs if x is not None])
    for backend in gradients:
        for found, expected in zip(gradients[backend], gradients["reference"], strict=True):
            assert torch.allclose(found, expected, rtol=1e-9, atol=1e-10), backend


@pytest.mark.parametrize("backend", available_backends("cpu"))
def test_gradients_are_those_of_finite_differences(backend):
    inputs = [random(1, 2, 3, 2, 3).requires_grad_() for _ in range(3)]
    inputs += [random(1, 3).requires_grad_(), random(2, 3).requires_grad_()]
    assert gradcheck(lambda *a: local_attention(*a, kernel_size=3, backend=backend), inputs)


@pytest.mark.parametrize("backend", ["reference", "auto"])  # the layer's own lines, and a kernel
@pytest.mark.parametrize("options", [{}, {"relative": False}, {"content": False}, {"grouped": True}, {"scaled": True}])
def test_the_local_layer_is_projections_and_the_equation(options, backend):
    layer = layers.LocalSelfAttention2d(6, 12, 3, heads=3, **options).double()
    x = random(2, 6, 4, 5)
    groups = 3 if options.get("grouped") else 1

    def part(name):
        project = getattr(layer, name)
        if project is None:
            return None
        return oracles.heads_of(oracles.project(project.weight.detach().numpy(), x.numpy(), groups), 3)

    tables = (
        (None, None) if layer.offsets is None else (t.detach().numpy() for t in (layer.offsets.row, layer.offsets.col))
    )
    q = part("to_q") / 2 if layer.scale != 1 else part("to_q")  # d = 4
    expected, weights = oracles.local_attention(q, part("to_k"), part("to_v"), *tables, 3)
    with using(backend):
        same(layer(x), oracles.channels_of(expected))
    same(layer.attention_weights(x), weights)


def test_a_window_as_large_as_the_image_is_global_attention():
    x = random(2, 8, 4, 5)
    local = layers.LocalSelfAttention2d(8, 8, 9, heads=2, relative=False).double()
    whole = layers.GlobalSelfAttention2d(8, 8, heads=2).double()
    for name in ("to_q", "to_k", "to_v"):
        getattr(whole, name).weight.data = getattr(local, name).weight.data.clone()
    whole.to_q.weight.data *= 2  # global attention divides its logits by √d = 2, local attention does not
    whole.to_out.weight.data = torch.eye(8, dtype=D)[:, :, None, None]
    assert torch.allclose(local(x), whole(x), atol=1e-12)


def test_global_attention_is_pytorchs_multi_head_attention():
    layer = layers.GlobalSelfAttention2d(6, 12, heads=3).double()
    x = random(2, 6, 3, 5)
    reference = torch.nn.MultiheadAttention(12, 3, bias=False, kdim=6, vdim=6, batch_first=True, dtype=D)
    tokens = rearrange(x, "b c h w -> b (h w) c")
    q = tokens @ layer.to_q.weight[:, :, 0, 0].T  # its queries must have the embedding's size: project first
    reference.q_proj_weight.data = torch.eye(12, dtype=D)
    reference.k_proj_weight.data = layer.to_k.weight[:, :, 0, 0].data
    reference.v_proj_weight.data = layer.to_v.weight[:, :, 0, 0].data
    reference.out_proj.weight.data = layer.to_out.weight[:, :, 0, 0].data
    y, weights = reference(q, tokens, tokens, average_attn_weights=False)
    assert torch.allclose(layer(x), rearrange(y, "b (h w) c -> b c h w", h=3), atol=1e-12)
    assert torch.allclose(layer.attention_weights(x), weights, atol=1e-12)


def test_on_a_gpu_global_attention_keeps_away_from_cudnn_unless_nothing_else_is_allowed(monkeypatch):
    flags, seen = torch.backends.cuda, []

    def attention(q, k, v, scale):
        seen.append(flags.cudnn_sdp_enabled())
        return v

    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", attention)
    layer, x = layers.GlobalSelfAttention2d(8, 8, heads=2), torch.randn(1, 8, 4, 4)
    layer(x)
    module = sys.modules[kernels.global_attention.__module__]  # the function has the module's name
    monkeypatch.setattr(module, "_has_cudnn", lambda q: True)
    layer(x)
    assert seen == [True, False] and flags.cudnn_sdp_enabled(), "left as it was found"
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.CUDNN_ATTENTION):
        layer(x)
    assert seen[-1]


@pytest.mark.parametrize(("side", "by_pytorch"), [(8, False), (16, True)])
def test_in_bfloat16_on_a_cpu_few_tokens_take_the_equation_with_the_same_numbers(side, by_pytorch, monkeypatch):
    plain, calls = F.scaled_dot_product_attention, []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **o: calls.append(a) or plain(*a, **o))
    layer, x = layers.GlobalSelfAttention2d(8, 16, heads=2), torch.randn(2, 8, side, side)
    exact = layer(x)
    calls.clear()
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert found.dtype == torch.bfloat16 and bool(calls) == by_pytorch
    assert torch.allclose(found.float(), exact, atol=0.02)


def test_global_attention_does_not_know_where_pixels_are():
    layer = layers.GlobalSelfAttention2d(4, 8, heads=2).double()
    x, order = random(1, 4, 3, 5), torch.randperm(15)

    def shuffle(t):
        return t.flatten(2)[:, :, order].reshape(t.shape)

    assert torch.allclose(layer(shuffle(x)), shuffle(layer(x)), atol=1e-12)


def test_a_head_sees_its_own_channels_only():
    layer = layers.LocalSelfAttention2d(6, 6, 3, heads=3, grouped=True).double()
    x, other = random(1, 6, 4, 5), random(1, 2, 4, 5)
    changed = torch.cat((other, x[:, 2:]), dim=1)  # another input for the first head
    same_heads = layer(changed)[:, 2:] == layer(x)[:, 2:]
    assert same_heads.all()
    assert not torch.allclose(layer(changed)[:, :2], layer(x)[:, :2], atol=1e-3)


def test_zero_queries_average_the_pixels_inside():
    layer = layers.LocalSelfAttention2d(4, 4, 3, heads=2).double()
    torch.nn.init.zeros_(layer.to_q.weight)
    torch.nn.init.dirac_(layer.to_v.weight)
    x = random(1, 4, 5, 6)
    assert torch.allclose(layer(x), F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), atol=1e-12)


def test_a_moved_image_moves_the_output_inside_but_absolute_positions_break_it():
    x = random(1, 4, 9, 9)
    moved = x.roll((2, 1), dims=(2, 3))
    layer = layers.LocalSelfAttention2d(4, 4, 3, heads=2).double()
    inside = (..., slice(4, 7), slice(4, 7))
    assert torch.allclose(layer(moved)[inside], layer(x).roll((2, 1), dims=(2, 3))[inside], atol=1e-12)
    absolute = torch.nn.Sequential(layers.AbsolutePositions2d(4), layer)
    assert not torch.allclose(absolute(moved)[inside], absolute(x).roll((2, 1), dims=(2, 3))[inside], atol=1e-3)


def test_with_offsets_shuffling_a_window_matters_and_without_it_does_not():
    x = random(1, 4, 3, 3)
    mirrored = x.flip(3)  # the centre pixel keeps its place, its neighbours change sides
    with_offsets = layers.LocalSelfAttention2d(4, 4, 3, heads=2).double()
    without = layers.LocalSelfAttention2d(4, 4, 3, heads=2, relative=False).double()
    centre = (0, slice(None), 1, 1)
    assert torch.allclose(without(mirrored)[centre], without(x)[centre], atol=1e-12)
    assert not torch.allclose(with_offsets(mirrored)[centre], with_offsets(x)[centre], atol=1e-4)


def test_every_head_learns_rows_and_columns():
    layer = layers.LocalSelfAttention2d(8, 8, 3, heads=2).double()
    x = random(1, 8, 4, 5)
    for head in range(2):
        layer.zero_grad()
        rearrange(layer(x), "b (heads d) h w -> heads b d h w", heads=2)[head].square().sum().backward()
        for table in (layer.offsets.row, layer.offsets.col):
            assert (table.grad.abs().sum(dim=1) > 0).all()


@given(st.integers(1, 6))
@few
def test_the_skew_trick_is_indexing(length):
    logits = random(2, length, 2 * length - 1)
    found = layers.relative_to_absolute(logits)
    for i in range(length):
        for j in range(length):
            assert torch.equal(found[:, i, j], logits[:, i, j - i + length - 1])


def test_augmented_convolution_without_positions_does_not_know_where_pixels_are():
    sizes = {"key_channels": 4, "value_channels": 4, "heads": 2}
    with_positions = layers.AttentionAugmentedConv2d(3, 4, **sizes).double()
    without = layers.AttentionAugmentedConv2d(3, 4, **sizes, positions="none").double()
    x, order = random(1, 3, 3, 5), torch.randperm(15)

    def shuffle(t):
        return t.flatten(2)[:, :, order].reshape(t.shape)

    assert torch.allclose(without(shuffle(x)), shuffle(without(x)), atol=1e-12)
    assert not torch.allclose(with_positions(shuffle(x)), shuffle(with_positions(x)), atol=1e-4)


@pytest.mark.parametrize(("values", "max_size"), [(0, (4, 5)), (4, (4, 5)), (4, (7, 6)), (12, (4, 5))])
def test_augmented_convolution_is_convolution_and_attention_with_added_offsets(values, max_size):
    layer = layers.AttentionAugmentedConv2d(
        3, 12, 3, key_channels=8, value_channels=values, heads=2, max_size=max_size
    ).double()
    x = random(2, 3, 4, 5)
    found = layer(x)
    same(found, oracles.augmented_convolution(parameters(layer), x.numpy(), key_channels=8, heads=2, max_size=max_size))
    if values < 12:
        assert torch.allclose(found[:, : 12 - values], F.conv2d(x, layer.conv.weight, padding=1), atol=1e-12)


def test_with_a_softmax_over_slots_no_pixel_sees_another():
    layer, x = (
        layers.ExternalAttention2d(3, 8, slots=5, heads=2, normalization="slots").double(),
        torch.randn(2, 3, 4, 5),
    )
    x = x.double()
    assert torch.allclose(layer.attention_weights(x).sum(dim=-1), torch.ones(2, 2, 20).double())
    other = x.clone()
    other[:, :, 1, 2] += 1
    changed = (layer(other) - layer(x)).abs().amax(dim=1) > 1e-12
    assert changed[:, 1, 2].all() and changed.sum() == 2
    with pytest.raises(ValueError, match='normalization must be "double" or "slots", got \'both\''):
        layers.ExternalAttention2d(3, 8, normalization="both")


@given(sizes, st.integers(1, 2), st.integers(1, 5))
@few
def test_external_attention_is_two_normalizations(size, heads, slots):
    b, h, w = size
    layer = layers.ExternalAttention2d(3, 4 * heads, slots, heads).double()
    x = random(b, 3, h, w)
    q = oracles.heads_of(oracles.project(layer.to_q.weight.detach().numpy(), x.numpy()), heads)
    y = oracles.external_attention(q, layer.memory_k.detach().numpy(), layer.memory_v.detach().numpy())
    same(layer(x), oracles.project(layer.to_out.weight.detach().numpy(), oracles.channels_of(y)))


def test_double_normalization_sums_to_one_and_forgets_a_constant_per_slot():
    logits = random(2, 3, 7, 5)
    weights = external_attention.double_normalization(logits)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 3, 7, dtype=D))
    assert torch.allclose(weights, external_attention.double_normalization(logits + random(5)), atol=1e-12)
    one_pixel = torch.zeros(1, 4, 3, dtype=torch.float16)
    one_pixel[:, 0] = 30  # takes everything of every slot: the other rows are 0 / 0 in float16
    assert torch.allclose(external_attention.double_normalization(one_pixel).float().sum(dim=-1), torch.ones(1, 4))


def test_the_memories_are_two():
    layer = layers.ExternalAttention2d(4, 4, slots=4)
    before = layer.memory_v.detach().clone()
    with torch.no_grad():
        layer.memory_k.add_(1)
    assert torch.equal(layer.memory_v, before)


@pytest.mark.parametrize("values", ["plain", "convolution", "mixture"])
def test_the_stem_is_attention_inside_blocks_then_norm_and_pool(values):
    layer = layers.AttentionStem2d(3, 8, block=2, heads=2, mixtures=3, values=values).double()
    x = random(2, 3, 4, 6)
    attended = oracles.stem(parameters(layer), x.numpy(), block=2, heads=2, mixtures=3, values=values)
    assert torch.allclose(layer(x), F.max_pool2d(layer.norm(torch.from_numpy(attended)), 2), atol=1e-10)


def test_shares_of_the_mixture_sum_to_one_and_belong_to_places_in_the_block():
    layer = layers.AttentionStem2d(3, 8, block=4, heads=2).double()
    assert torch.allclose(layer.value_mixture().sum(dim=0), torch.ones(4, 4, dtype=D))
    x = random(1, 3, 8, 8)
    moved = x.roll((4, 4), dims=(2, 3))  # by whole blocks: the same in other places
    layer.eval()
    assert torch.allclose(layer(moved), layer(x).roll((1, 1), dims=(2, 3)), atol=1e-12)


def test_positions_added_to_the_input_follow_the_formula():
    h, w, c = 3, 4, 10
    code = layers.AbsolutePositions2d(c)(torch.zeros(1, c, h, w, dtype=D))[0]
    for i in range(h):
        for j in range(w):
            for half, position in ((code[:5, i, j], i), (code[5:, i, j], j)):
                for n in range(5):
                    angle = position / 10_000 ** ((n - n % 2) / 5)
                    assert half[n] == pytest.approx(np.cos(angle) if n % 2 else np.sin(angle))
    row, col = layers.CoordinateChannels2d()(torch.zeros(1, 2, 3, 5, dtype=D))[0, 2:]
    assert row[:, 0].tolist() == [-1, 0, 1] and col[0].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert layers.CoordinateChannels2d()(torch.ones(1, 1, 1, 1))[0, 1:].flatten().tolist() == [0, 0]


def every_layer():
    return {
        "global": layers.GlobalSelfAttention2d(6, 8, heads=2),
        "local": layers.LocalSelfAttention2d(6, 8, 3, heads=2),
        "local q·r": layers.LocalSelfAttention2d(6, 8, 3, heads=2, content=False),
        "augmented": layers.AttentionAugmentedConv2d(6, 8, key_channels=4, value_channels=4, heads=2, max_size=(8, 8)),
        "external": layers.ExternalAttention2d(6, 8, slots=5, heads=2),
        "stem": layers.AttentionStem2d(6, 8, block=2, heads=2),
    }


@pytest.mark.parametrize("name", every_layer())
def test_types_devices_and_compilation(name):
    layer = every_layer()[name]
    x = torch.randn(2, 6, 4, 6)
    y = layer(x)
    assert y.dtype == torch.float32
    assert torch.allclose(layer.double()(x.double()).float(), y, atol=1e-4)
    layer.float()
    state = set(dict(layer.named_buffers())) | set(layer.__dict__)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x)
    assert (half.float() - y).abs().max() < 0.15 * y.abs().max()
    assert set(dict(layer.named_buffers())) | set(layer.__dict__) == state, "a call leaves nothing behind"
    y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
    for wrong, message in ((torch.randn(2, 5, 4, 6), "5"), (torch.randn(6, 4, 6), "3-D")):
        with pytest.raises(ValueError, match=message):
            layer(wrong)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layers.GlobalSelfAttention2d(4, 6, heads=4), "6 channels and 4 heads"),
        (lambda: layers.GlobalSelfAttention2d(0, 6, heads=1), "in_channels must be at least 1, got 0"),
        (lambda: layers.LocalSelfAttention2d(4, 4, 4, heads=2), "odd number, got 4"),
        (lambda: layers.LocalSelfAttention2d(4, 4, 3, heads=2, relative=False, content=False), "no logits"),
        (lambda: layers.LocalSelfAttention2d(3, 4, 3, heads=2, grouped=True), "3 channels and 2 heads"),
        (lambda: layers.RelativeOffsets2d(1, 3), "at least 2.*got 1"),
        (lambda: layers.RelativeOffsets2d(4, 3)(torch.zeros(1, 2, 6, 3, 3)), r"\(b, heads, 4, h, w\), got \(1, 2, 6"),
        (lambda: layers.AttentionStem2d(values="mix"), "got 'mix'"),
        (lambda: layers.AttentionStem2d(3, 8, block=4, heads=2)(torch.zeros(1, 3, 6, 8)), "image of 6 x 8"),
        (lambda: layers.AttentionAugmentedConv2d(3, 8, key_channels=4, value_channels=9), "0 to out_channels 8, got 9"),
        (lambda: layers.AttentionAugmentedConv2d(3, 8, key_channels=5, value_channels=4, heads=2), "5 channels and 2"),
        (lambda: layers.AbsolutePositions2d(1), "got 1"),
        (lambda: layers.ExternalAttention2d(3, 8, slots=0), "slots must be at least 1, got 0"),
        (lambda: layers.relative_to_absolute(torch.zeros(3, 4)), "5 offsets for 3 positions, got 4"),
    ],
)
def test_what_cannot_be_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_layer_prints_what_it_was_built_with():
    for layer, said in (
        (layers.GlobalSelfAttention2d(6, 8, heads=2), "(6, 8, heads=2"),
        (layers.LocalSelfAttention2d(6, 8, 3, heads=2, content=False), "(6, 8, kernel_size=3, heads=2"),
        (layers.LocalSelfAttention2d(6, 8, 3, heads=2, content=False), "relative=True, content=False, scaled=False"),
        (layers.RelativeOffsets2d(5, 7), "(5, kernel_size=7)"),
        (layers.AttentionStem2d(3, 8, 2, heads=2), "(3, 8, block=2, heads=2, mixtures=4, values='mixture'"),
        (layers.AttentionAugmentedConv2d(3, 8, key_channels=6, value_channels=4, heads=2), "key_channels=6"),
        (layers.AttentionAugmentedConv2d(3, 8, key_channels=6, value_channels=4, heads=2), "positions='relative'"),
        (layers.ExternalAttention2d(3, 8, slots=5, heads=2), "(3, 8, slots=5, heads=2, normalization='double'"),
        (layers.AbsolutePositions2d(6), "AbsolutePositions2d(6)"),
    ):
        assert said in repr(layer).replace("\n  ", ""), repr(layer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", every_layer())
def test_on_a_gpu_the_numbers_are_those_of_the_cpu(name):
    layer = every_layer()[name]
    x = torch.randn(2, 6, 4, 6)
    expected = layer(x)
    layer.cuda()
    assert torch.allclose(layer(x.cuda()).cpu(), expected, atol=1e-3)  # TF32 may round products
    with torch.autocast("cuda", torch.bfloat16):
        half = layer(x.cuda())
    assert (half.float().cpu() - expected).abs().max() < 0.15 * expected.abs().max()
    half.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
