"""Where Triton cannot compile or start its programs, a lesson goes on, and it is said once why."""

import importlib.util
import os
import subprocess
import warnings

import pytest
import torch

from sasa_tutorial import kernels
from sasa_tutorial.kernels import streaming
from sasa_tutorial.kernels.inputs import Inputs
from sasa_tutorial.kernels.triton import launching
from sasa_tutorial.kernels.triton import operator as gpu

INSTALLED = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not INSTALLED, reason="Triton is not installed")
NO_COMPILER = RuntimeError("Failed to find C compiler. Please specify via CC environment variable.\nand a long trace")


@pytest.fixture(autouse=True)
def nothing_is_known_yet(monkeypatch):
    monkeypatch.setattr(launching, "_FAILED", {})
    caches = (gpu._problem, launching.probe)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


class Fails:
    """Stands for a program that raises where Triton would compile and start it; counts how often it was tried."""

    def __init__(self, error: Exception):
        self.error, self.tried = error, 0

    def __getitem__(self, grid):
        def launch(*arguments, **options):
            self.tried += 1
            raise self.error

        return launch


def inputs():
    return [*(torch.randn(2, 1, 4, 5, 6) for _ in range(3)), *(torch.randn(2, 3) for _ in range(2))]


@pytest.fixture
def a_device(monkeypatch):
    """As far as one can tell without computing on it."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))


@needs_triton
def test_a_device_on_which_the_probe_fails_gets_the_streaming_backend(a_device, monkeypatch):
    monkeypatch.setattr(launching, "probe", lambda dtype: "RuntimeError: Failed to find C compiler.")
    assert kernels.why_unavailable("triton") == "RuntimeError: Failed to find C compiler."
    assert kernels.fastest_backend("cuda") == "streaming"
    assert "triton" not in kernels.available_backends("cuda")


@needs_triton
def test_numbers_that_the_compiler_does_not_know_are_refused_and_others_are_not(a_device, monkeypatch):
    monkeypatch.setattr(launching, "probe", lambda dtype: "no bfloat16" if dtype == torch.bfloat16 else "")

    class OnCuda:
        device, shape = torch.device("cuda"), (1, 1, 4, 5, 6)

        def __init__(self, dtype):
            self.dtype = dtype

    for dtype, expected in ((torch.float32, ""), (torch.bfloat16, "no bfloat16")):
        assert gpu.refuses(Inputs(OnCuda(dtype), None, OnCuda(dtype), None, None)) == expected


@needs_triton
def test_the_probe_says_in_one_line_what_is_missing(monkeypatch):
    from sasa_tutorial.kernels.triton import probe_program

    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *shape, device, **how: ones(*shape, **how))
    monkeypatch.setattr(probe_program, "double", Fails(NO_COMPILER))
    expected = "RuntimeError: Failed to find C compiler. Please specify via CC environment variable."
    assert launching.probe(torch.float32) == expected
    monkeypatch.setattr(probe_program, "double", Fails(subprocess.CalledProcessError(1, ["/usr/bin/gcc", "-O3"])))
    launching.probe.cache_clear()
    assert "/usr/bin/gcc failed" in launching.probe(torch.float32) and "python3-dev" in launching.probe(torch.float32)


@needs_triton
def test_a_probe_that_computes_nonsense_is_a_failure(monkeypatch):
    from sasa_tutorial.kernels.triton import probe_program

    class Nothing:
        def __getitem__(self, grid):
            return lambda *arguments: None

    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *shape, device, **how: ones(*shape, **how))
    monkeypatch.setattr(probe_program, "double", Nothing())
    assert "something else" in launching.probe(torch.float32)


@needs_triton
@pytest.mark.parametrize("broken", ["forward_program", "queries_program", "keys_program"])
def test_a_program_that_does_not_start_is_said_once_and_the_results_are_those_of_streaming(monkeypatch, broken):
    from sasa_tutorial.kernels.triton import programs

    class Starts(Fails):
        def __getitem__(self, grid):
            return lambda *arguments, **options: None

    program = Fails(RuntimeError("out of resource: shared memory, Required: 98304, Hardware limit: 65536."))
    for name in ("forward_program", "queries_program", "keys_program"):
        monkeypatch.setattr(programs, name, program if name == broken else Starts(NO_COMPILER))
    arguments = inputs()
    out, lse = streaming.forward(Inputs(*arguments), [1, 1])
    upstream = torch.randn_like(out)
    expected = [out, lse, *streaming.backward(upstream, Inputs(*arguments), out, lse, [1, 1])]
    with pytest.warns(RuntimeWarning, match="goes on in plain PyTorch.*shared memory") as said:
        first = gpu.forward(Inputs(*arguments), [1, 1])
        found = [*first, *gpu.backward(upstream, Inputs(*arguments), out, lse, [1, 1])]
    found[:2] = first if broken == "forward_program" else expected[:2]  # nothing was computed where all seemed well
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(said) == 1 and program.tried == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(gpu.forward(Inputs(*arguments), [1, 1])[0], expected[0])
    assert program.tried == 1


@needs_triton
def test_too_little_memory_for_tensors_is_not_taken_for_a_missing_compiler():
    with pytest.raises(torch.OutOfMemoryError):
        launching.start(Fails(torch.OutOfMemoryError("CUDA out of memory")), (1,))


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available() or bool(os.environ.get("TRITON_INTERPRET")), reason="no CUDA device")
def test_the_probe_runs_on_a_device():
    assert launching.probe(torch.float32) == ""
