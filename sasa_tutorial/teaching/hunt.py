"""The hunt for bugs: does an identity pass the right layer, and does it catch the wrong ones?"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from sasa_tutorial.bugs import BUGS, Bug, local, right_layer
from sasa_tutorial.layers import (
    AttentionAugmentedConv2d,
    ExternalAttention2d,
    GlobalSelfAttention2d,
    LocalSelfAttention2d,
)

Identity = Callable[[nn.Module, Tensor], bool]

# Small, with an image that is wider than it is high, and d, heads and k that are three different numbers.
_EIGHT = {"in_channels": 8, "out_channels": 8, "heads": 2}
_BUILT_WITH = MappingProxyType(
    {
        LocalSelfAttention2d: {**_EIGHT, "kernel_size": 3},
        GlobalSelfAttention2d: _EIGHT,
        AttentionAugmentedConv2d: {**_EIGHT, "key_channels": 8, "value_channels": 8, "positions": "none"},
        ExternalAttention2d: {**_EIGHT, "slots": 5},
    }
)
_DRAWS = 3


def bug_named(name: str) -> Bug:
    """One of `sasa_tutorial.bugs.BUGS`.

    Raises:
        ValueError: there is none of this name.
    """
    found = [bug for bug in BUGS if bug.name == name]
    if not found:
        raise ValueError(f"no bug is called {name!r}; there are: {', '.join(bug.name for bug in BUGS)}")
    return found[0]


def check_identity(identity: Identity, *bugs: str | Bug, **options: Any) -> bool | None:
    """Ask an identity about the right layer and about layers with a bug, each with three draws of weights and images.

    Args:
        identity: called as `identity(layer, x)`; True says that the layer is right. It may change the layer's weights.
        bugs: names, or bugs of one's own; all in one kind of layer.
        options: of the layer, such as grouped=True.

    Returns:
        True where the right layer passes and every bug is caught, else False; None while nothing is written.
    """
    wanted = [bug_named(bug) if isinstance(bug, str) else bug for bug in bugs]
    answers = _asked(identity, partial(right_layer, wanted[0]), wanted[0].layer, options)
    if any(answer is None or answer is ... for answer in answers):
        print("Open: write the identity above and run both cells again.")
        return None
    if isinstance(answers[0], str):
        print(f"Not yet: on the right layer it stops with {answers[0]}")
        return False
    width = max(len("the right layer"), *(len(bug.name) for bug in wanted))
    passes = all(answers)
    print(f"{'the right layer':<{width}}  {_counted('passes', answers, right=True)}")
    caught = []
    for bug in wanted:
        found = _asked(identity, bug.build, bug.layer, options)
        caught.append(not any(answer is True for answer in found))
        print(f"{bug.name:<{width}}  {_counted('caught', found, right=False)}")
    if not passes:
        print("Not yet: an identity has to hold for the right layer, always.")
    elif not all(caught):
        print("Not yet: what differs between the two excerpts, and which input or weight makes it visible?")
    else:
        print("Case closed.")
    return passes and all(caught)


def kills(identity: Identity, bug: Bug, **options: Any) -> bool:
    """Whether an identity passes the right layer and fails the one with the bug, at every draw.

    Args:
        identity: called as `identity(layer, x)`.
        bug: the bug.
        options: of the layer.
    """
    return bool(score({"it": (identity, options)}, [bug])["it"])


def score(identities: Mapping[str, tuple[Identity, dict[str, Any]]], bugs: list[Bug]) -> dict[str, list[str]]:
    """The names of the bugs that each identity kills.

    Args:
        identities: by name; each with the options of the layers that it is asked about.
        bugs: to be killed.
    """
    caught: dict[str, list[str]] = {}
    for name, (identity, options) in identities.items():
        right = {  # once for each kind of layer: it takes as long as a bug
            kind: _asked(identity, partial(right_layer, bug), kind, options)
            for kind, bug in {bug.layer: bug for bug in bugs}.items()
        }
        caught[name] = []
        for bug in bugs:
            if all(answer is True for answer in right[bug.layer]):
                wrong = _asked(identity, bug.build, bug.layer, options)
                if not any(answer is True for answer in wrong):
                    caught[name].append(bug.name)
    return caught


def survived(function: Callable[..., Tensor], tools: Mapping[str, tuple[Identity, dict[str, Any]]]) -> dict | None:
    """Which identities a bug of one's own survives: True where it is not caught.

    Args:
        function: local attention by `function(q, k, v, row, col, kernel_size)`.
        tools: by name; each with the options of the layers that it is asked about.

    Returns:
        None while nothing is written.
    """
    small = torch.zeros(1, 2, 4, 3, 3)  # two heads of four channels, as the layers have that are asked about
    try:
        written = function(small, small, small, torch.zeros(2, 3), torch.zeros(2, 3), 3)
    except Exception as error:  # the reader's: no identity is survived
        print(f"Your function stops with {type(error).__name__}: {error}")
        return dict.fromkeys(tools, False)
    if written is None or written is ...:
        return None
    bug = Bug(name="yours", seen_in="here", layer=LocalSelfAttention2d, patch=lambda: local(function))
    caught = score(tools, [bug])
    return {name: not caught[name] for name in tools}


def _asked(identity: Identity, build: Callable[..., nn.Module], kind: type[nn.Module], options: dict) -> list[Any]:
    """What it says of three layers: True or False, None where nothing is written, or the words of an error."""
    answers = []
    for draw in range(_DRAWS):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(draw)
            layer = build(**{**_BUILT_WITH[kind], **options}).double().requires_grad_(False)
            answers.append(_answer(identity, layer, torch.randn(2, 8, 5, 6, dtype=torch.float64)))
    return answers


def _answer(identity: Identity, layer: nn.Module, x: Tensor) -> Any:
    try:
        answer = identity(layer, x)
        return answer if answer is None or answer is ... else bool(answer)
    except Exception as error:  # the reader's: said, never raised
        return f"{type(error).__name__}: {error}".splitlines()[0]


def _counted(word: str, answers: list[Any], *, right: bool) -> str:
    count = sum((answer is True) == right for answer in answers)
    return word if count == len(answers) else f"{word} {count} times of {len(answers)}"
