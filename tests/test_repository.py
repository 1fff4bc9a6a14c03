"""What the repository promises: one truth for dependencies, arrows that point one way, links that lead somewhere."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from sasa_tutorial import __version__
from sasa_tutorial.experiments import planned_runs
from sasa_tutorial.lessons import LESSONS, PROFILE_NAMES
from sasa_tutorial.models import cifar_models
from sasa_tutorial.notebook_runner.notebooks import find_notebooks
from sasa_tutorial.teaching.overview_figures import _PICTURES
from sasa_tutorial.teaching.style import MECHANISM_COLOURS
from sasa_tutorial.training.profiles import PROFILES
from tests.conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
PACKAGE = ROOT / "sasa_tutorial"
GROUND = {"paths", "errors", "lessons", "devices", "precision", "files"}  # what no arrow leads up from
# What each room may import of the others; anything not listed is a new arrow, and a decision.
ROOMS = {
    "paths": set(),
    "errors": set(),
    "windows": set(),
    "lessons": set(),
    "devices": set(),
    "precision": {"devices"},
    "files": set(),
    "kernels": {"kernels", "windows"},
    "layers": {"layers", "kernels", "windows"},
    "models": {"models", "layers", "kernels.global_attention", "windows"},  # tokens have the same attention
    "bugs": {"bugs", "layers", "kernels", "windows"},
    "ledger": {"ledger", "models", "layers"},
    "datasets": {"datasets", *GROUND},
    "training": {"training", "datasets", "models", "kernels", *GROUND},
    "bench": {"bench", "training", "models", "layers", "kernels", "windows", *GROUND},
    "experiments": {"experiments", "training", *GROUND},
    "teaching": {"teaching", "experiments", "training", "datasets", "ledger", "models", "layers", "bugs", *GROUND},
    "notebook_runner": {"notebook_runner", *GROUND},
    "selftest": {"selftest", "experiments", "training", "bench", "models", "layers", "kernels", *GROUND},
}


def names_and_floors(requirements: list[str]) -> dict[str, str]:
    split = (re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", requirement) for requirement in requirements)
    return {match[1]: match[2] for match in split}


def test_dependencies_have_a_floor_and_neither_pin_nor_cap():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (requirement for group in groups for requirement in group):
        assert re.fullmatch(r"[a-z0-9_-]+>=[0-9.]+", requirement), requirement


def test_the_conda_environment_says_the_same_as_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str) and entry != "pip"]
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    expected = {"python": PROJECT["requires-python"].removeprefix(">=")}
    groups = {name: group for name, group in PROJECT["optional-dependencies"].items() if name != "site"}
    for group in (PROJECT["dependencies"], *groups.values()):
        expected |= {CONDA_NAMES.get(name, name): floor for name, floor in names_and_floors(group).items()}
    assert pip[0] == "-e ."
    assert names_and_floors(conda + pip[1:]) == expected


def test_the_lock_holds_every_dependency_above_its_floor():
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    locked = {package["name"]: package.get("version", "") for package in lock["package"]}
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for name, floor in names_and_floors(group).items():
            assert numbers(locked[name]) >= numbers(floor), name


def numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def test_one_version_everywhere():
    assert PROJECT["version"] == __version__
    assert f"version: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_project_has_one_address():
    address = PROJECT["urls"]["Homepage"]
    path = address.removeprefix("https://github.com/")
    for file in [ROOT / "README.md", ROOT / "CITATION.cff", *(ROOT / "notebooks").glob("*.ipynb")]:
        text = file.read_text(encoding="utf-8")
        assert address in text or f"github/{path}" in text, file.name
        for found in re.findall(r"github\.com/[\w.-]+/sasa[\w-]*", text):
            assert found == f"github.com/{path}", file.name


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_arrows_point_one_way(file):
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room not in ROOMS:  # the command line and the package itself may know all
        assert room in ("cli", "commands", "__init__", "__main__"), (
            f"{room} is a new room: say in ROOMS what it may know"
        )
        return
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = (
                [node.module] if node.module != "sasa_tutorial" else [f"sasa_tutorial.{a.name}" for a in node.names]
            )
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            parts = module.split(".")
            if parts[0] == "sasa_tutorial" and len(parts) > 1 and parts[1] != "__version__":
                known = {parts[1], ".".join(parts[1:3])} & ROOMS[room]  # a room, or one file of it
                assert known, f"{room} must not know {module}"


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_are_short_documented_and_without_assert(file):
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is"
    assert len(text.splitlines()) <= 330
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree)), "assert disappears under python -O"


def links(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text) for link in link if link]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "data/README.md", "docs/put_it_into_your_network.md"])
def test_links_of_the_documents_lead_somewhere(name):
    file = ROOT / name
    for link in links(file.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:|#", link):
            continue
        assert (file.parent / link.partition("#")[0]).exists(), link


def test_the_readme_lists_every_notebook_with_its_question():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for notebook in find_notebooks():
        assert f"[{notebook.topic}](notebooks/{notebook.path.name}) | {notebook.question} |" in readme


def test_a_lesson_is_a_layer_a_network_a_notebook_a_picture_and_a_colour():
    names = [lesson.name for lesson in LESSONS]
    assert names == list(cifar_models()) == list(MECHANISM_COLOURS) and set(names) == set(_PICTURES)
    assert len({lesson.colour for lesson in LESSONS}) == len(LESSONS)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for lesson in LESSONS:
        assert (PACKAGE / "layers" / f"{lesson.name}.py").is_file()
        assert (ROOT / "notebooks" / f"{lesson.notebook}.ipynb").is_file()
        assert f"notebooks/{lesson.notebook}.ipynb" in readme


def test_the_profiles_are_the_ones_that_everybody_lists_and_each_has_a_grid():
    assert tuple(PROFILES) == PROFILE_NAMES
    assert all(planned_runs(name) for name in PROFILES)


def test_real_images_are_ignored():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert "data/cifar-100-python/" in ignored and "build/" in ignored


def test_pages_and_tables_beside_the_code_are_part_of_the_installed_package():
    """Hatch ships what lies in the package unless Git ignores it, so both must hold of each file that code reads."""
    beside = {file for file in PACKAGE.rglob("*") if file.suffix in {".j2", ".html", ".toml"}}
    assert {"explorer.html", "index.html.j2", "notebook.html.j2", "published.toml"} <= {file.name for file in beside}
    ignored = subprocess.run(
        ["git", "-C", str(ROOT), "check-ignore", *map(str, beside)], capture_output=True, text=True
    )
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["sasa_tutorial"]
    assert ignored.stdout == ""


def test_results_are_part_of_the_installed_package():
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]["data/results"]
    assert Path(ROOT / "data" / "results").is_dir()
