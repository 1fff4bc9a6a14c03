"""What the backends of local attention promise besides the equation: any layout, any type, PyTorch's tools."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sasa_tutorial import kernels, layers
from sasa_tutorial.kernels.native import compiling
from sasa_tutorial.kernels.native import operator as native

BACKENDS = kernels.available_backends("cpu")
needs_native = pytest.mark.skipif("native" not in BACKENDS, reason=kernels.why_unavailable("native"))


def inputs(b=2, heads=2, d=4, h=5, w=6, k=3, dtype=torch.float64):
    q, key, v = (torch.randn(b, heads, d, h, w, dtype=dtype) for _ in range(3))
    return q, key, v, torch.randn(d // 2, k, dtype=dtype), torch.randn(d - d // 2, k, dtype=dtype)


def reference(arguments, k):
    return kernels.local_attention(*arguments, kernel_size=k, backend="reference")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "shape",
    [
        {"h": 1, "w": 1},
        {"d": 1},
        {"heads": 1, "d": 3},
        {"h": 2, "w": 40, "k": 7},
        {"h": 33, "w": 2, "k": 7},
        {"h": 3, "w": 3, "k": 11},
        {"d": 13, "h": 7, "w": 17, "k": 5},
        {"b": 1, "heads": 1, "d": 32, "h": 9, "w": 9, "k": 9},
    ],
    ids=str,
)
def test_odd_shapes_have_the_values_and_gradients_of_the_reference(backend, shape):
    arguments = [x.requires_grad_() for x in inputs(**shape)]
    k = shape.get("k", 3)
    expected = reference(arguments, k)
    found = kernels.local_attention(*arguments, kernel_size=k, backend=backend)
    upstream = torch.randn_like(expected)
    for ours, theirs in zip(
        (found, *torch.autograd.grad(found, arguments, upstream)),
        (expected, *torch.autograd.grad(expected, arguments, upstream)),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_layout_does_not_matter(backend):
    q, k, v, row, col = inputs()
    expected = reference((q, k, v, row, col), 3)
    strided = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in (q, k, v)]
    channels_last = [x.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (2, 2)) for x in (q, k, v)]
    for arguments in (strided, channels_last, [x[:, :, :, ::1] for x in (q, k, v)]):
        found = kernels.local_attention(*arguments, row, col, kernel_size=3, backend=backend)
        assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_narrow_numbers(backend, dtype, tolerance):
    arguments = inputs(d=8, h=9, w=7, k=5)
    found = kernels.local_attention(*(x.to(dtype) for x in arguments), kernel_size=5, backend=backend)
    assert found.dtype == dtype
    assert (found.double() - reference(arguments, 5)).abs().max() < tolerance


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_logits_stay_finite(backend):
    q, k, v, row, col = inputs(dtype=torch.float32)
    arguments = [x.requires_grad_() for x in (300 * q, 300 * k, v, row, col)]
    out = kernels.local_attention(*arguments, kernel_size=3, backend=backend)
    assert out.isfinite().all() and out.abs().max() <= v.abs().max() + 1e-4
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), arguments))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("place", [(4, 0), (7, 12)])
def test_nan_is_not_lost_and_stays_in_its_neighbourhood(backend, place):
    """It has to reach the windows that hold it, and may reach the next row: "native" takes two rows at a time."""
    q, k, v, *_ = inputs(h=24, w=13)
    with torch.no_grad():
        k[(..., *place)] = v[(..., place[0], place[1] // 2)] = float("nan")
    arguments = [x.requires_grad_() for x in (q, k, v)]
    results = []
    for name in ("reference", backend):
        out = kernels.local_attention(*arguments, kernel_size=7, backend=name)
        results.append((out, *torch.autograd.grad(out.sum(), arguments)))
    for expected, found in zip(*results, strict=True):
        lost, here = expected.isnan() & ~found.isnan(), expected.isnan().flatten(0, 2).double()
        around = torch.nn.functional.max_pool2d(here, (3, 1), stride=1, padding=(1, 0)).view_as(expected) > 0
        assert not lost.any() and not around.all()
        assert torch.allclose(found[~around], expected[~around])


@pytest.mark.parametrize("name", ["local", "augmented", "global", "external", "stem"])
def test_compiled_layers_are_one_graph_with_the_same_numbers(name):
    layer = {
        "local": layers.LocalSelfAttention2d(6, 8, 3, heads=2),
        "augmented": layers.AttentionAugmentedConv2d(6, 8, key_channels=4, value_channels=4, heads=2, max_size=(8, 8)),
        "global": layers.GlobalSelfAttention2d(6, 8, heads=2),
        "external": layers.ExternalAttention2d(6, 8, slots=5, heads=2),
        "stem": layers.AttentionStem2d(6, 8, block=2, heads=2),
    }[name]
    x = torch.randn(2, 6, 4, 6, requires_grad=True)
    # "aot_eager" traces both passes as compilation does and leaves out the C++ compiler, which takes half a minute.
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    results = []
    for function in (layer, compiled):
        y = function(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    for expected, found in zip(*results, strict=True):
        assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "reference"])
def test_operators_pass_pytorchs_own_check(backend):
    q, k, v, row, col = inputs(h=3, w=4)
    operator = getattr(torch.ops.sasa_tutorial, f"{backend}_local_attention").default
    for keys, tables in ((k, (row, col)), (None, (row, col)), (k, (None, None))):
        arguments = (q.requires_grad_(), keys, v, *tables, [1, 1])
        torch.library.opcheck(operator, arguments, raise_exception=True)


def test_flops_are_those_of_the_equation_whatever_computes_them():
    layer = layers.LocalSelfAttention2d(6, 8, 3, heads=2)
    n, k = 5 * 7, 3
    expected = 2 * n * (3 * 6 * 8 + 2 * k * k * 8 + k * 8)  # the docstring's cost; one multiply-add is 2
    for backend in BACKENDS:
        with kernels.using(backend), FlopCounterMode(display=False) as counter:
            layer(torch.randn(1, 6, 5, 7))
        assert counter.get_total_flops() == expected, backend
    with FlopCounterMode(display=False) as counter:
        layer.to("meta")(torch.empty(1, 6, 5, 7, device="meta"))
    assert counter.get_total_flops() == expected


@needs_native
def test_threads_do_not_change_a_bit():
    arguments = [x.requires_grad_() for x in inputs(b=3, heads=3, h=9, w=11, dtype=torch.float32)]
    results, usual = [], torch.get_num_threads()
    for threads in (1, 2, 7, 40, usual):
        torch.set_num_threads(threads)
        out = kernels.local_attention(*arguments, kernel_size=3, backend="native")
        results.append((out, *torch.autograd.grad(out.square().sum(), arguments)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_native
@pytest.mark.parametrize("real", ["float", "double"])
def test_no_read_or_write_leaves_its_memory(real, tmp_path):
    """Sanitizers over the C code, forbidden pages around every tensor, forbidden gaps inside the scratch memory."""
    compiler = compiling.compiler()
    program = tmp_path / "guard"
    # Not optimised: that would take twice the time, and leave out reads that nobody needs.
    command = [compiler, "-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += [flag for flag in compiling.FLAGS if flag not in ("-O3", "-shared", "-fPIC")]
    command += ["-march=native", f"-I{compiling.SOURCES}", *compiling.number_flags(real)]
    built = subprocess.run(
        [*command, str(Path(__file__).with_name("native_guard.c")), "-o", str(program), "-lm"],
        capture_output=True,
        text=True,
    )
    if "cannot find" in built.stderr and "san" in built.stderr:
        pytest.skip("this compiler has no sanitizers installed")
    assert built.returncode == 0, built.stderr
    found = subprocess.run([program], capture_output=True, text=True, timeout=100)
    assert (found.stdout, found.returncode) == ("0 problems\n", 0), found.stdout + found.stderr


@needs_native
def test_a_forked_process_computes_too():
    q, k, v, row, col = inputs(dtype=torch.float32)
    expected = kernels.local_attention(q, k, v, row, col, kernel_size=3, backend="native")  # threads before the fork
    found = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=100, check=True
    ).stdout.split()
    assert found == ["True", "True"] and expected.isfinite().all()


FORK = """
import os, torch
from sasa_tutorial.kernels import local_attention
torch.set_num_threads(2)
x = torch.randn(2, 2, 4, 8, 8)
here = local_attention(x, x, x, kernel_size=3, backend="native")
for _ in range(2):
    read, write = os.pipe()
    if os.fork() == 0:
        there = local_attention(x, x, x, kernel_size=3, backend="native")
        os.write(write, str(torch.equal(here, there)).encode())
        os._exit(0)
    print(os.read(read, 100).decode())
