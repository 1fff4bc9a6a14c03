"""Make .venv and install the locked versions into it, on any system: what `make setup` does.

    python3 scripts/setup.py        (Windows: py scripts\\setup.py)

Needs Python 3.11 or later and nothing else. With uv, the one on the path or else one that pip puts into .venv; where
there is no uv to be had, pip installs the newest versions. Every way to fail ends in one sentence. The variable VENV
names another folder.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / (os.environ.get("VENV") or ".venv")
WINDOWS = os.name == "nt"
BIN = VENV / ("Scripts" if WINDOWS else "bin")
ANOTHER = "py -3.12 scripts\\setup.py" if WINDOWS else "python3.12 scripts/setup.py"
LEAST_PYTHON = (3, 11)
LOCKED_NEEDS_MACOS = 14  # by the wheels of PyTorch in uv.lock


def fail(reason):
    """End with one sentence."""
    sys.exit(f"setup: {reason}")


def say(text):
    print(f"setup: {text}", flush=True)


def tool(name):
    """A program of .venv."""
    return str(BIN / (name + (".exe" if WINDOWS else "")))


def run(*command, silent=False, **variables):
    """Whether a command succeeds."""
    output = subprocess.DEVNULL if silent else None
    try:
        return subprocess.call(command, cwd=ROOT, env={**os.environ, **variables}, stdout=output, stderr=output) == 0
    except OSError:
        return False


def check_python(version):
    if version < LEAST_PYTHON:
        fail(f"this is Python {version[0]}.{version[1]}, 3.11 or later is needed; run another, as in: {ANOTHER}")


def takes_locked(system, machine, release):
    """Whether the locked PyTorch runs on this system."""
    if system != "Darwin":
        return True
    if machine == "x86_64":
        fail("PyTorch has no builds for Intel Macs since 2.2, and 2.6 is needed: read on Colab, or use another machine")
    return int(release.partition(".")[0] or LOCKED_NEEDS_MACOS) >= LOCKED_NEEDS_MACOS


def make_venv():
    if run(tool("python"), "-c", "", silent=True):
        return
    say(f"making {VENV} with Python {platform.python_version()}")
    if not run(sys.executable, "-m", "venv", "--clear", str(VENV)):
        fail(f"{VENV} could not be made (see above); on Debian and Ubuntu first: apt install python3-venv")


def pip_install(*what):
    """Whether pip can install it; a .venv made by uv has no pip, and gets one."""
    pip = (tool("python"), "-m", "pip")
    if not run(*pip, "--version", silent=True) and not run(tool("python"), "-m", "ensurepip", silent=True):
        fail(f"{VENV} has no pip and cannot get it; remove it and run this again")
    return run(*pip, "install", "--quiet", "--disable-pip-version-check", *what)


def find_uv():
    """The uv of the path, else that of .venv, else the empty string."""
    own = tool("uv")
    if found := shutil.which("uv"):
        return found
    return own if run(own, "--version", silent=True) or pip_install("uv") else ""


def install(locked):
    if locked and (uv := find_uv()):
        say("installing from uv.lock (PyTorch with CUDA is about 5 GB, the first time)")
        options = ["--quiet", "--locked", "--inexact", "--all-extras", "--python", tool("python")]
        # Compiled now, in parallel, rather than by the first notebook.
        done = run(uv, "sync", *options, UV_PROJECT_ENVIRONMENT=str(VENV), UV_COMPILE_BYTECODE="1")
    else:
        why = "there is no uv" if locked else "the locked PyTorch needs macOS 14"
        say(f"installing what suits this system, with pip: {why}")
        done = pip_install("-e", ".[notebooks,test,dev]")
    if not done:
        fail("the packages could not be installed (see above); without a network nothing can be")


def main():
    check_python(sys.version_info[:2])
    locked = takes_locked(platform.system(), platform.machine(), platform.mac_ver()[0])
    make_venv()
    install(locked)
    say("done")


if __name__ == "__main__":
    main()
