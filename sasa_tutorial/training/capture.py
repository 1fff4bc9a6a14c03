"""Work of fixed shape on a GPU, recorded once as a CUDA graph and replayed: for networks whose kernels are so short
that the CPU cannot start them as fast as the GPU ends them."""

import warnings
from collections.abc import Callable

from torch import Tensor

from sasa_tutorial.devices import beside, recorded

# cuDNN, Triton and the allocator settle in the first calls; none of that may be recorded.
CALLS_BEFORE = 3


class Captured:
    """A function of tensors that returns a tensor, from its fourth call on as one CUDA graph.

    The first three calls are ordinary ones. What the function changes in place (parameters' gradients, running
    statistics) it changes at each replay; what it does besides launching kernels it does not do again. A function that
    cannot be recorded goes on call by call, which is said once.

    Args:
        function: of tensors on one GPU, each with the same shape at every call.

    Source: PyTorch, notes on CUDA semantics, "Whole-network capture".
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.calls = 0
        self.inputs: tuple[Tensor, ...] = ()
        self.replay: Callable[[], None] | None = None
        self.output: Tensor | None = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What the function returns. The tensor is the same one at every replay: use it before the next call.

        Raises:
            ValueError: an input has another shape than the recorded one.
        """
        self.calls += 1
        if self.calls <= CALLS_BEFORE:
            return beside(self.function, inputs)
        if self.calls == CALLS_BEFORE + 1:
            self._record(inputs)
        if self.replay is None:
            return self.function(*inputs)
        for kept, given in zip(self.inputs, inputs, strict=True):
            if kept.shape != given.shape:
                raise ValueError(f"recorded for shape {tuple(kept.shape)}, got {tuple(given.shape)}")
            kept.copy_(given)
        self.replay()
        return self.output

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = tuple(x.clone() for x in inputs)
        try:
            self.replay, self.output = recorded(self.function, self.inputs)
        except Exception as error:  # whatever the function meets that a graph cannot hold, CUDA raises as it likes
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(
                f"the training step is started kernel by kernel, slower: it could not be recorded ({reason})",
                RuntimeWarning,
                stacklevel=4,
            )
