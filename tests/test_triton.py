"""The Triton programs of local attention: on a CUDA device, and without one in Triton's interpreter.

The interpreter has to be chosen before Triton is imported, so this file runs itself once more, in a child process with
TRITON_INTERPRET=1: there DEVICE is the CPU. Where there is a CUDA device, the same tests run on it too.
"""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from sasa_tutorial import kernels, layers
from sasa_tutorial.kernels import reference
from sasa_tutorial.kernels.inputs import Inputs
from sasa_tutorial.kernels.triton import launching
from sasa_tutorial.kernels.triton import operator as gpu
from tests import oracles
from tests.conftest import ROOT

INTERPRETING = bool(os.environ.get("TRITON_INTERPRET"))
DEVICE = "cpu" if INTERPRETING else "cuda"
INSTALLED = importlib.util.find_spec("triton") is not None
# Its interpreter asks for the int of an array with one element in one dimension, which numpy once gave.
UNREADABLE = (
    INSTALLED
    and tuple(map(int, importlib.metadata.version("triton").split(".")[:2])) < (3, 7)
    and np.lib.NumpyVersion(np.__version__) >= "2.4.0"
)
computes = pytest.mark.skipif(bool(gpu.why_unavailable()), reason=gpu.why_unavailable())
interprets = pytest.mark.skipif(not INSTALLED or INTERPRETING, reason="Triton is not installed, or this is the child")
readable = pytest.mark.skipif(UNREADABLE, reason="the interpreter of this Triton does not know numpy 2.4 and newer")
# Where programs do not start, local attention goes on without them; here that is a failure.
pytestmark = pytest.mark.filterwarnings("error:local attention goes on in plain PyTorch")
alone = pytest.mark.skipif(INTERPRETING, reason="about a process without the interpreter")


@interprets
@readable
def test_these_programs_and_those_on_matrix_units_hold_in_the_interpreter():
    variables = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    files = [str(ROOT / "tests" / name) for name in ("test_triton.py", "test_triton_tiled.py")]
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env=variables,
    )
    assert child.returncode == 0, child.stdout[-5000:] + child.stderr[-2000:]
    passed = int(re.search(r"(\d+) passed", child.stdout)[1])
    assert passed >= 50, child.stdout


