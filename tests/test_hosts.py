"""Hosts unlike the one this was written on: other users, other systems, other code pages, other processors."""

import ast
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import pytest
import torch

from sasa_tutorial import devices, kernels, precision
from sasa_tutorial.kernels import dispatch
from sasa_tutorial.kernels.native import cache, compiling
from sasa_tutorial.kernels.native import operator as native
from sasa_tutorial.training.distributed import processes
from tests.conftest import ROOT

posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes")
CODE_PAGES = ("cp437", "cp949", "cp932", "cp1252", "ascii")


def python(code: str, *arguments: str, **settings) -> subprocess.CompletedProcess[str]:
    """A child process with this Python; its environment is this one's and `variables`."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **settings.pop("variables", {})}
    settings = {"capture_output": True, "encoding": "utf-8", "timeout": 600, "env": variables, **settings}
    return subprocess.run([sys.executable, "-c", code, *arguments], **settings)


# The cache of compiled libraries -------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The two places that are tried, the cache of a home and the folder for temporary files."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    for folder in (home, temporary):
        folder.mkdir()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(cache, "_replaceable", lambda parent: False)  # folders of tests lie where anybody's may
    cache._for_this_process.cache_clear()
    yield home / ".cache" / "sasa_tutorial", temporary / f"sasa_tutorial-{os.getuid()}"
    cache._for_this_process.cache_clear()


@posix
def test_the_cache_is_the_users_own(places):
    assert cache.private_folder() == places[0] == cache.private_folder()
    assert places[0].stat().st_mode & 0o777 == 0o700


@posix
def test_a_folder_that_others_may_write_is_not_used(places):
    for folder in places:
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        (folder / "local_attention-0.so").write_bytes(b"planted")
    found = cache.private_folder()
    assert found not in places and found.stat().st_mode & 0o777 == 0o700 and list(found.iterdir()) == []


@posix
def test_neither_is_somebody_elses_or_a_link(places, tmp_path):
    places[0].mkdir(parents=True, mode=0o700)
    with mock.patch.object(os, "getuid", lambda: places[0].stat().st_uid + 1):
        assert not cache.is_private(places[0])
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    assert cache.is_private(tmp_path / "own") and not cache.is_private(tmp_path / "link")


@posix
def test_nor_one_whose_parent_lets_anybody_rename_it(tmp_path):
    inside = tmp_path / "open" / "cache"
    inside.mkdir(parents=True, mode=0o700)
    inside.parent.chmod(0o777)
    assert not cache.is_private(inside)
    inside.parent.chmod(0o1777)  # as /tmp
    assert cache.is_private(inside)


@posix
def test_without_a_home_the_next_place_is_tried(places, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache.private_folder() == places[1]


@pytest.fixture
def fresh_compiler(monkeypatch):
    """As if nothing had been compiled or said yet."""
    caches = (compiling.library, native.why_unavailable, dispatch._say_once)
    for each in caches:
        each.cache_clear()
    yield monkeypatch
    for each in caches:
        each.cache_clear()


@posix
@pytest.mark.parametrize(
    ("script", "reason"),
    [("", "no C compiler was found"), ("exit 1", "failed"), ("sleep 600", "did not end within 0.2 seconds")],
)
def test_without_a_compiler_it_is_streaming_and_one_sentence(fresh_compiler, tmp_path, script, reason):
    fresh_compiler.setenv("PATH", "")
    fresh_compiler.delenv("CC", raising=False)
    if script:
        (tmp_path / "cc").write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\n{script}\n", encoding="utf-8")
        (tmp_path / "cc").chmod(0o755)
        fresh_compiler.setenv("CC", str(tmp_path / "cc"))
    if "sleep" in script:
        fresh_compiler.setattr(compiling, "COMPILE_SECONDS", 0.2)
    x = torch.randn(1, 1, 2, 3, 3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            kernels.local_attention(x, x, x, kernel_size=3)
    assert kernels.fastest_backend("cpu") == "streaming"
    (sentence,) = [str(warning.message) for warning in said]
    assert sentence.startswith("on cpu, local attention is computed by plain PyTorch, slower: ") and reason in sentence


def test_the_variable_that_chooses_a_backend(monkeypatch):
    code = (
        "import os\nfrom importlib import reload\nfrom sasa_tutorial import kernels\nprint(kernels.dispatch.DEFAULT)\n"
    )
    code += "os.environ['SASA_LOCAL_ATTENTION'] = ''\nprint(reload(kernels.dispatch).DEFAULT)"
    assert python(code, variables={"SASA_LOCAL_ATTENTION": "nativ"}).stdout == "nativ\nauto\n"
    x, expected = torch.ones(1, 1, 2, 3, 3), "auto, reference, streaming, native, triton, got 'nativ'"
    monkeypatch.setattr(kernels.dispatch, "DEFAULT", "nativ")
    with pytest.raises(ValueError, match=f"the variable SASA_LOCAL_ATTENTION must be {expected}"):
        kernels.local_attention(x, x, x, kernel_size=3)
    with pytest.raises(ValueError, match=r"backend must be auto, .* got 'nativ'"), kernels.using("nativ"):
        pass


# Another user's files ------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("command", [("train", "convolution", "--profile", "smoke", "--steps", "1"), ("run",)])
def test_a_folder_that_cannot_be_written_is_one_sentence(said, command, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")  # root may write into any folder, but not into a file
    result = said(*command, SASA_BUILD=str(tmp_path / "file" / "build"))
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert "cannot be written" in line and "SASA_BUILD" in line


# Windows -------------------------------------------------------------------------------------------------------------

# What other people's packages need of the system they have imported by then: they have wheels of their own there.
WITHOUT_POSIX = """
import os, pkgutil, signal, sys
import matplotlib.pyplot, numpy, scipy.stats, torch, torchvision, pooch, requests, tqdm.auto, papermill, filelock
import nbclient, nbformat, jupyter_client.manager, IPython.display, einops, jaxtyping, safetensors.torch, click
for name in ("fcntl", "resource", "pwd", "grp", "termios", "syslog"):
    sys.modules[name] = None