"""


def test_without_a_compiler_streaming_takes_over_and_the_reason_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    compiling.library.cache_clear()
    native.why_unavailable.cache_clear()
    try:
        assert "native" not in kernels.available_backends()
        assert "no C compiler was found" in kernels.why_unavailable("native")
        arguments = inputs()
        assert torch.allclose(kernels.local_attention(*arguments, kernel_size=3), reference(arguments, 3))
        with pytest.raises(ValueError, match="no C compiler"):
            kernels.local_attention(*arguments, kernel_size=3, backend="native")
    finally:
        compiling.library.cache_clear()
        native.why_unavailable.cache_clear()


@needs_native
def test_a_compiler_that_fails_is_a_reason_too(monkeypatch, tmp_path):
    broken = tmp_path / "cc"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "cannot find crt1.o" >&2\nexit 1\n')
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiling.library.cache_clear()
    try:
        with pytest.raises(compiling.NotCompiled, match=r"cannot find crt1\.o"):
            compiling.library("float")
        assert not list((tmp_path / "sasa_tutorial").iterdir()), "nothing half-made stays"
    finally:
        compiling.library.cache_clear()


def test_what_native_cannot_take_is_said_and_auto_takes_it_all_the_same():
    q, k, _, row, col = inputs()
    wide = torch.randn(2, 2, 7, 5, 6, dtype=torch.float64)
    found = kernels.local_attention(q, k, wide, row, col, kernel_size=3)
    assert torch.allclose(found, reference((q, k, wide, row, col), 3))
    if "native" in BACKENDS:
        with pytest.raises(ValueError, match="as many value channels as query channels, got 7 and 4"):
            kernels.local_attention(q, k, wide, row, col, kernel_size=3, backend="native")
    with pytest.raises(ValueError, match=r"auto, reference, streaming, native, triton, got 'cuda'"):
        kernels.local_attention(q, k, q, kernel_size=3, backend="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("backend", kernels.available_backends("cuda"))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_on_a_gpu_the_numbers_are_those_of_the_cpu(backend, dtype, tolerance):
    arguments = inputs(d=8, h=9, w=7, k=5)
    on_gpu = [x.to("cuda", dtype).requires_grad_() for x in arguments]
    found = kernels.local_attention(*on_gpu, kernel_size=5, backend=backend)
    assert (found.cpu().double() - reference(arguments, 5)).abs().max() < tolerance
    assert all(g.isfinite().all() for g in torch.autograd.grad(found.square().sum(), on_gpu))


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_autocast_around_a_backend_changes_none_of_its_numbers(backend):
    arguments = [x.requires_grad_() for x in inputs(dtype=torch.float32)]

    def numbers():
        out = kernels.local_attention(*arguments, kernel_size=3, backend=backend)
        return out, *torch.autograd.grad(out, arguments, torch.ones_like(out))

    expected = numbers()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(numbers(), expected, strict=True))
