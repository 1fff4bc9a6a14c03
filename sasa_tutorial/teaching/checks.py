"""Cells that say whether something is right: deliberate errors, and answers to exercises."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
    """Say whether an answer to an exercise is right. Never stops the notebook.

    Args:
        answer: a tensor, number or plain value; None or ... while the exercise is open.
        expected: what is right.
        hint: where to look when it is not.
        tolerance: how far numbers may be off, relative to the largest expected magnitude (at least 1).

    Returns:
        True or False, None while the exercise is open.
    """
    if answer is None or answer is ...:
        print("Open: put your answer above and run both cells again.")
        return None
    wrong = _difference(answer, expected, tolerance)
    print("Right." if wrong is None else f"Not yet: {wrong}. Hint: {hint}")
    return wrong is None


def _difference(answer: Any, expected: Any, tolerance: float) -> str | None:
    if not isinstance(expected, Tensor | float):  # words, counts, shapes: exactly, or not at all
        return None if answer == expected else f"{answer!r} is not it"
    try:
        given, right = torch.as_tensor(answer).detach().double(), torch.as_tensor(expected).detach().double()
    except (TypeError, ValueError, RuntimeError):
        return f"expected numbers, got {type(answer).__name__}"
    if given.shape != right.shape:
        return f"expected shape {tuple(right.shape)}, got {tuple(given.shape)}"
    if not right.numel():
        return None
    scale = max(1.0, right.abs().max().item())
    error = (given - right).abs().max().item()
    return None if error <= tolerance * scale else f"the largest error is {error:.3g}"
