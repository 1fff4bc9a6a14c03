"""The bugs of `sasa_tutorial.bugs`, and the test that notices each. A test suite is worth what it kills."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from sasa_tutorial import kernels
from sasa_tutorial.bugs import BUGS, Bug
from tests import test_attention_layers as tests


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A bug and what notices it."""

    bug: Bug
    killer: str  # a function of test_attention_layers
    arguments: tuple = ()  # of a parametrised killer, or one example of a hypothesis test

    @property
    def name(self) -> str:
        return self.bug.name

    @property
    def patch(self) -> Callable[[], AbstractContextManager]:
        return self.bug.patch

    def kill(self) -> None:
        """Run the killer: it passes on the library, and raises AssertionError on the mutant."""
        test = getattr(tests, self.killer)
        if hasattr(test, "hypothesis"):
            test = test.hypothesis.inner_test
        torch.manual_seed(0)
        with kernels.using("reference"):  # a layer's own lines: the patches are of single ones
            test(*self.arguments)


EQUATION = "test_every_backend_is_the_equation"
EXAMPLE = ((2, 4, 5), (3, 4), 3, True, True)  # b h w, heads d, k, content, relative
KILLERS: dict[str, tuple[str, tuple]] = {
    "no sum over d: one softmax a channel": (EQUATION, EXAMPLE),
    "one attention map for all heads": ("test_a_head_sees_its_own_channels_only", ()),
    "rows and columns split before the heads": ("test_every_head_learns_rows_and_columns", ()),
    "inverted mask": ("test_zero_queries_average_the_pixels_inside", ()),
    "zero-padded keys keep their share of the softmax": ("test_zero_queries_average_the_pixels_inside", ()),
    "row offsets on columns": (EQUATION, EXAMPLE),
    "offsets as (sum of q) times (sum of r)": (EQUATION, EXAMPLE),
    "SASA's logits divided by the root of d": ("test_a_window_as_large_as_the_image_is_global_attention", ()),
    "unfolded windows reshaped in the wrong order": (EQUATION, EXAMPLE),
    "heads split by reshape, without moving the axis": (
        "test_the_local_layer_is_projections_and_the_equation",
        ({}, "reference"),
    ),
    "missing transpose before the heads are joined": (
        "test_augmented_convolution_without_positions_does_not_know_where_pixels_are",
        (),
    ),
    "scaled content, unscaled offsets": (
        "test_augmented_convolution_is_convolution_and_attention_with_added_offsets",
        (12, (4, 5)),
    ),
    "softmax over the queries": ("test_global_attention_is_pytorchs_multi_head_attention", ()),
    "tied memories": ("test_the_memories_are_two", ()),
    "one normalization instead of two": ("test_external_attention_is_two_normalizations", ((2, 3, 4), 2, 5)),
    "1e-9 in float16, where it is 0": ("test_double_normalization_sums_to_one_and_forgets_a_constant_per_slot", ()),
    "stem positions counted over the image, not in the block": (
        "test_shares_of_the_mixture_sum_to_one_and_belong_to_places_in_the_block",
        (),
    ),
}
MUTANTS = tuple(Mutant(bug=bug, killer=KILLERS[bug.name][0], arguments=KILLERS[bug.name][1]) for bug in BUGS)


def table() -> str:
    """The mutants as a Markdown table, for CONTRIBUTING.md and the end of a test run."""
    lines = ["| bug | seen in | killed by |", "|---|---|---|"]
    lines += [f"| {mutant.name} | {mutant.bug.seen_in} | `{mutant.killer}` |" for mutant in MUTANTS]
    return "\n".join(lines)