hidden = "fork forkpty getuid geteuid killpg setpgrp register_at_fork sched_getaffinity mkfifo setsid statvfs uname"
for name in (name for name in hidden.split() if hasattr(os, name)):
    delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT", "pthread_kill", "setitimer"):
    delattr(signal, name)
"""
IMPORT_ALL = """
import importlib, sasa_tutorial
for module in pkgutil.walk_packages(sasa_tutorial.__path__, "sasa_tutorial."):
    if "__main__" not in module.name:
        importlib.import_module(module.name)
"""
IMPORTS_OF_NOTEBOOKS = """
import ast, json, pathlib
for file in sorted(pathlib.Path(sys.argv[1]).glob("*.ipynb")):
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            for node in ast.parse("".join(cell["source"])).body:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    exec(compile(ast.Module([node], []), file.name, "exec"))
"""
TRAIN = """
from sasa_tutorial.training import train
run = train("relative_offsets", profile="smoke", steps=2)
print(run.record.status)
"""


@posix
def test_all_of_it_runs_where_posix_is_missing(tmp_path):
    """In a folder with blanks and umlauts, too."""
    build = tmp_path / "Eigene Dateien äöü 한국" / "build"
    code = WITHOUT_POSIX + IMPORT_ALL + IMPORTS_OF_NOTEBOOKS + TRAIN
    result = python(
        code, str(ROOT / "notebooks"), variables={"SASA_BUILD": str(build), "XDG_CACHE_HOME": str(tmp_path)}
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("finished\n") and list(build.glob("runs/*/weights.safetensors"))


# Code pages ----------------------------------------------------------------------------------------------------------

ALL_COMMANDS = """
import io, sys
from dataclasses import replace
from sasa_tutorial import ledger
from sasa_tutorial.cli import main
rows = ledger.published()[:3]  # one of them made wrong, so that its line ends with a mark that few code pages have
ledger.published = lambda: [replace(rows[0], params="1.0"), *rows[1:]]
out, err = sys.stdout, sys.stderr
for page in sys.argv[1:]:
    for arguments in (["results"], ["results", "--markdown"], ["results", "--study", "tried"], ["results", "--missing"],
                      ["weights"], ["ledger"], ["data", "check"], ["--help"], ["train", "--help"]):
        sys.argv = ["sasa-tutorial", *arguments]
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), encoding=page) for _ in range(2))
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush()
        said = sys.stdout.buffer.getvalue().decode(page, "replace")  # click writes UTF-8 where it is told ASCII
        print(page, *arguments, code, bool(said), "?" in said, file=out, flush=True)
