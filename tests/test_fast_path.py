"""What a kernel may stand in for: changed modules and wrong arguments give the reference's numbers or a ValueError."""

import random
from unittest.mock import patch

import pytest
import torch
from torch import nn
from torch.nn.modules import module as every_module
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sasa_tutorial import kernels
from sasa_tutorial.kernels.native import projected
from sasa_tutorial.layers import LocalSelfAttention2d, RelativeOffsets2d

BACKENDS = kernels.available_backends("cpu")
needs_native = pytest.mark.skipif("native" not in BACKENDS, reason=kernels.why_unavailable("native"))


class Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class NoOffsets(RelativeOffsets2d):
    def forward(self, q):
        return 0 * super().forward(q)


class Cooler(LocalSelfAttention2d):
    def weights(self, q, k):
        return super().weights(0.5 * q, k)


class Twice(nn.Module):
    def forward(self, weight):
        return 2 * weight


def convolution(change=None, out=16, size=1, **options):
    conv = nn.Conv2d(16, out, size, bias=options.pop("bias", False), **options)
    if change:
        change(conv)
    return conv


def with_bias(m):
    m.to_v = convolution(lambda conv: nn.init.ones_(conv.bias), bias=True)


def with_folded_norm(m):
    norm = nn.BatchNorm2d(16).eval()
    nn.init.normal_(norm.running_mean), nn.init.normal_(norm.bias)
    m.to_q = fuse_conv_bn_eval(m.to_q.eval(), norm)


def all_three(**options):
    def change(m):
        m.to_q, m.to_k, m.to_v = (convolution(**options) for _ in range(3))

    return change


def with_forward(m):
    usual = m.to_v.forward
    m.to_v.forward = lambda x: 2 * usual(x)


def with_conv_forward(m):
    usual = m.to_k._conv_forward
    m.to_k._conv_forward = lambda *a: 2 * usual(*a)


CHANGES = {
    "bias": with_bias,
    "a batch norm folded in": with_folded_norm,
    "3x3": all_three(size=3, padding=1),
    "3x3, circular": all_three(size=3, padding=1, padding_mode="circular"),
    "one 3x3": lambda m: setattr(m, "to_v", convolution(size=3, padding=1)),
    "stride": all_three(stride=2),
    "padding": all_three(padding=1),
    "groups": lambda m: setattr(m, "to_k", convolution(groups=4)),
    "wider values": lambda m: setattr(m, "to_v", convolution(out=32)),
    "two projections, one after the other": lambda m: setattr(m, "to_v", nn.Sequential(m.to_v, convolution())),
    "a transposed convolution": lambda m: setattr(m, "to_v", nn.ConvTranspose2d(16, 16, 1, bias=False)),
    "no projection": lambda m: setattr(m, "to_q", nn.Identity()),
    "a subclass": lambda m: setattr(m, "to_v", Doubled(16, 16, 1, bias=False)),
    "a replaced forward": with_forward,
    "a replaced _conv_forward": with_conv_forward,
    "a parametrization": lambda m: parametrize.register_parametrization(m.to_q, "weight", Twice()),
    "weight norm": lambda m: parametrizations.weight_norm(m.to_v),
    "pruning": lambda m: prune.random_unstructured(m.to_v, "weight", 0.5),
    "a hook": lambda m: m.to_v.register_forward_hook(lambda module, inputs, y: 2 * y),
    "a hook before": lambda m: m.to_k.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],)),
    "a backward hook": lambda m: m.to_v.register_full_backward_hook(lambda module, to_x, to_y: (2 * to_x[0],)),
    "other offsets": lambda m: setattr(m, "offsets", NoOffsets(4, 5)),
    "a hook on the offsets": lambda m: m.offsets.register_forward_hook(lambda module, inputs, y: 0 * y),
    "offsets' replaced forward": lambda m: setattr(m.offsets, "forward", lambda q: 0),
    "a parametrization of the offsets": lambda m: parametrize.register_parametrization(m.offsets, "row", Twice()),
    "a subclass with other weights": lambda m: setattr(m, "__class__", Cooler),
    "fewer heads than it was built with, without offsets": lambda m: (
        setattr(m, "offsets", None),
        setattr(m, "heads", 2),
    ),
    "nothing": lambda m: None,
}


