"""Watching what a learner's function makes on its way: an exercise may ask for an answer without some large tensor."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class _Shapes(TorchDispatchMode):
    """Notes the shape of every tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        made = operation(*arguments, **(options or {}))
        if isinstance(made, Tensor):
            self.seen.append(tuple(made.shape))
        return made


def answer_and_shapes(function: Callable[..., Any], *arguments: Any) -> tuple[Any, list[tuple[int, ...]]]:
    """What a function returns, and the shapes of all tensors that it made."""
    with _Shapes() as shapes:
        answer = function(*arguments)
    return answer, shapes.seen