def inputs(b=1, heads=1, d=4, h=5, w=6, k=3, dtype=torch.float32, content=True, tables=True):
    q, key, v = (torch.randn(b, heads, d, h, w, device=DEVICE).to(dtype) for _ in range(3))
    row, col = (torch.randn(n, k, device=DEVICE).to(dtype) for n in (d // 2, d - d // 2))
    return [q, key if content else None, v, *((row, col) if tables else (None, None))]


def attend(arguments, k, backend="triton"):
    return kernels.local_attention(*arguments, kernel_size=k, backend=backend)


def results(arguments, k, backend, upstream):
    """The output and the gradient of everything that was given."""
    arguments = [None if x is None else x.detach().requires_grad_() for x in arguments]
    out = attend(arguments, k, backend)
    return [out, *torch.autograd.grad(out, [x for x in arguments if x is not None], upstream)]


def compare(arguments, k, tolerance):
    """Output and gradients against the reference in float64, as a share of the largest number of each.

    With many channels the logits are large and float32 itself is off by more than `tolerance`: then four times what
    the reference in float32 is off by is allowed.
    """
    upstream = torch.randn_like(arguments[0])
    found = results(arguments, k, "triton", upstream)
    plain = results(arguments, k, "reference", upstream)
    exact = results([None if x is None else x.double() for x in arguments], k, "reference", upstream.double())
    names = ("out", "1st", "2nd", "3rd", "4th", "5th")
    for name, ours, rounded, right in zip(names, found, plain, exact, strict=False):
        assert ours.dtype == arguments[0].dtype and ours.shape == right.shape
        if right.numel():
            scale = right.abs().max().clamp(min=0.1)  # some are 0 in exact numbers
            error, usual = ((x.double() - right).abs().max() / scale for x in (ours, rounded))
            assert error < max(tolerance, 4 * usual), f"{name} differs by {error:.1e}, float32 by {usual:.1e}"


SHAPES = [
    {"b": 2, "heads": 2, "h": 2, "w": 3},
    {"d": 1, "h": 1, "w": 1},
    {"d": 5, "h": 4, "w": 3},
    {"d": 13, "h": 2, "w": 9, "k": 5},  # lower than its window
    {"d": 2, "h": 9, "w": 2, "k": 7},  # narrower than its window
    {"d": 3, "h": 3, "w": 3, "k": 11},  # both
    {"d": 2, "h": 2, "w": 13, "k": 11},  # a window row of two segments, the second not full
    {"d": 2, "h": 12, "w": 14},  # more than one program an image
    {"d": 8, "h": 8, "w": 9, "k": 7},
    {"d": 48, "h": 3, "w": 5},
    {"d": 128, "h": 2, "w": 5},  # channels over several threads
]


@computes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_those_of_the_reference(shape):
    compare(inputs(**shape), shape.get("k", 3), 1e-5)


@computes
@pytest.mark.parametrize("given", [{"content": False}, {"tables": False}], ids=str)
@pytest.mark.parametrize("shape", [{"d": 5, "k": 5}, {"d": 2, "h": 2, "w": 13, "k": 11}], ids=str)
def test_without_keys_and_without_offsets(shape, given):
    compare(inputs(**shape, **given), shape["k"], 1e-5)


# Against float64 on the same rounded numbers: what remains is the rounding of out (from which the gradients start) and
# of each result, 2^-11 and 2^-8 of a number.
@computes
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)], ids=str)
@pytest.mark.parametrize("shape", [{"d": 8, "k": 5}, {"d": 13, "h": 4, "w": 3}], ids=str)
def test_half_precision_is_only_rounded_at_the_ends(shape, dtype, tolerance):
    compare(inputs(dtype=dtype, **shape), shape.get("k", 3), tolerance)


@computes
def test_it_is_the_equation():
    arguments = inputs(heads=2, d=3, h=4, w=5)
    expected, _ = oracles.local_attention(*(x.double().cpu().numpy() for x in arguments), 3)
    assert np.allclose(attend(arguments, 3).cpu().numpy(), expected, atol=1e-5)


@computes
def test_memory_layout_does_not_matter():
    q, k, v, row, col = inputs(heads=2, h=2, w=3)
    upstream = torch.randn_like(q)
    expected = results((q, k, v, row, col), 3, "triton", upstream)
    turned = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in (q, k, v, upstream)]
    last = [x.flatten(1, 2).to(memory_format=torch.channels_last).unflatten(1, (2, 4)) for x in (q, k, v, upstream)]
    wide = [x.repeat_interleave(2, -1)[..., ::2] for x in (q, k, v)] + [upstream[:, :1, :1].expand_as(upstream)]
    mixed = [turned[0], last[1], v, upstream]
    for *tensors, gradient in (last, mixed):
        found = results((*tensors, row, col), 3, "triton", gradient)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
    tables = [x.t().contiguous().t() for x in (row, col)]
    found = results((*wide[:3], *tables), 3, "triton", wide[3])
    expected = results((q, k, v, row, col), 3, "triton", wide[3].contiguous())
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))


@computes
@pytest.mark.parametrize("d", [12, 5])
def test_channels_last_with_heads_that_are_no_power_of_two(d):
    """12 channels are three loads of 16 bytes, 5 are five loads of one number."""
    q, k, v, row, col = inputs(heads=2, d=d, h=2, w=3)
    last = [x.flatten(1, 2).to(memory_format=torch.channels_last).unflatten(1, (2, d)) for x in (q, k, v)]
    assert all(x.stride(2) == 1 for x in last)
    compare([*last, row, col], 3, 1e-5)