def run(layer, x, backend):
    x = x.clone().requires_grad_()
    with kernels.using(backend):
        y = layer(x)
        learned = [p for p in layer.parameters() if p.requires_grad]
        return y, *torch.autograd.grad(y.square().sum(), [x, *learned], allow_unused=True)


def agree(layer, x):
    for found, expected in zip(run(layer, x, "auto"), run(layer, x, "reference"), strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("images", [1, 5])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_layer_computes_what_its_own_lines_do(change, images):
    layer = LocalSelfAttention2d(16, 16, 5, 4)
    CHANGES[change](layer)
    agree(layer, torch.randn(images, 16, 6, 7))


@pytest.mark.parametrize("name", ["forward_hook", "forward_pre_hook", "full_backward_hook"])
def test_a_hook_on_all_modules_is_called_for_all_and_heeded(name):
    layer, x, seen = LocalSelfAttention2d(16, 16, 5, 4), torch.randn(2, 16, 6, 7), []

    def hook(module, inputs, *outputs):
        seen.append(module)
        if module is layer.to_v and name != "full_backward_hook":
            return 2 * outputs[0] if outputs else (2 * inputs[0],)

    handle = getattr(every_module, f"register_module_{name}")(hook)
    try:
        agree(layer, x)
    finally:
        handle.remove()
    assert set(seen) >= {layer.to_q, layer.to_k, layer.to_v, layer.offsets}


@needs_native
def test_plain_layers_take_one_step_and_changed_ones_do_not():
    x = torch.randn(2, 16, 6, 7)
    for change, mend in CHANGES.items():
        layer = LocalSelfAttention2d(16, 16, 5, 4)
        mend(layer)
        with patch.object(projected, "attend", wraps=projected.attend) as attend, torch.no_grad():
            layer(x)
        assert attend.called == (change in ("nothing", "fewer heads than it was built with, without offsets")), change


def set_heads(m):
    m.heads = 8


def set_kernel_size(size):
    return lambda m: setattr(m, "kernel_size", size)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.offsets.double(), "row and col must be torch.float32 as the queries, got torch.float64"),
        (lambda m: m.offsets.half(), "row and col must be torch.float32 as the queries, got torch.float16"),
        (lambda m: m.offsets.to("meta"), "q on cpu and row on meta"),
        (set_kernel_size(25), r"\(d1, 25\) and \(d2, 25\), got \(2, 5\)"),
        (set_kernel_size(1), r"\(d1, 1\) and \(d2, 1\), got \(2, 5\)"),
        (set_kernel_size(4), "odd number, got 4"),
        (set_heads, "d = 2 channels together, got 4"),
    ],
)
def test_a_layer_whose_numbers_no_longer_fit_says_which(change, message):
    layer, x = LocalSelfAttention2d(16, 16, 5, 4), torch.randn(2, 16, 6, 7, requires_grad=True)
    change(layer)
    with pytest.raises(ValueError, match=message):
        layer(x).sum().backward()


@needs_native
def test_no_tables_of_another_size_reach_the_kernel():
    x, matrix = torch.randn(2, 16, 6, 7), torch.randn(16, 16)
    for row, col in (
        (torch.randn(2, 3), torch.randn(2, 3)),
        (torch.randn(1, 5), torch.randn(2, 5)),
        (torch.randn(4, 5), None),
    ):
        with pytest.raises(ValueError, match="row and col"):
            projected.attend(x, matrix, matrix, matrix, row, col, heads=4, kernel_size=5)
    for matrices in ((matrix[:8], matrix, matrix), (matrix, matrix[:, :8], matrix), (matrix.double(), matrix, matrix)):
        with pytest.raises((ValueError, RuntimeError), match=r"must be|Sizes of tensors"):
            projected.attend(x, *matrices, None, None, heads=4, kernel_size=5)


