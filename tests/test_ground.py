"""The ground rooms, which know no other: where things are, what computes, how files are written."""

import ast
import hashlib
import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sasa_tutorial import devices, paths, precision
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.files import Held, locked, read_checked, write_whole, written_whole
from sasa_tutorial.notebook_runner.notebooks import Notebook
from sasa_tutorial.notebook_runner.outcomes import Executions
from sasa_tutorial.training.provenance import library_fingerprint
from sasa_tutorial.training.run import train
from tests.conftest import ROOT

CPU = torch.device("cpu")

# Sources ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A library of a few files in place of the real one."""
    for name in ("windows.py", "cli.py", "kernels/dispatch.py", "kernels/native/c/main.c", "kernels/native/c/pass.h"):
        file = tmp_path / "package" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tmp_path / "package" / "kernels" / "notes.txt").write_text("no source")
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "package")
    return tmp_path / "package"


@pytest.mark.parametrize("name", ["kernels/native/c/pass.h", "kernels/native/c/main.c", "windows.py"])
def test_a_changed_source_is_other_code_for_runs_and_for_notebooks(package, tmp_path, name):
    notebook = Notebook(path=tmp_path, title="", question="", cells=())

    def found():
        return library_fingerprint(), Executions(tmp_path).fingerprint(notebook, "smoke", 0)

    before = found()
    assert before == found()
    (package / name).write_text("changed")
    assert all(old != new for old, new in zip(before, found(), strict=True))


def test_sources_are_those_of_the_rooms_asked_for(package):
    def names(*rooms):
        return [file.relative_to(package).as_posix() for file in paths.source_files(*rooms)]

    assert names("windows") == ["windows.py"]
    assert names("kernels") == ["kernels/dispatch.py", "kernels/native/c/main.c", "kernels/native/c/pass.h"]
    assert names() == ["cli.py", *names("kernels"), "windows.py"]


def test_the_header_files_of_the_kernel_are_among_the_sources():
    assert {file.suffix for file in paths.source_files("kernels")} == {".py", ".c", ".h"}


# Devices ------------------------------------------------------------------------------------------------------------


def names_of_gpus(tree: ast.AST) -> list[int]:
    """Lines on which code, not a sentence for people, uses PyTorch's name for a GPU."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"cuda(:|$)", node.value))
        or (isinstance(node, ast.Attribute) and node.attr in ("cuda", "is_cuda"))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch.cuda"))
    ]


def test_one_file_besides_the_kernels_knows_what_a_gpu_is_called():
    found = {
        file.relative_to(paths.PACKAGE).as_posix()
        for file in paths.source_files()
        if file.suffix == ".py" and names_of_gpus(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert {name for name in found if not name.startswith("kernels/")} == {"devices.py"}


@pytest.mark.parametrize("code", ['x.to("cuda")', "x.to(f'cuda:{i}')", "torch.cuda.synchronize()", "x.is_cuda"])
def test_the_search_for_it_finds_it(code):
    assert names_of_gpus(ast.parse(code)) == [1]


def test_a_cpu_is_waited_for_at_once_and_nobody_counts_its_memory():
    assert devices.wait_for("cpu") is None and devices.begin_peak(CPU) == 0 and devices.peak_memory("cpu") is None
    assert devices.on_gpu("cuda:1") and not devices.on_gpu(CPU)


@pytest.mark.parametrize("hardware", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_a_cpu_computes_in_bfloat16_only_where_it_can_and_is_asked_to(monkeypatch, hardware, asked):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: hardware, raising=False)
    with precision.computing(CPU, bfloat16=asked):
        found = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    assert (found == torch.bfloat16) == (hardware and asked)
    assert devices.device_name(CPU, bfloat16=asked).endswith(", bfloat16") == (hardware and asked)


@pytest.mark.parametrize("name", ["tpu", "meta", "cuda:99"])
def test_a_device_that_is_not_here_is_named(name):
    with pytest.raises(ValueError, match=name):
        devices.resolve_device(name)


# Files --------------------------------------------------------------------------------------------------------------


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "käse")
    assert path.read_bytes() == "käse".encode()
    with pytest.raises(KeyboardInterrupt), written_whole(path) as file:
        file.write(b"half")
        file.flush()
        assert path.read_bytes() == "käse".encode(), "nobody sees it before it is whole"
        raise KeyboardInterrupt
    assert path.read_bytes() == "käse".encode() and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_file_is_read_with_its_hash(tmp_path, kind):
    path = tmp_path / "file"
    path.write_bytes(b"right")
    expected = f"{kind}:{hashlib.new(kind, b'right').hexdigest()}"
    assert read_checked(path, expected) == (b"right", "")
    path.write_bytes(b"wrong")
    content, problem = read_checked(path, expected)
    assert content == b"" and problem.startswith(f"is damaged: expected {'SHA-256' if kind == 'sha256' else 'MD5'} ")


def hold(path: Path, begun, end) -> None:
    with locked(path):
        begun.set()
        end.wait(60)


def holder(path: Path):
    context = multiprocessing.get_context("spawn")
    begun, end = context.Event(), context.Event()
    process = context.Process(target=hold, args=(path, begun, end))
    process.start()
    assert begun.wait(60)
    return process, end


def test_a_lock_is_held_by_one_process_and_a_killed_one_lets_it_go(tmp_path):
    path = tmp_path / "new folder" / "lock"
    process, _ = holder(path)
    with pytest.raises(Held), locked(path, wait=False):
        pass
    process.kill()
    process.join()
    with locked(path, wait=False), pytest.raises(Held), locked(path, wait=False):
        pass


def test_a_process_forked_while_the_lock_is_held_does_not_hold_it(tmp_path):
    """A killed run leaves the processes that decode its images behind for a moment: the next run must not wait."""
    context = multiprocessing.get_context("fork")
    reads, stop = context.Event(), context.Event()
    with locked(tmp_path / "lock"):
        reader = context.Process(target=lambda: (reads.set(), stop.wait(60)))
        reader.start()
        assert reads.wait(60)
        with pytest.raises(Held), locked(tmp_path / "lock", wait=False):
            pass
    try:
        with locked(tmp_path / "lock", wait=False):
            assert reader.is_alive()
    finally:
        stop.set()
        reader.join()


def test_a_command_that_does_not_train_imports_neither_torchvision_nor_the_compiler():
    asked = "import sys, sasa_tutorial.layers, sasa_tutorial.ledger, sasa_tutorial.experiments.results\n"
    asked += "print({'torch._dynamo', 'torchvision', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stdout.strip() == "set()", "each of them takes a second"


def test_a_folder_that_cannot_be_written_is_one_sentence_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SASA_BUILD", str(tmp_path / "file"))
    with pytest.raises(TutorialError, match=r"cannot be written \(.*\)\. Name another folder in .* SASA_BUILD"):
        train("convolution", profile="smoke", steps=1, say=lambda line: None)
