"""Making a library from the C files, once per machine: with its own compiler, for its own processor.

Compiled at first use and kept in the user's cache, as `torch.compile` and Triton do with theirs. So the package stays
pure Python (one wheel for everybody, nothing to build on Colab's side), and the compiler may use whatever vectors this
processor has. Where there is no compiler, the caller says why and goes another way.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from sasa_tutorial.kernels.native.cache import private_folder

SOURCES = Path(__file__).with_name("c")
MAIN = SOURCES / "local_attention.c"
# Errors of fused multiply-adds are smaller than those of two steps; nothing else is allowed to change the arithmetic.
FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-shared", "-fPIC", "-pthread")
PROCESSOR_FLAGS = (("-march=native",), ("-mcpu=native",), ())  # x86 and newer ARM; Apple's; any
COMPILE_SECONDS = 120  # one takes a second or two; on a machine that does much else, half a minute


class NotCompiled(Exception):
    """Why there is no native library here."""


@functools.cache
def library(real: str) -> ctypes.CDLL:
    """The C files compiled for numbers of type `real`, "float" or "double".

    Raises:
        NotCompiled: no compiler, or it failed or hung.
    """
    found, problems = compiler(), []
    for processor in PROCESSOR_FLAGS:
        try:
            return ctypes.CDLL(os.fspath(_compiled([found, *FLAGS, *processor, *number_flags(real)])))
        except subprocess.TimeoutExpired as error:  # with other flags it would hang again
            raise NotCompiled(f"{found} did not end within {error.timeout:g} seconds") from error
        except (OSError, subprocess.SubprocessError) as error:
            problems.append(_reason(error))
    raise NotCompiled(f"{found} failed: {problems[-1]}")


def compiler() -> str:
    """The C compiler: $CC, else the first that is installed.

    Raises:
        NotCompiled: there is none.
    """
    names = [name for name in (os.environ.get("CC", ""), "cc", "gcc", "clang") if name]
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise NotCompiled(f"no C compiler was found (looked for {', '.join(names)})")
    return found


def number_flags(real: str) -> list[str]:
    """What tells the C files their type of numbers."""
    return [f"-DREAL={real}", *(["-DREAL_IS_DOUBLE"] if real == "double" else [])]


def _compiled(command: list[str]) -> Path:
    """The library that `command` makes, from the cache where it has been made before."""
    version = _said([command[0], "--version"])
    key = hashlib.sha256()
    for source in sorted(SOURCES.glob("*.[ch]")):
        key.update(source.read_bytes() + b"\0")
    for part in (*command, version, platform.machine(), _processor()):
        key.update(part.encode() + b"\0")
    file = private_folder() / f"local_attention-{key.hexdigest()[:16]}.so"
    if not file.exists():
        # Another process may be at the same: each writes a file of its own, and the last one to rename wins.
        handle, half = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        os.close(handle)
        try:
            _said([*command, os.fspath(MAIN), "-o", half, "-lm"])
            Path(half).replace(file)
        finally:
            Path(half).unlink(missing_ok=True)
    return file


def _said(command: list[str]) -> str:
    """What a command prints; in the compiler's words, whatever language and code page it speaks."""
    settings = {"capture_output": True, "encoding": "utf-8", "errors": "replace", "stdin": subprocess.DEVNULL}
    return subprocess.run(command, check=True, timeout=COMPILE_SECONDS, **settings).stdout


def _processor() -> str:
    """What distinguishes processors that share a home folder: a library for one may not run on the other."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error)
    return (said.strip() or type(error).__name__).splitlines()[0][:300]