@needs_native
@pytest.mark.parametrize("shape", [(2, 16, 0, 3), (2, 16, 3, 0), (0, 16, 3, 3)], ids=str)
def test_without_pixels_every_gradient_is_zero(shape):
    layer = LocalSelfAttention2d(16, 16, 5, 4)
    _, *gradients = run(layer, torch.empty(shape), "auto")
    assert not any(gradient.any() for gradient in gradients)
    q = torch.empty(shape[0], 4, 4, *shape[2:])
    row, col = (table.detach().requires_grad_() for table in (layer.offsets.row, layer.offsets.col))
    for backend in BACKENDS:
        out = kernels.local_attention(q, q, q, row, col, kernel_size=5, backend=backend)
        assert not any(gradient.any() for gradient in torch.autograd.grad(out.sum(), (row, col)))


# About a thousand wrong arguments, by chance from one seed.


def right(draw):
    b, heads, d, h, w, k = (
        draw.choice(sizes) for sizes in ((1, 2), (1, 3), (2, 4, 5), (1, 3, 6), (1, 4, 9), (1, 3, 5))
    )
    dtype = draw.choice((torch.float32, torch.float64, torch.bfloat16))
    q, key, v = (torch.randn(b, heads, d, h, w).to(dtype) for _ in range(3))
    row, col = torch.randn(d // 2, k).to(dtype), torch.randn(d - d // 2, k).to(dtype)
    return {"q": q, "k": key, "v": v, "row": row, "col": col, "kernel_size": k}


def other_shape(draw, x):
    sizes = list(x.shape)
    sizes[draw.randrange(len(sizes))] = draw.choice((0, 1, 2, 3, 7))
    return torch.randn(sizes).to(x.dtype)


def negated_lazily(x):
    return torch.complex(torch.zeros_like(x.float()), -x.float()).conj().imag.to(x.dtype)


WRONG = (
    lambda draw, x: x.to(draw.choice((torch.float16, torch.bfloat16, torch.float32, torch.float64))),
    lambda draw, x: x.to(draw.choice((torch.int64, torch.bool, torch.complex64, torch.uint8))),
    other_shape,
    other_shape,
    other_shape,
    lambda draw, x: x[0],
    lambda draw, x: x[None],
    lambda draw, x: x.transpose(0, -1),
    lambda draw, x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    lambda draw, x: x[..., :1].expand_as(x),
    lambda draw, x: torch.randn(*x.shape, 2).to(x.dtype)[..., 0],
    lambda draw, x: negated_lazily(x),
    lambda draw, x: x.to("meta"),
    lambda draw, x: x.to_sparse(),
    lambda draw, x: None,
    lambda draw, x: draw.choice(("text", 3, [1.0], x.float().tolist())),
)


def wrong(draw):
    arguments = right(draw)
    for name in draw.sample(("q", "k", "v", "row", "col"), draw.choice((0, 1, 1, 2))):
        arguments[name] = draw.choice(WRONG)(draw, arguments[name])
    if draw.random() < 0.2:
        arguments["kernel_size"] = draw.choice((-1, 0, 2, 4, 7, 9, 10**9 + 1, 3.0, "3", None))
    return arguments


def outcome(compute):
    """The numbers, or the ValueError."""
    try:
        return compute().detach()
    except ValueError as error:
        return error


def same(found, expected):
    if isinstance(found, ValueError):
        return True
    close = 0.05 if found.dtype in (torch.bfloat16, torch.float16) else 1e-4
    return torch.allclose(found.double(), expected.double(), rtol=close, atol=close, equal_nan=False)


def test_wrong_arguments_give_the_references_numbers_or_a_value_error():
    draw, taken = random.Random(0), 0
    for number in range(1000):
        arguments = wrong(draw)
        expected = outcome(lambda arguments=arguments: kernels.local_attention(**arguments, backend="reference"))
        for backend in (*BACKENDS[1:], "auto"):
            found = outcome(lambda a=arguments, b=backend: kernels.local_attention(**a, backend=b))
            if backend in ("auto", "streaming"):
                assert isinstance(found, ValueError) == isinstance(expected, ValueError), (number, backend)
            assert same(found, expected), (number, backend, arguments)
            taken += not isinstance(found, ValueError)
    assert 300 < taken < 2700, "both kinds are many"


@needs_native
def test_the_operator_itself_never_reads_what_does_not_fit():
    """As `torch.ops` calls it, with no check before its own: it must not crash, nor give numbers from elsewhere."""
    operator, draw, taken = torch.ops.sasa_tutorial.native_local_attention, random.Random(1), 0
    for number in range(1000):
        *inputs, kernel_size = wrong(draw).values()
        row = inputs[3]
        size = row.shape[-1] // 2 if isinstance(row, torch.Tensor) and row.ndim else 1
        reach = [draw.choice((0, 1, 2, -1, 100)) if draw.random() < 0.2 else size for _ in range(2)]
        try:
            out, _ = operator(*inputs, reach)
        except (ValueError, RuntimeError, TypeError, AttributeError, IndexError, NotImplementedError):
            continue
        kernel_size = 2 * reach[0] + 1
        kinds = {(x.dtype, x.device.type) for x in inputs if x is not None}
        logits = inputs[1] is not None or row is not None
        if reach[0] == reach[1] and len(kinds) == 1 and logits and out.device.type == "cpu":
            expected = kernels.local_attention(*inputs, kernel_size=kernel_size, backend="reference")
            assert same(out, expected), number
            taken += 1
    assert taken > 50


@needs_native
def test_layers_with_wrong_settings_give_the_references_numbers_or_an_error():
    draw = random.Random(2)
    for number in range(200):
        layer = LocalSelfAttention2d(8, 12, draw.choice((1, 3, 5)), draw.choice((1, 2, 3)), scaled=draw.random() < 0.5)
        for _ in range(draw.choice((0, 1, 2))):
            draw.choice(SETTINGS)(draw, layer)
        x = torch.randn(draw.choice((0, 1, 3)), 8, draw.choice((1, 4, 6)), draw.choice((1, 5)))
        x = draw.choice((x, x, x, x.double(), x.bfloat16(), x.to(memory_format=torch.channels_last), x.expand_as(x)))
        results = []
        for backend in ("auto", "reference"):
            try:
                with kernels.using(backend):
                    results.append(layer(x).detach())
            except (ValueError, RuntimeError) as error:
                results.append(error)
        found, expected = results
        if not isinstance(found, Exception):
            assert not isinstance(expected, Exception), (number, expected)
            assert same(found, expected), number


SETTINGS = (
    lambda draw, m: setattr(m, "heads", draw.choice((0, 1, 2, 3, 4, 5, 6, 12))),
    lambda draw, m: setattr(m, "kernel_size", draw.choice((0, 1, 2, 3, 5, 25))),
    lambda draw, m: setattr(m, "offsets", draw.choice((None, RelativeOffsets2d(4, 3), RelativeOffsets2d(6, 5)))),
    lambda draw, m: setattr(m, "to_v", nn.Conv2d(draw.choice((8, 4)), draw.choice((12, 24, 5)), 1, bias=False)),
    lambda draw, m: setattr(m, "to_v", nn.Conv2d(2, 12, 2, bias=False)),  # as many numbers, but no 1x1 of 8 channels
    lambda draw, m: setattr(m, "to_q", nn.Conv2d(8, draw.choice((12, 24, 5)), 1, bias=draw.random() < 0.5)),
    lambda draw, m: setattr(m, "to_k", draw.choice((None, nn.Conv2d(8, 12, 1, bias=False).double()))),
    lambda draw, m: draw.choice((m.double, m.bfloat16, m.offsets.double if m.offsets else m.float, m.to_v.half))(),
)


@needs_native
def test_numbers_too_small_to_be_normal_are_zero_in_the_kernel_and_nowhere_else():
    """They cost some processors a hundred times the time of others, so sharp attention would be slow."""
    for dtype, logit in ((torch.float32, -87.2), (torch.float64, -708.2)):
        k = torch.tensor([0.0, logit], dtype=dtype).view(1, 1, 1, 1, 2)
        v = torch.tensor([0.0, 1e-3], dtype=dtype).view(1, 1, 1, 1, 2)
        found, expected = (
            kernels.local_attention(torch.ones_like(k), k, v, kernel_size=3, backend=name)
            for name in ("native", "reference")
        )
        assert 0 < expected[..., 0] < torch.finfo(dtype).smallest_normal and found[..., 0] == 0
        tiny = torch.full((1 << 16,), torch.finfo(dtype).smallest_normal / 8, dtype=dtype)
        assert (tiny / 2 > 0).all(), "the processor's setting is as it was"
