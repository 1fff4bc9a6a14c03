"""What somebody in a notebook reads: one sentence, in a notebook's words, and a lesson that goes on."""

import json
import signal
import sys
import threading
import types
from pathlib import Path

import pytest

from sasa_tutorial import paths
from sasa_tutorial.errors import SettingError, TutorialError
from sasa_tutorial.files import locked
from sasa_tutorial.notebook_runner import run_series
from sasa_tutorial.training import train
from sasa_tutorial.training.audience import option
from sasa_tutorial.training.checkpoints import CheckpointError
from sasa_tutorial.training.loop import Training
from sasa_tutorial.training.plan import plan_run
from sasa_tutorial.training.run import RunInUse
from sasa_tutorial.training.stopping import Stopped

RUN = {"profile": "smoke", "steps": 4}


@pytest.fixture
def notebook(monkeypatch):
    """As in the kernel of a notebook."""
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0)))
    monkeypatch.setenv("SASA_PROGRESS", "off")


def test_an_error_in_a_notebook_is_its_message():
    pytest.importorskip("IPython")
    from IPython.core.interactiveshell import InteractiveShell

    shell, shown = InteractiveShell(), []
    shell._showtraceback = lambda kind, value, lines: shown.append(lines)
    shell.run_cell("from sasa_tutorial.errors import TutorialError\nraise TutorialError('the disk is full')")
    shell.run_cell("from sasa_tutorial.training.plan import plan_run\nplan_run('convolution', 'smoke', 1.5)")
    assert shown == [
        ["TutorialError: the disk is full"],
        ["SettingError: seed must be a whole number from 0 to 4294967295, got 1.5"],
    ]


@pytest.mark.parametrize("seed", [1.5, -1, True, 2**32, "0"])
def test_a_seed_that_is_none_is_one_sentence(seed):
    with pytest.raises(SettingError, match=r"^seed must be a whole number from 0 to \d+, got "):
        plan_run("convolution", "smoke", seed)


def interrupt_at(step: int, monkeypatch, *, times: int = 1) -> None:
    """Ctrl-C in the middle of a step."""
    count, check = [0], Training._check_losses

    def checked(self, steps):
        count[0] += 1
        if count[0] == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        check(self, steps)

    monkeypatch.setattr(Training, "_check_losses", checked)


@pytest.fixture
def interruptible():
    """A process in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_notebook_then_the_same_cell_again(notebook, interruptible, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_at(2, patch)
        with pytest.raises(Stopped, match=r"^Stopped at step 2 of 4\. Run this cell again to go on\.$"):
            train("convolution", resume=True, **RUN)
    assert train("convolution", resume=True, **RUN).record.status == "finished"
    assert "going on after step 2" in capsys.readouterr().out


def test_a_second_ctrl_c_in_a_notebook_is_one_line_too(notebook, interruptible, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(2, patch, times=2)
        with pytest.raises(Stopped, match=r"^Stopped in the middle of a step\. Run this cell again .*\.$") as stopped:
            train("convolution", resume=True, **RUN)
    assert stopped.value._render_traceback_() == [f"Stopped: {stopped.value}"]
    assert train("convolution", resume=True, **RUN).record.status == "finished"


def test_at_a_terminal_the_words_are_the_commands(interruptible, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(2, patch)
        with pytest.raises(Stopped, match=r"^stopped by Ctrl-C at step 2 of 4; saved in .*; go on with --resume$"):
            train("convolution", **RUN)
    with pytest.raises(CheckpointError, match=r"Go on with --resume, or begin again with --fresh\."):
        train("convolution", **RUN)
    with monkeypatch.context() as patch:
        interrupt_at(1, patch, times=2)
        with pytest.raises(KeyboardInterrupt):
            train("convolution", resume=True, **RUN)


def test_in_a_notebook_the_words_are_arguments(notebook):
    assert option("resume") == "resume=True"


def test_a_second_notebook_waits_and_goes_on_with_what_comes_of_it(notebook, capsys):
    first = train("convolution", resume=True, **RUN)
    lock = plan_run("convolution", "smoke", steps=4).folder / "lock"
    held, release, said, ended = threading.Event(), threading.Event(), [], []

    def other():
        with locked(lock):
            held.set()
            release.wait(60)
            ended.append("other")

    def say(line):
        said.append(line)
        release.set()

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(60)
    second = train("convolution", resume=True, say=say, **RUN)
    thread.join()
    assert "another notebook is training it; this one waits" in said[0] and ended == ["other"]
    assert second.record == first.record or second.record.val_top1 == first.record.val_top1


def test_an_unfinished_run_of_other_settings_is_named_and_left_alone():
    """As one that an older version has begun: its settings had other names."""
    with pytest.raises(Stopped):
        train("convolution", profile="smoke", steps=3, minutes=1e-9, say=lambda line: None)
    (begun,) = paths.build_root().glob("runs/convolution-smoke-seed0-*/checkpoint.pt")
    content, lines = begun.read_bytes(), []
    train("convolution", profile="smoke", steps=1, resume=True, say=lines.append)
    (line,) = [line for line in lines if line.startswith("begins anew")]
    assert begun.parent.name in line and "other settings" in line
    assert begun.read_bytes() == content
    lines.clear()
    train("convolution", profile="smoke", steps=3, resume=True, say=lines.append)
    assert "going on after step 1" in lines and not any(line.startswith("begins anew") for line in lines)


def test_a_command_does_not_wait():
    lock = plan_run("convolution", "smoke", steps=4).folder / "lock"
    with locked(lock), pytest.raises(RunInUse, match="another process is training in"):
        train("convolution", resume=True, **RUN)


def write(folder: Path, source: str) -> None:
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# 01"},
        {"cell_type": "code", "id": "b", "metadata": {"tags": ["parameters"]}, "source": source}
        | {"execution_count": None, "outputs": []},
    ]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "01_x.ipynb").write_text(json.dumps(content), encoding="utf-8")


def test_a_parameter_that_no_cell_reads_is_an_error(tmp_path):
    pytest.importorskip("papermill")
    write(tmp_path, 'profile: str = "auto"\nsed = 0')
    with pytest.raises(TutorialError, match=r"01_x\.ipynb has no parameter seed: .* it sets profile, sed$"):
        run_series(profile="smoke", folder=tmp_path, out=tmp_path / "out")
