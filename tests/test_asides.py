"""`scripts/asides.py`: what a notebook says on the side is still said there, and has its code."""

import importlib.util
import re

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
        if cell.cell_type == "markdown" and re.search(r"when we tried|\(we tried\)|in our trials", cell.source)
    }
    assert said and said <= covered


def test_it_measures_what_the_notebook_says(capsys):
    asides.main(["08"])
    assert re.findall(r"(\d+) of 23", capsys.readouterr().out) == ["22", "22", "21"]


def test_a_notebook_without_asides_is_refused():
    with pytest.raises(SystemExit, match="no asides in 12; there are some in 02, 04"):
        asides.main(["12"])
