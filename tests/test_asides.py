"""`scripts/asides.py`: what a notebook says on the side is still said there, and has its code."""

import dis
import importlib.util
import inspect
import re
import types

import pytest

from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("asides", ROOT / "scripts" / "asides.py")
asides = importlib.util.module_from_spec(spec)
spec.loader.exec_module(asides)


@pytest.mark.parametrize("one", asides.ASIDES, ids=lambda one: one.measure.__name__)
def test_a_notebook_says_so(one):
    cells = {cell.id: cell for cell in asides.read(one.notebook).cells}
    assert one.says in cells[one.cell].source
    assert cells[one.after].cell_type == "code"


def test_whatever_was_tried_is_measured():
    covered = {(one.notebook, one.cell) for one in asides.ASIDES}
    said = {
        (path.name[:2], cell.id)
        for path in sorted(asides.NOTEBOOKS.glob("*.ipynb"))
        for cell in asides.read(path.name[:2]).cells
        if cell.cell_type == "markdown" and re.search(r"when we tried\b(?!\")|\(we tried\)|in our trials", cell.source)
    }
    assert said and said <= covered


@pytest.mark.parametrize("one", asides.ASIDES, ids=lambda one: one.measure.__name__)
def test_what_it_takes_from_the_notebook_is_there(one):
    """Measuring takes minutes (`python scripts/asides.py`); a name that moved shows without."""
    helpers = [one.measure, asides.twins_right, asides.teams_right, asides.mosaic_right]
    taken = {name for used in helpers if used is one.measure or calls(one.measure, used) for name in of_notebook(used)}
    defined = set()
    for cell in asides.read(one.notebook).cells:
        if cell.cell_type == "code" and cell.id != "colab-setup":
            made = dis.get_instructions(compile(cell.source, cell.id, "exec"))
            defined |= {step.argval for step in made if step.opname == "STORE_NAME"}
        if cell.id == one.after:
            break
    assert taken and taken <= defined


def calls(measure, helper) -> bool:
    return helper.__name__ in names_in(measure.__code__)


def names_in(code) -> set[str]:
    """Of a function and of those inside it."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*map(names_in, inner))


def of_notebook(function) -> set[str]:
    """The attributes of `nb` in its source."""
    return set(re.findall(r"\bnb\.(\w+)", inspect.getsource(function)))


def test_a_notebook_without_asides_is_refused():
    with pytest.raises(SystemExit, match="no asides in 12; there are some in 02, 03, 04"):
        asides.main(["12"])
