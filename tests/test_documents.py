"""What the pages say runs: their blocks of Python, in order, in an empty folder."""

import importlib.util
import re

import pytest
import torch

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "put_it_into_your_network.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def missing(block: str) -> list[str]:
    """What the block asks for in its first line, "# needs: a, b", and is not installed."""
    needs = re.match(r"# needs: (.*)\n", block)
    return [name for name in needs[1].split(", ") if not importlib.util.find_spec(name)] if needs else []


def test_the_blocks_of_the_page_run_and_print_what_they_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names, ran = {}, 0
    for block in BLOCKS:
        if missing(block):
            continue
        exec(compile(block, "docs/put_it_into_your_network.md", "exec"), names)
        printed = capsys.readouterr().out
        for promised in re.findall(r"print\(.*\)  # (.+)", block):
            assert promised in printed, (promised, printed)
        ran += 1
    assert ran >= 5


@pytest.mark.parametrize("block", [block for block in BLOCKS if missing(block)])
def test_blocks_that_need_more_than_is_installed(block):
    pytest.skip(f"not installed: {', '.join(missing(block))}")
