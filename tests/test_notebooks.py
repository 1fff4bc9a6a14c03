"""The notebooks as files: complete, in order, small, and with outputs that belong to their cells."""

import json
import re
import shutil
import statistics
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from sasa_tutorial.notebook_runner.execution import NotebookExecution
from sasa_tutorial.notebook_runner.reading_time import reading_minutes
from tests.conftest import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
_REST = ["Exercises", "Summary", "References"]
_QUESTION = ["Motivation", "The equation", "Derivation", "Checkpoint", "What it can and cannot do", "Results"]
SECTIONS = {
    # The lessons of the mechanisms have the same rooms in the same order; the other notebooks have their own.
    "lesson": [
        "Toy",
        "The equation",
        "Derivation",
        "Checkpoint",
        "Pay-off",
        "What it can and cannot do",
        "What trained networks do",
        "Train it",
        "Results",
        "Where this went",
        *_REST,
    ],
    "00_start_here": ["Motivation", "Notation", "Data", "Train it", "Results", *_REST],
    "08_from_layers_to_networks": [*_QUESTION, *_REST],
    "09_from_flops_to_seconds": [*_QUESTION, *_REST],
    "10_ablations": [*_QUESTION, *_REST],
    "11_find_the_bug": ["Motivation", "The tools", "The bugs", "What a bug costs", *_REST],
}
LONGEST_MINUTES = 45
MAX_BYTES = 1_000_000


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem, scope="module")
def path(request) -> Path:
    return request.param


