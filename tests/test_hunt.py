"""The hunt for bugs: what each identity catches, what the checks say, and the solutions that the notebook folds."""

import re

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sasa_tutorial import bugs, layers, teaching
from sasa_tutorial.teaching import bug_figures, identities
from tests.conftest import ROOT

LOCAL = [bug for bug in bugs.BUGS if bug.layer is layers.LocalSelfAttention2d]
CATCHES = {
    "has_the_right_shape": "",
    "stays_within_reach": "unfolded|heads split",
    "averages_with_zero_queries": "unfolded|heads split|inverted|zero-padded",
    "keeps_heads_apart": "one attention map",
    "hears_both_tables": "rows and columns|inverted",
    "does_not_care_about_axes": "no sum|sum of q|heads split",
    "is_the_equation": ".",
}


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(ROOT / "notebooks" / "11_find_the_bug.ipynb", as_version=4)


def code_of(notebook, name: str) -> str:
    return next(cell.source for cell in notebook.cells if cell.id == name)


@pytest.mark.parametrize("name", CATCHES)
def test_each_identity_catches_what_the_notebook_says(name):
    options = {"grouped": True} if name == "keeps_heads_apart" else {}
    caught = teaching.score({name: (getattr(identities, name), options)}, LOCAL)[name]
    expected = [bug.name for bug in LOCAL if CATCHES[name] and re.search(CATCHES[name], bug.name)]
    assert caught == expected


@pytest.mark.parametrize("case", ["case-1", "case-2", "case-3", "case-4", "case-5"])
def test_the_folded_solutions_close_their_cases(notebook, case, capsys):
    (solution,) = re.findall(r"```py\n(.*?)```", code_of(notebook, f"{case}-solution"), flags=re.S)
    names = {"teaching": teaching, "torch": torch, "nn": nn, "F": F}
    exec(code_of(notebook, f"{case}-identity"), names)
    exec(code_of(notebook, f"{case}-check"), names)
    asked = capsys.readouterr().out
    assert "Open:" in asked and "Case closed" not in asked
    exec(solution, names)
    exec(code_of(notebook, f"{case}-check"), names)
    closed = capsys.readouterr().out
    assert closed.count("Case closed.") == asked.count("Open:") and "Not yet" not in closed


@pytest.mark.parametrize("order", ["qkv", "qqv", "vkq", "kqv"])
def test_the_equation_takes_nothing_from_the_layer_but_its_parameters(order):
    """A mistake before the windows, and there whatever is asked of the layer, as a reader's would be."""

    class MixedUp(layers.LocalSelfAttention2d):
        def queries_keys_values(self, *given):
            named = dict(zip("qkv", super().queries_keys_values(*given), strict=True))
            return [named[name] for name in order]

    with torch.no_grad():
        said = identities.is_the_equation(MixedUp(8, 8, 3, heads=2).double(), torch.randn(1, 8, 5, 6).double())
    assert said == (order == "qkv")


def test_a_check_says_what_is_wrong_with_an_identity_and_never_stops(capsys):
    name = "inverted mask"
    for identity, said in (
        (lambda layer, x: True, "caught 0 times of 3"),
        (lambda layer, x: False, "passes 0 times of 3"),
        (lambda layer, x: None, "Open:"),
        (lambda layer, x: layer.nothing, "stops with AttributeError"),
        (lambda layer, x: x > 0, "stops with RuntimeError"),
    ):
        assert not teaching.check_identity(identity, name)
        assert said in capsys.readouterr().out
    before = torch.random.get_rng_state()
    assert teaching.check_identity(identities.averages_with_zero_queries, name)
    assert torch.equal(before, torch.random.get_rng_state()), "the reader's dice stay as they are"
    with pytest.raises(ValueError, match="no bug is called 'lice'; there are: no sum over d"):
        teaching.check_identity(lambda layer, x: True, "lice")


def test_a_crime_of_ones_own_is_judged(capsys):
    tools = {name: (getattr(identities, name), {}) for name in ("stays_within_reach", "is_the_equation")}

    def scaled(q, k, v, row, col, kernel_size):
        return bugs.attend(0.5 * bugs.content(q, k, kernel_size) + bugs.offset_logits(q, row, col), v, kernel_size)

    assert teaching.survived(scaled, tools) == {"stays_within_reach": True, "is_the_equation": False}
    assert teaching.survived(bugs.equation, tools) == {"stays_within_reach": True, "is_the_equation": True}
    assert teaching.survived(lambda *a: ..., tools) is None

    def one_head_scaled(q, k, v, row, col, kernel_size):
        logits = bugs.content(q, k, kernel_size) + bugs.offset_logits(q, row, col)
        return bugs.attend(torch.stack((logits[:, 0], 0.5 * logits[:, 1]), dim=1), v, kernel_size)

    assert teaching.survived(one_head_scaled, tools) == {"stays_within_reach": True, "is_the_equation": False}
    capsys.readouterr()
    assert teaching.survived(lambda q: q, tools) == dict.fromkeys(tools, False)
    assert "Your function stops with TypeError" in capsys.readouterr().out


def test_a_layer_has_its_bug_and_the_library_has_it_not():
    x = torch.randn(1, 8, 4, 5)
    for bug in LOCAL:
        torch.manual_seed(0)
        wrong, right = bug.build(8, 8, 3, heads=2), layers.LocalSelfAttention2d(8, 8, 3, heads=2)
        right.load_state_dict(wrong.state_dict())
        expected = right(x)
        assert not torch.allclose(wrong(x), expected, atol=1e-4), bug.name
        plain = bugs.right_layer(bug, 8, 8, 3, heads=2)
        plain.load_state_dict(wrong.state_dict())
        assert torch.allclose(plain(x), expected, atol=1e-5) and torch.equal(right(x), expected)


def test_the_line_up_has_one_right_map_and_figures_are_drawn():
    axes = teaching.suspects()
    sums = {ax.get_title(loc="left"): ax.get_xlabel() for ax in axes[1:]}
    assert sums["D"] == "adds up to 1.00" and sums["A"] != sums["D"] and list(sums) == list(bug_figures.LINE_UP)
    assert len(teaching.kill_matrix({"is it": ["a"]}, ["a", "b"]).collections) == 2
    assert len(teaching.curves_of_suspects({"W": [[0.0] * 9], "X": [[1.0] * 9]})) == 2
    assert teaching.cost_of_bugs({"the right layer": [1.0], "other": [0.5]}, chance=0.25).get_xlabel()
    plt.close("all")