@computes
def test_64_bit_offsets_give_the_same_bits(monkeypatch):
    arguments = inputs(h=3, w=4)
    upstream = torch.randn_like(arguments[0])
    expected = results(arguments, 3, "triton", upstream)
    monkeypatch.setattr(launching, "LARGEST_INT", 0)
    for ours, theirs in zip(results(arguments, 3, "triton", upstream), expected, strict=True):
        assert torch.equal(ours, theirs)


@computes
def test_large_logits_stay_finite():
    q, k, v, row, col = inputs()
    arguments = [x.requires_grad_() for x in (300 * q, 300 * k, v, row, col)]
    out = attend(arguments, 3)
    assert out.isfinite().all() and out.abs().max() <= v.abs().max() + 1e-4
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), arguments))


@computes
def test_what_is_not_a_number_stays_in_the_windows_that_see_it():
    q, k, v, row, col = inputs(h=7, w=7)
    v[..., 0, 3] = torch.inf
    touched = attend((q, k, v, row, col), 3).isfinite().logical_not().any(dim=2)[0, 0]
    assert touched[:2, 2:5].all() and touched.sum() == 6


@computes
def test_two_runs_give_the_same_bits():
    arguments = inputs(heads=1 if INTERPRETING else 64, h=2, w=3)  # programs side by side; interpreted they take turns
    upstream = torch.randn_like(arguments[0])
    once, again = (results(arguments, 3, "triton", upstream) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@computes
def test_lse_is_that_of_the_native_contract():
    q, k, v, row, col = inputs()
    _, lse = gpu.forward(Inputs(q, k, v, row, col), [1, 1])
    weights = reference.weights(q.double(), k.double(), row.double(), col.double(), (1, 1))
    centre = (q * k).double().sum(2) + (q * torch.cat((row, col))[:, 1, None, None]).double().sum(2)
    assert lse.dtype == torch.float32
    assert torch.allclose(lse.double(), centre - weights[..., 1, 1].log(), atol=1e-5)


@computes
def test_no_images_are_no_work():
    arguments = [x.requires_grad_() for x in inputs(b=0)]
    out = attend(arguments, 3)
    gradients = torch.autograd.grad(out.sum(), arguments)
    assert out.shape == arguments[0].shape
    assert [g.shape for g in gradients] == [x.shape for x in arguments] and not gradients[3].any()


@computes
def test_the_operator_passes_pytorchs_own_check():
    q, k, v, row, col = inputs(d=2, h=2, w=2)
    one_row = (q.requires_grad_(), k, v, row[:, 1:2], col, [0, 1])  # windows of 1 x 3: it runs the programs many times
    torch.library.opcheck(torch.ops.sasa_tutorial.triton_local_attention.default, one_row, raise_exception=True)


@computes
def test_a_layer_trains_on_it_under_autocast():
    layer = layers.LocalSelfAttention2d(3, 4, 3, heads=2).to(DEVICE)
    x = torch.randn(1, 3, 4, 4, device=DEVICE)
    gradients = {}
    for backend in ("triton", "streaming"):
        with kernels.using(backend), torch.autocast(DEVICE, torch.bfloat16):
            loss = layer(x).float().square().sum()
        gradients[backend] = torch.autograd.grad(loss, list(layer.parameters()))
    for ours, theirs in zip(gradients["triton"], gradients["streaming"], strict=True):
        assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max()


@computes
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": torch.float64}, "takes float32, bfloat16 and float16, got torch.float64"),
        ({"d": 129}, "at most 128 channels a head, got 129"),
    ],
    ids=str,
)
def test_what_it_does_not_take_is_said_and_auto_takes_it_all_the_same(change, message):
    arguments = inputs(**change)
    with pytest.raises(ValueError, match=f"the triton backend cannot be used: .*{message}"):
        attend(arguments, 3)
    expected = attend(arguments, 3, "reference")
    assert torch.allclose(attend(arguments, 3, "auto"), expected, atol=1e-4)
    wide = torch.randn(1, 1, 7, 5, 6, device=DEVICE)
    q, k, _, row, col = inputs()
    with pytest.raises(ValueError, match="as many value channels as query channels, got 7 and 4"):
        attend((q, k, wide, row, col), 3)
    assert attend((q, k, wide, row, col), 3, "auto").shape == wide.shape


