"""Public bugs, brought into the library one at a time: the named test has to notice each of them."""

import pytest

from tests.conftest import ROOT
from tests.mutants import MUTANTS, Mutant, table


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_killed(mutant: Mutant, record_property):
    mutant.kill()  # passes on the library: what fails next fails because of the bug
    with mutant.patch(), pytest.raises(AssertionError):
        mutant.kill()
    mutant.kill()  # and the patch is gone
    record_property("killed", (mutant.name, mutant.killer))


def test_the_table_in_contributing_is_this_list():
    assert table() in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
