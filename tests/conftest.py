"""What all tests share: nothing a test does reaches the committed records, `build/`, or a GPU by accident."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sasa_tutorial import paths
from sasa_tutorial.cli import main

ROOT = Path(__file__).resolve().parent.parent


# Files of more than half a minute come first: a long one that begins last leaves a core idle until it ends.
LONGEST = (
    "notebooks",
    "commands",
    "triton",
    "grid_runner",
    "kernels",
    "hosts",
    "folder",
    "triton_machine_code",
    "ledger",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def own_build_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASA_BUILD", str(tmp_path / "build"))
    for variable in ("SASA_PROFILE", "SASA_LEARNED"):
        monkeypatch.delenv(variable, raising=False)
    torch.manual_seed(0)
    # Tensors in tests are tiny: a second thread costs more than it brings, much more on a busy machine.
    torch.set_num_threads(1)


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `sasa-tutorial` as a user would, through the installed script; returns output and exit code."""

    def run(*arguments: str, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script(), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **variables},
        )

    return run


@pytest.fixture
def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `command`, inside this process: the same output and exit code, without the seconds that importing torch takes.

    For commands that do not depend on how a process begins or ends.
    """

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = 0
        with monkeypatch.context() as changed:
            changed.setattr(sys, "argv", ["sasa-tutorial", *arguments])
            for name, value in variables.items():
                changed.setenv(name, value)
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


def script() -> str:
    """The installed `sasa-tutorial`."""
    return str(Path(sys.executable).parent / "sasa-tutorial")


def real_data() -> bool:
    """Whether the official CIFAR-100 lies where the library looks for it."""
    return (paths.data_root() / "cifar-100-python" / "train").is_file()


def pytest_terminal_summary(terminalreporter) -> None:
    """After the tests of the mutants, the table: which public bug which test has noticed."""
    killed = [
        dict(report.user_properties)["killed"]
        for report in terminalreporter.stats.get("passed", [])
        if "killed" in dict(report.user_properties)
    ]
    if killed:
        width = max(len(name) for name, _ in killed)
        terminalreporter.section(f"{len(killed)} public bugs, each noticed by a test")
        for name, killer in killed:
            terminalreporter.write_line(f"{name:<{width}}  {killer}")