"""


def test_every_command_prints_on_every_code_page(tmp_path):
    result = python(ALL_COMMANDS, *CODE_PAGES, variables={"PYTHONUTF8": "0", "SASA_DATA": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(CODE_PAGES) * 9
    for line in lines:
        _page, *arguments, code, said, _ = line.split()
        assert said == "True" and code == ("1" if arguments == ["data", "check"] else "0"), line
    assert "cp437 ledger 0 True True" in lines, "what cannot be shown is replaced"


def test_the_codes_own_words_do_not_depend_on_the_code_page():
    code = "from sasa_tutorial.cli import main; import sys; main.__globals__['cli'] = lambda: print('ok – ✗'); main()"
    result = python(code, variables={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (result.returncode, result.stdout) == (0, "ok ? ?\n")


def opens_text(node: ast.AST) -> bool:
    """Whether a call reads or writes text in the encoding of the machine."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if "encoding" in given:
        return False
    if name in ("read_text", "write_text"):
        return True
    if name in ("run", "Popen", "check_output"):
        return "text" in given or "universal_newlines" in given
    if name in ("open", "fdopen"):
        modes = [value.value for value in [*node.args, *given.values()] if isinstance(value, ast.Constant)]
        return not any("b" in mode for mode in modes if isinstance(mode, str) and len(mode) <= 3)
    return False


@pytest.mark.parametrize("folder", ["sasa_tutorial", "scripts", ".ci"])
def test_every_file_says_its_encoding(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    found = [f"{file.name}:{node.lineno}" for file in files for node in ast.walk(trees[file]) if opens_text(node)]
    assert found == []


def test_line_ends_stay_what_they_are():
    assert "* text=auto eol=lf" in (ROOT / ".gitattributes").read_text(encoding="utf-8").splitlines()


# Apple's GPU ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def apple(monkeypatch):
    """A Mac as far as PyTorch is asked; nothing can be computed there."""
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(devices, "processor_name", lambda: "Apple M2")
    monkeypatch.setattr(torch.mps, "synchronize", lambda: calls.append("synchronize"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: calls.append("empty_cache"))
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 7)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 9)
    return calls


def test_apples_gpu_comes_after_cuda_and_computes_in_float32(apple, monkeypatch):
    device = devices.resolve_device("auto")
    assert device == torch.device("mps") == devices.resolve_device("mps")
    assert devices.device_name(device) == "Apple M2 GPU"
    assert precision.half_precision(device, bfloat16=True) is None and precision.summing(device) == torch.float32
    assert not precision.loss_scaler(None, device).is_enabled() and not devices.on_gpu(device)
    with precision.computing(device, bfloat16=True):
        assert not torch.is_autocast_enabled("mps")
    devices.wait_for(device)
    assert (devices.begin_peak(device), devices.peak_memory(device)) == (7, 9)
    assert apple == ["synchronize", "empty_cache"]
    assert kernels.fastest_backend("mps") == "streaming"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert devices.resolve_device("auto") == torch.device("cuda")


def test_what_apples_gpu_cannot_is_one_sentence(apple, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="several processes cannot share Apple's GPU"), processes(torch.device("mps")):
        pass
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device mps was asked for, but"):
        devices.resolve_device("mps")


# Where float64 may be named: on the CPU alone, in what says whether it can be had, and in the self-test's yardstick.
FLOAT64_ON_THE_CPU = {
    "kernels/inputs.py",
    "kernels/native/operator.py",
    "kernels/native/projected.py",
    "layers/resizing.py",
    "precision.py",
    "teaching/explorer.py",
    "teaching/hunt.py",  # layers that are built on the CPU for a check
}


def test_nothing_else_names_float64():
    package = ROOT / "sasa_tutorial"
    found = {
        str(file.relative_to(package).as_posix())
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("float64", "double")
    }
    assert {name for name in found if not name.startswith("selftest/")} == FLOAT64_ON_THE_CPU


@pytest.mark.skipif(shutil.which("git") is None, reason="no Git")
def test_no_file_is_committed_with_other_line_ends():
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "--eol"], capture_output=True, encoding="utf-8").stdout
    assert [line for line in listed.splitlines() if line.startswith(("i/crlf", "i/mixed"))] == []
