#!/bin/sh
# Make .venv with any Python >= 3.11 and install the locked versions into it. Every way to fail ends in one sentence.
set -u

PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

fail() {
    echo "setup: $1" >&2
    exit 1
}

command -v "$PYTHON" >/dev/null 2>&1 ||
    fail "no $PYTHON found; install Python 3.11 or later, or name one: make setup PYTHON=python3.12"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$PYTHON is $("$PYTHON" -V 2>&1), 3.11 or later is needed; name another: make setup PYTHON=python3.12"
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$PYTHON has no venv module; install it (Debian and Ubuntu: apt install python3-venv)"

if ! "$VENV/bin/python" -c '' 2>/dev/null; then
    echo "setup: making $VENV with $("$PYTHON" -V)"
    "$PYTHON" -m venv --clear "$VENV" || fail "$VENV could not be made (see above)"
fi
# A .venv made by uv has no pip.
"$VENV/bin/python" -m pip --version >/dev/null 2>&1 || "$VENV/bin/python" -m ensurepip >/dev/null 2>&1 ||
    fail "$VENV has no pip and cannot get it; remove $VENV and run this again"
if ! "$VENV/bin/uv" --version >/dev/null 2>&1; then
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check uv ||
        fail "uv could not be installed from the package index; is there a network (see above)?"
fi
echo "setup: installing from uv.lock (PyTorch with CUDA is about 5 GB, the first time)"
# Compiled now, in parallel, rather than by the first notebook.
UV_COMPILE_BYTECODE=1 UV_PROJECT_ENVIRONMENT="$VENV" "$VENV/bin/uv" sync --quiet --locked --inexact --all-extras --python "$VENV/bin/python" ||
    fail "the locked packages could not be installed (see above); without a network nothing can be"
echo "setup: done"
