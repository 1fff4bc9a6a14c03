"""Cells that say whether something is right: deliberate errors, and answers to exercises."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor


@contextmanager
def expect_error(kind: type[Exception], *, match: str) -> Iterator[None]:
    """Show an error that is meant to happen, and let the notebook go on.

    Args:
        kind: the exception that must be raised.
        match: a regular expression its message must contain.

    Raises:
        AssertionError: no error, or another message.
    """
    try:
        yield
    except kind as error:
        if not re.search(match, str(error)):
            raise AssertionError(f"the message should match {match!r}, it is: {error}") from error
        print(f"{kind.__name__}, as expected: {error}")
    else:
        raise AssertionError(f"{kind.__name__} should have been raised, and was not")


def check_answer(answer: Any, expected: Any, *, hint: str, tolerance: float = 1e-5) -> bool | None:
    """Say whether an answer to an exercise is right, and which number of it is off. Never stops the notebook.

    Lists, tuples, NumPy arrays and tensors of the same numbers are the same answer, and so is a set in ascending order.

    Args:
        answer: a tensor, number, plain value, or a list of such; None or ... (also as one of a list) while the exercise
            is open.
        expected: what is right. Where it is a tensor, or a number in it is a float, numbers may be off by the
            tolerance; counts and words must be equal.
        hint: where to look when it is not.
        tolerance: how far numbers may be off, relative to the largest expected magnitude (at least 1).

    Returns:
        True or False, None while the exercise is open.
    """
    if _is_open(answer):
        print("Open: put your answer above and run both cells again.")
        return None
    right, given = _plain(expected), _plain(answer)
    numbers = [value for _, value in _leaves(right)]
    roughly = isinstance(expected, Tensor | np.ndarray) or any(isinstance(value, float) for value in numbers)
    finite = [abs(value) for value in numbers if isinstance(value, float | int) and math.isfinite(value)]
    allowed = tolerance * max(1.0, *finite) if roughly and finite else tolerance if roughly else 0.0
    wrong = _difference(given, right, allowed)
    print("Right." if wrong is None else f"Not yet: {wrong}. Hint: {hint}")
    return wrong is None


def _is_open(answer: Any) -> bool:
    if isinstance(answer, list | tuple):
        return any(_is_open(value) for value in answer)
    return answer is None or answer is ...


def _plain(value: Any) -> Any:
    """The same as nested lists of plain values."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).tolist()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(value) if all(isinstance(one, int | float) for one in value) else list(value)
    if isinstance(value, Fraction):
        return float(value)
    return value


def _leaves(value: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any]]:
    if isinstance(value, list):
        for place, one in enumerate(value):
            yield from _leaves(one, (*path, place))
    else:
        yield path, value


def _shape(value: Any) -> Any:
    """Nested lengths: (2, 3) where all rows are alike, else the lengths row by row."""
    if not isinstance(value, list):
        return ()
    inner = [_shape(one) for one in value]
    return (len(value), *inner[0]) if inner and all(one == inner[0] for one in inner) else (len(value),)


def _difference(given: Any, right: Any, allowed: float) -> str | None:
    pairs_given, pairs_right = list(_leaves(given)), list(_leaves(right))
    if [path for path, _ in pairs_given] != [path for path, _ in pairs_right]:
        if isinstance(right, list) and not isinstance(given, list):
            return f"expected {len(right)} values, got {_word(given)}"
        if isinstance(given, list) and not isinstance(right, list):
            return f"expected one value, got {len(given)}"
        return f"expected shape {_shape(right)}, got {_shape(given)}"
    off = [
        (path, mine, error)
        for (path, mine), (_, truth) in zip(pairs_given, pairs_right, strict=True)
        if (error := _error(mine, truth, allowed))
    ]
    if not off:
        return None
    path, mine, error = off[0]
    more = f", and {len(off) - 1} more" if len(off) > 1 else ""
    return f"{_place(path, right)}{_word(mine)} {error}{more}"


def _error(mine: Any, truth: Any, allowed: float) -> str | None:
    if isinstance(truth, str) or isinstance(mine, str) or truth is None:
        return None if mine == truth else "is not it"
    if not isinstance(truth, bool | int | float):
        return None if mine == truth else "is not it"
    if not isinstance(mine, bool | int | float):
        return "is not a number"
    if isinstance(truth, bool) or not allowed or math.isinf(truth) or math.isinf(mine):
        return None if mine == truth else "is not it"
    error = abs(mine - truth)
    return None if error <= allowed else f"is off by {error:.3g}" if error == error else "is not a number"


def _place(path: tuple[int, ...], right: Any) -> str:
    if not path:
        return ""
    if len(path) == 1:
        return f"number {path[0] + 1} of {len(right)}, "
    return f"at {list(path)}, "


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool | int | str):
        return repr(value)
    return f"a {type(value).__name__}"
