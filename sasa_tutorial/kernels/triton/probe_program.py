"""The smallest Triton program that says whether Triton works here: `launching.py` starts it once."""

import triton
import triton.language as tl


@triton.jit
def double(number, doubled):
    """Twice a number of any type, by way of float32, as the programs of local attention compute."""
    tl.store(doubled, tl.load(number).to(tl.float32) * 2)
