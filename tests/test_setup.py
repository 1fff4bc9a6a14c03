"""scripts/setup.py with everything it calls replaced: which commands it gives on which system, how it ends."""

import importlib.util
import re
import subprocess

import pytest

from tests.conftest import ROOT


@pytest.fixture
def setup(monkeypatch, tmp_path):
    """The script as a module, with a .venv of its own; commands are noted and succeed unless `refused` says not."""
    monkeypatch.setenv("VENV", str(tmp_path / "a folder äö" / ".venv"))
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "scripts" / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.commands, module.refused = [], []

    def call(command, *, env, **_):
        line = " ".join(command).replace(str(module.BIN), "BIN")
        module.commands.append(line)
        return int(any(re.search(part, line) for part in module.refused))

    monkeypatch.setattr(subprocess, "call", call)
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    return module


SYNC = "sync --quiet --locked --inexact --all-extras --python BIN/python"


def test_a_uv_on_the_path_installs_the_locked_versions(setup, monkeypatch):
    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/tools/{name}")
    setup.main()
    assert setup.commands[-1] == f"/tools/uv {SYNC}"
    assert not any("pip" in command for command in setup.commands)


def test_without_uv_pip_fetches_it(setup):
    setup.refused = ["uv --version", "python -c"]
    setup.main()
    assert " -m venv --clear " in setup.commands[1]
    assert setup.commands[-2:] == [
        "BIN/python -m pip install --quiet --disable-pip-version-check uv",
        f"BIN/uv {SYNC}",
    ]


def test_where_there_is_no_uv_pip_installs(setup, capsys):
    setup.refused = ["uv --version", "install .* uv$"]
    setup.main()
    assert setup.commands[-1].endswith("pip install --quiet --disable-pip-version-check -e .[notebooks,test,dev]")
    assert "there is no uv" in capsys.readouterr().out


def test_macs(setup, monkeypatch, capsys):
    monkeypatch.setattr(setup.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(setup.platform, "machine", lambda: "arm64")
    for release, uses in (("15.1", "sync"), ("14.0", "sync"), ("13.6.1", "-e .[notebooks,test,dev]")):
        monkeypatch.setattr(setup.platform, "mac_ver", lambda release=release: (release, ("", "", ""), "arm64"))
        setup.main()
        assert uses in setup.commands[-1]
    assert "the locked PyTorch needs macOS 14" in capsys.readouterr().out
    monkeypatch.setattr(setup.platform, "machine", lambda: "x86_64")
    with pytest.raises(SystemExit, match=r"^setup: PyTorch has no builds for Intel Macs .*Colab.*$"):
        setup.main()


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        (["python -c", "-m venv"], "could not be made"),
        (["pip --version", "ensurepip", "uv --version"], "has no pip and cannot get it"),
        ([" sync "], "could not be installed"),
    ],
)
def test_every_way_to_fail_is_one_sentence(setup, refused, sentence):
    setup.refused = refused
    with pytest.raises(SystemExit, match=rf"^setup: .*{sentence}") as ended:
        setup.main()
    assert "\n" not in str(ended.value)


def test_an_old_python_is_told_so(setup):
    with pytest.raises(SystemExit, match=r"this is Python 3\.9, 3\.11 or later is needed; run another, as in: "):
        setup.check_python((3, 9))


def test_what_the_readme_says_without_make_is_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("### Without make")[2].partition("\n## ")[0]
    assert "py scripts\\setup.py" in section and "python3 scripts/setup.py" in section
    for script in re.findall(r"scripts[/\\](\w+\.py)", section):
        assert (ROOT / "scripts" / script).is_file()
    for program in re.findall(r"\.venv[/\\](?:bin|Scripts)[/\\]([\w-]+)", section):
        assert program in ("python", "jupyter", "sasa-tutorial", "activate"), program
