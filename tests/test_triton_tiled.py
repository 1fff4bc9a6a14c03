"""The Triton programs on matrix units against the reference in float64, in Triton's interpreter and on CUDA devices."""

import pytest
import torch

from sasa_tutorial.kernels.inputs import Inputs
from sasa_tutorial.kernels.triton import launching, tiled
from sasa_tutorial.kernels.triton import operator as gpu
from tests.test_triton import compare, computes, inputs, results

pytestmark = pytest.mark.filterwarnings("error:local attention goes on in plain PyTorch")


@pytest.fixture
def on_matrix_units(monkeypatch):
    monkeypatch.setattr(tiled, "pays", lambda q, v: True)


SHAPES = [
    {"d": 16, "h": 1, "w": 1, "k": 3},
    {"b": 2, "d": 9, "heads": 2, "h": 5, "w": 9, "k": 3},  # 9 channels of 16, two rectangles and a bit
    {"d": 20, "h": 9, "w": 7, "k": 7},
    {"d": 32, "h": 2, "w": 18, "k": 11},  # two runs cover what a rectangle sees
]


@computes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_those_of_the_reference(on_matrix_units, shape):
    compare(inputs(**shape), shape["k"], 1e-5)


@computes
@pytest.mark.parametrize("given", [{"content": False}, {"tables": False}], ids=str)
def test_without_keys_and_without_offsets(on_matrix_units, given):
    compare(inputs(d=16, h=5, w=9, k=5, **given), 5, 1e-5)


# Weights and the gradients of logits are rounded before they are multiplied, as in every attention on matrix units.
@computes
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)], ids=str)
def test_half_precision_is_rounded_where_matrices_are_multiplied(on_matrix_units, dtype, tolerance):
    compare(inputs(d=16, h=5, w=9, k=7, dtype=dtype), 7, tolerance)


@computes
def test_memory_layout_does_not_matter(on_matrix_units):
    q, k, v, row, col = inputs(heads=2, d=16, h=3, w=5)
    upstream = torch.randn_like(q)
    expected = results((q, k, v, row, col), 3, "triton", upstream)
    last = [x.flatten(1, 2).to(memory_format=torch.channels_last).unflatten(1, (2, 16)) for x in (q, k, v)]
    found = results((*last, row, col), 3, "triton", upstream[:, :1, :1, :1, :1].expand_as(upstream))
    again = results((q, k, v, row, col), 3, "triton", upstream[:, :1, :1, :1, :1].expand_as(upstream).contiguous())
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, again, strict=True))


@computes
def test_64_bit_offsets_and_a_second_run_give_the_same_bits(on_matrix_units, monkeypatch):
    arguments = inputs(d=16, h=3, w=4)
    upstream = torch.randn_like(arguments[0])
    expected = results(arguments, 3, "triton", upstream)
    again = results(arguments, 3, "triton", upstream)
    monkeypatch.setattr(launching, "LARGEST_INT", 0)
    wide = results(arguments, 3, "triton", upstream)
    for ours, second, first in zip(wide, again, expected, strict=True):
        assert torch.equal(ours, first) and torch.equal(second, first)


@computes
def test_large_offsets_stay_finite(on_matrix_units):
    q, k, v, row, col = inputs(d=16, h=3, w=4)
    out = gpu.forward(Inputs(q, k, v, 300 * row, 300 * col), [1, 1])[0]
    assert out.isfinite().all() and out.abs().max() <= v.abs().max() + 1e-4


@computes
def test_lse_is_that_of_a_thread_a_pixel(monkeypatch):
    arguments = inputs(d=16, h=5, w=9)
    found = []
    for yes in (True, False):
        monkeypatch.setattr(tiled, "pays", lambda q, v, yes=yes: yes)
        found.append(gpu.forward(Inputs(*arguments), [1, 1])[1])
    assert torch.allclose(*found, atol=1e-5)


class Like:
    """What `pays` looks at in a tensor."""

    def __init__(self, dtype, d, device="cuda"):
        self.dtype, self.shape, self.device = dtype, (2, 4, d, 32, 32), torch.device(device)


@pytest.mark.parametrize(
    ("dtype", "d", "capability", "expected"),
    [
        (torch.bfloat16, 16, (9, 0), True),
        (torch.bfloat16, 8, (9, 0), False),
        (torch.float16, 16, (8, 0), True),
        (torch.float16, 16, (7, 5), False),  # more than twice the instructions: Triton has no matrix units for a T4
        (torch.float32, 64, (9, 0), False),
    ],
    ids=str,
)
def test_matrix_units_are_taken_where_they_exist_and_save_instructions(monkeypatch, dtype, d, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert tiled.pays(Like(dtype, d), Like(dtype, d)) is expected
    assert not tiled.pays(Like(dtype, d, "cpu"), Like(dtype, d, "cpu"))
    assert not tiled.pays(Like(dtype, d), Like(torch.float64, d))


def test_float32_is_multiplied_as_pytorch_was_told_to(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 0))
    number, half = Like(torch.float32, 16), Like(torch.bfloat16, 16)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        assert tiled.precision(number) == "ieee" and not tiled.pays(number, number)
        torch.set_float32_matmul_precision("high")
        assert tiled.precision(number) == "tf32" and tiled.pays(number, number)
        assert tiled.precision(half) == "ieee"
    finally:
        torch.set_float32_matmul_precision(before)
