"""What the installed Triton's compiler makes of the programs: no waiting for each other, no numbers in local memory.

Layouts are the compiler's choice and change with its version; a change that costs half the speed breaks no other test.
SASA_SKIP_COMPILING=1 leaves this out: it takes a minute and is about the compiler, not about values.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

compiles = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None
    or bool(os.environ.get("TRITON_INTERPRET") or os.environ.get("SASA_SKIP_COMPILING")),
    reason="Triton is not installed, does not compile, or is not to",
)

# Loads and stores of what does not fit into registers, in the loop of a program, that have been seen and accepted:
# where the channels of a pixel are far apart, each needs an address (data/results/triton-compile.md).
SPILLS = {("queries", "fp32 NCHW d=8"): 60, ("keys", "fp32 NCHW d=8"): 10}


@compiles
@pytest.mark.parametrize(("sm", "case"), [(75, "fp32 NHWC d=8"), (90, "fp32 NCHW d=8")])
def test_loops_have_no_barriers_and_spill_no_more_than_is_written_down(sm, case, tmp_path):
    path = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(ROOT)]  # another Triton may have been put in front
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "scripts/compile_report.py", "--sm", str(sm), "--case", case, "--json"],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=ROOT,
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(path)},
    )
    assert found.returncode == 0, found.stderr[-3000:]
    rows = json.loads(found.stdout)["rows"]
    assert [row["program"] for row in rows] == ["forward", "queries", "keys"]
    for row in rows:
        assert row["loop"] > 300, row  # else the loop was not found
        assert row["barriers"] == 0, row
        assert row["spills"] <= SPILLS.get((row["program"], case), 0), row
