"""The ground rooms, which know no other: where things are, what computes, how files are written."""

from pathlib import Path

import pytest

from sasa_tutorial import paths
from sasa_tutorial.notebook_runner.notebooks import Notebook
from sasa_tutorial.notebook_runner.records import fingerprint
from sasa_tutorial.training.environment import library_fingerprint

# Sources ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A library of a few files in place of the real one."""
    for name in ("windows.py", "cli.py", "kernels/dispatch.py", "kernels/native/c/main.c", "kernels/native/c/pass.h"):
        file = tmp_path / "package" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tmp_path / "package" / "kernels" / "notes.txt").write_text("no source")
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "package")
    return tmp_path / "package"


@pytest.mark.parametrize("name", ["kernels/native/c/pass.h", "kernels/native/c/main.c", "windows.py"])
def test_a_changed_source_is_other_code_for_runs_and_for_notebooks(package, tmp_path, name):
    notebook = Notebook(path=tmp_path, title="", question="", cells=())

    def found():
        return library_fingerprint(), fingerprint(notebook, {})

    before = found()
    assert before == found()
    (package / name).write_text("changed")
    assert all(old != new for old, new in zip(before, found(), strict=True))


def test_sources_are_those_of_the_rooms_asked_for(package):
    def names(*rooms):
        return [file.relative_to(package).as_posix() for file in paths.source_files(*rooms)]

    assert names("windows") == ["windows.py"]
    assert names("kernels") == ["kernels/dispatch.py", "kernels/native/c/main.c", "kernels/native/c/pass.h"]
    assert names() == ["cli.py", *names("kernels"), "windows.py"]


def test_the_header_files_of_the_kernel_are_among_the_sources():
    assert {file.suffix for file in paths.source_files("kernels")} == {".py", ".c", ".h"}