@pytest.fixture(scope="module")
def notebook(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def test_the_series_is_numbered_without_gaps():
    assert [int(path.stem[:2]) for path in NOTEBOOKS] == list(range(len(NOTEBOOKS)))


def test_it_is_valid_and_small(path, notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert path.stat().st_size <= MAX_BYTES
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata and "papermill" not in notebook.metadata


def test_it_opens_with_title_question_and_what_one_needs(path, notebook):
    first = notebook.cells[0].source
    assert re.match(rf"# {path.stem[:2]} · \S", first)
    question = re.search(r"^> (.*(?:\n> .*)*)", first, re.M)
    assert question and question[1].rstrip("*_ ").endswith("?")
    assert "**In one sentence:**" in first and "**Before this:**" in first


def test_it_says_how_long_it_takes_and_is_no_longer_than_a_lesson(notebook):
    said = int(re.search(r"\*\*Time:\*\* (\d+) minutes", notebook.cells[0].source)[1])
    counted = reading_minutes(notebook)
    assert abs(said - counted) <= 2.5, f"counted: {counted:.1f} minutes"
    assert counted <= LONGEST_MINUTES


def test_the_first_screen_is_a_picture(notebook):
    """Title, set-up, parameters and imports, folded; the last of them shows the mechanism."""
    assert [cell.cell_type for cell in notebook.cells[:4]] == ["markdown", "code", "code", "code"]
    assert all(cell.metadata.jupyter.source_hidden for cell in notebook.cells[1:4])
    assert any("image/png" in output.get("data", {}) for output in notebook.cells[3].outputs)


def test_sections_are_in_order(path, notebook):
    headings = [line[3:].strip() for cell in prose(notebook) for line in cell.source.splitlines() if line[:3] == "## "]
    wanted = SECTIONS.get(path.stem, SECTIONS["lesson"])
    found = [next((w for w in wanted if heading.startswith(w)), None) for heading in headings]
    assert [name for name in found if name] == wanted


def test_setup_and_parameters_are_the_same_everywhere(notebook):
    setup, parameters = code(notebook)[:2]
    reference = code(nbformat.read(NOTEBOOKS[0], as_version=4))[0]
    assert setup.id == "colab-setup" and setup.source == reference.source
    assert parameters.metadata.tags == ["parameters"]
    assert re.fullmatch(r'profile: str = "auto"( +#.*)?\nseed: int = 0( +#.*)?', parameters.source), (
        "primitives only, nothing derived: papermill injects after this cell"
    )


def test_ids_are_words_and_unique(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in ids)
    assert not any(re.fullmatch(r"[0-9a-f]{8}", name) for name in ids), "a random id: give the cell a name"


def test_it_was_executed_once_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run: make notebooks"


def test_outputs_are_clean(notebook):
    for cell in code(notebook):
        names = [output.get("name") for output in cell.outputs]
        assert not any(a and a == b for a, b in pairwise(names)), f"{cell.id}: printed in pieces, shown with gaps"
        for output in cell.outputs:
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", cell.id
            kinds = set(output.get("data", {}))
            assert not kinds & {"application/vnd.jupyter.widget-view+json", "image/svg+xml", "application/pdf"}, cell.id
            text = json.dumps(output)
            assert not re.search(r"0x[0-9a-f]{8,}|/home/|/tmp/|/root/|<(Axes|matplotlib)", text), cell.id
        assert not set(cell.metadata) - {"tags", "jupyter", "cellView", "editable", "collapsed"}, cell.id


def test_cells_are_short(notebook):
    lengths = [len(cell.source.splitlines()) for cell in code(notebook)]
    assert max(lengths) <= 30
    assert statistics.median(lengths) <= 8
    for cell in prose(notebook):
        text = re.sub(r"<details>.*?</details>|```.*?```|\$\$.*?\$\$|^\|.*\|$", "", cell.source, flags=re.S | re.M)
        assert len(text.split()) <= 150, cell.id


def test_there_is_one_thumbnail(notebook):
    tagged = [cell for cell in code(notebook) if "thumbnail" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert any("image/png" in output.get("data", {}) for output in tagged[0].outputs)


def test_every_figure_is_described_for_those_who_cannot_see_it(notebook):
    for cell in code(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert 5 <= len(alt.split()) <= 60, f"{cell.id}: show it with teaching.show(words)"
    assert not any("*Figure" in cell.source for cell in prose(notebook)), "the words belong to the image"


def test_no_test_machinery_stands_in_front_of_readers(notebook):
    assert not any("NBVAL" in cell.source for cell in code(notebook))
    for cell in code(notebook):
        if "check_answer(" in cell.source:
            assert cell.metadata.jupyter.source_hidden and cell.metadata.cellView == "form", cell.id


def test_three_exercises_that_check_themselves(notebook):
    checks = [cell for cell in code(notebook) if "check_answer(" in cell.source]
    solutions = [cell for cell in prose(notebook) if "<details>" in cell.source and "```python" in cell.source]
    assert len(checks) == 3 and len(solutions) == 3
    assert all("Open:" in json.dumps(cell.outputs) for cell in checks), "exercises are committed unsolved"


def test_links_lead_somewhere(path, notebook):
    for cell in prose(notebook):
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.S)):
            if not re.match(r"[a-z]+:|#", link):
                assert (FOLDER / link.partition("#")[0]).exists(), link


def test_the_command_executes_the_series_and_shows_it(command, said, monkeypatch, tmp_path):
    """Papermill, with injected parameters, as `make run` does.

    What it trains, and learns in the pay-offs, stays in the checkout's build folder, so that nbval, which comes after
    it, finds the same runs finished and need not train them again.
    """
    shared = {"SASA_BUILD": str(ROOT / "build"), "SASA_LEARNED": str(ROOT / "build" / "learned")}
    run = ("run", "--profile", "smoke", "--out", str(tmp_path))
    result = command(*run, timeout=1800, **shared)
    assert result.returncode == 0, result.stdout + result.stderr
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        assert 'profile = "smoke"' in injected(tmp_path / path.name) and f"{path.stem}.html" in page
    assert said(*run, **shared).stdout.count("skipped (unchanged)") == len(NOTEBOOKS)
    asked = []

    def execute(execution):  # without a kernel; with one, another seed: tests/test_notebook_runner.py
        asked.append(execution.parameters)
        shutil.copy(execution.source, execution.output)

    monkeypatch.setattr(NotebookExecution, "run", execute)
    assert said(*run, "--only", "10", "--seed", "1", **shared).returncode == 0
    assert asked == [{"profile": "smoke", "seed": 1}], "a new seed is a new execution"


def injected(path) -> str:
    """The source of the cell that papermill put in."""
    executed = nbformat.read(path, as_version=4)
    (cell,) = [cell for cell in executed.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    return cell.source