@interprets
def test_the_programs_compile_without_a_device(tmp_path):
    """For Turing, the oldest; the interpreter takes more than the compiler does."""
    variables = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE], capture_output=True, text=True, timeout=300, env=variables
    )
    assert found.stdout.split() == ["forward_program", "queries_program", "keys_program"], found.stderr[-3000:]


COMPILE = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from sasa_tutorial.kernels.inputs import Inputs
from sasa_tutorial.kernels.triton import operator as gpu
from sasa_tutorial.kernels.triton import programs as gpu_programs

class NoDevice:
    get_current_device = get_current_stream = lambda self, *_: 0
    get_current_target = lambda self: GPUTarget("cuda", 75, 32)

class CompileOnly:
    def __init__(self, name):
        self.name, self.program = name, getattr(gpu_programs, name)
    def __getitem__(self, grid):
        def launch(*arguments, **options):
            compiled = self.program.warmup(*arguments, grid=grid, **options)
            print(self.name if ".target sm_75" in compiled.asm["ptx"] else "nothing")
        return launch

driver.set_active(NoDevice())
for name in ("forward_program", "queries_program", "keys_program"):
    setattr(gpu_programs, name, CompileOnly(name))
q = torch.randn(1, 1, 2, 5, 6, dtype=torch.bfloat16)
table = torch.randn(1, 3, dtype=torch.bfloat16)
inputs = Inputs(q, q, q, table, table)
out, lse = gpu.forward(inputs, [1, 1])
gpu.backward(out, inputs, out, lse, [1, 1])
"""


@alone
def test_tensors_on_the_cpu_are_refused_and_the_reason_is_said():
    q = torch.randn(1, 1, 4, 3, 3)
    with pytest.raises(ValueError, match=r"the triton backend cannot be used: it computes on CUDA devices, .* on cpu"):
        kernels.local_attention(q, q, q, kernel_size=3, backend="triton")
    with kernels.using("triton"):
        assert torch.equal(
            kernels.local_attention(q, q, q, kernel_size=3),
            kernels.local_attention(q, q, q, kernel_size=3, backend=kernels.fastest_backend("cpu", ("triton",))),
        )


def test_auto_never_means_triton_on_the_cpu_and_does_on_cuda_where_it_can(monkeypatch):
    assert "triton" not in kernels.available_backends("cpu")
    assert kernels.fastest_backend("cpu") in ("native", "streaming")
    assert kernels.fastest_backend("mps") == "streaming"
    monkeypatch.setattr(gpu, "why_unavailable", lambda: "")
    assert "triton" in kernels.available_backends("cuda") and "native" not in kernels.available_backends("cuda")
    assert kernels.fastest_backend("cuda") == "triton"
    assert kernels.fastest_backend("cuda", ("native", "triton")) == "streaming"
    monkeypatch.setattr(gpu, "why_unavailable", lambda: "there is no CUDA device")
    assert kernels.fastest_backend("cuda") == "streaming"
    assert kernels.why_unavailable("triton") == "there is no CUDA device"


@alone
def test_without_triton_the_package_works_and_says_so():
    found = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, timeout=100, check=True)
    assert found.stdout.split("\n")[:2] == ["Triton is not installed", "False"]


MISSING = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.split(".")[0] == "triton" else find(name, *rest)
import torch
from sasa_tutorial import kernels
x = torch.randn(1, 1, 4, 3, 3)
kernels.local_attention(x, x, x, kernel_size=3)
print(kernels.why_unavailable("triton"))
print("triton" in kernels.available_backends() or "sasa_tutorial.kernels.triton.programs" in sys.modules)
"""
