"""Whatever the public functions are given: the numbers of "reference" or a ValueError, and never a crash."""

import subprocess
import sys

import pytest

from sasa_tutorial import kernels
from tests.conftest import ROOT


@pytest.mark.skipif("native" not in kernels.available_backends("cpu"), reason=kernels.why_unavailable("native"))
def test_a_thousand_odd_calls_give_the_references_numbers_or_a_value_error():
    command = [sys.executable, "-m", "tests.odd_arguments"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr[-3000:]
    counts = dict(reversed(line.split(" ", 1)) for line in found.stdout.splitlines())
    assert sum(map(int, counts.values())) == 1000
    assert len(counts) == 6 and all(int(count) > 30 for count in counts.values()), counts
