"""A thousand odd calls from one seed, as a program of its own: a crash is its exit status and not the end of the tests.

`python -m tests.odd_arguments` prints how many gave numbers and how many a ValueError; anything else ends it.
"""

import faulthandler
import random
import warnings
from collections import Counter

import torch

from sasa_tutorial import kernels
from sasa_tutorial.kernels.native import projected
from sasa_tutorial.layers import LocalSelfAttention2d
from tests.test_fast_path import BACKENDS, SETTINGS, WRONG, outcome, same, wrong


def public_function(draw):
    """`kernels.local_attention`, by any backend."""
    arguments, backend = wrong(draw), draw.choice((*BACKENDS, "auto", "auto", "cuda", ""))
    expected = outcome(lambda: kernels.local_attention(**arguments, backend="reference"))
    return outcome(lambda: kernels.local_attention(**arguments, backend=backend)), expected


def with_projections(draw):
    """`projected.attend`: the reference projects first."""
    heads, d, k = draw.choice((1, 2, 3)), draw.choice((2, 3)), draw.choice((1, 3, 5))
    matrices = [torch.randn(heads * d, 4) for _ in range(3)]
    given = [torch.randn(2, 4, 3, draw.choice((1, 6))), *matrices, torch.randn(d // 2, k), torch.randn(d - d // 2, k)]
    for place in draw.sample(range(6), draw.choice((0, 1, 1, 2))):
        given[place] = draw.choice(WRONG)(draw, given[place])
    if draw.random() < 0.2:
        heads = draw.choice((-1, 0, 1, 4, 7))
    if draw.random() < 0.2:
        k = draw.choice((-1, 0, 2, 7, 10**9 + 1))

    def by_the_reference():
        x, *matrices, row, col = given
        q, key, v = (
            None if m is None else torch.einsum("oc,bchw->bohw", m, x).unflatten(1, (heads, -1)) for m in matrices
        )
        return kernels.local_attention(q, key, v, row, col, kernel_size=k, backend="reference")

    expected = outcome_of_any(by_the_reference)
    return outcome(lambda: projected.attend(*given, heads=heads, kernel_size=k)), expected


def changed_layer(draw):
    """A layer with attributes set after its construction, and a step of training."""
    layer = LocalSelfAttention2d(8, 12, draw.choice((1, 3, 5)), draw.choice((1, 2, 3)), scaled=draw.random() < 0.5)
    for _ in range(draw.choice((0, 1, 2))):
        draw.choice(SETTINGS)(draw, layer)
    x = torch.randn(draw.choice((0, 1, 3)), 8, draw.choice((1, 4, 6)), draw.choice((1, 5)))
    x = draw.choice((x, x, x, x.double(), x.bfloat16(), x.to(memory_format=torch.channels_last)))

    def learn():
        y = layer(x)
        y.float().sum().backward()
        return y

    with kernels.using("reference"):
        expected = outcome_of_any(learn)
    found = outcome_of_any(learn)
    if isinstance(found, RuntimeError) and isinstance(expected, RuntimeError):
        return ValueError(str(found)), expected  # PyTorch's own, from a convolution that does not fit
    return found, expected


def outcome_of_any(compute):
    """The numbers, or whatever error."""
    try:
        return compute().detach()
    except Exception as error:
        return error


def main() -> None:
    faulthandler.enable()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    draw, counts = random.Random(3), Counter()
    for number in range(1000):
        kind = draw.choice((public_function, public_function, with_projections, changed_layer))
        found, expected = kind(draw)
        if isinstance(found, Exception):
            assert isinstance(found, ValueError), (number, kind.__name__, found)
        else:
            assert not isinstance(expected, Exception), (number, kind.__name__, expected)
            assert same(found, expected), (number, kind.__name__)
        counts[f"{kind.__name__}: {'error' if isinstance(found, Exception) else 'numbers'}"] += 1
    print(*(f"{count} {name}" for name, count in sorted(counts.items())), sep="\n")


if __name__ == "__main__":
    main()
