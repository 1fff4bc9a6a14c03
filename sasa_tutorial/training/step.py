"""One training step: what the loop does again and again, and what the benchmark of networks measures."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sasa_tutorial.precision import computing_in, loss_scaler
from sasa_tutorial.training.capture import Captured


class TrainingStep:
    """Forward, loss, backward, update: one call is one step.

    Args:
        model: in training mode, on one device.
        optimizer: of its parameters, with the learning rates of the step at every call.
        label_smoothing: probability mass spread over all classes.
        clip: the largest norm that all gradients together may have; 0 for any.
        half: 16-bit numbers to compute in, as `half_precision` chooses them; None for float32.
        capture: on a GPU, record forward and backward once and replay the recording: the same kernels on the same
            numbers, started all at once. All calls must then have tensors of one shape.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        label_smoothing: float = 0.0,
        clip: float = 0.0,
        half: torch.dtype | None = None,
        capture: bool = False,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.label_smoothing, self.clip, self.half = label_smoothing, clip, half
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.scaler = loss_scaler(half, self.parameters[0].device)
        self.backward = Captured(self._backward) if capture else self._backward

    def __call__(self, pixels: Float[Tensor, "b 3 h w"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "3"]:
        """One step on normalised images, on the device of the model, and their classes.

        Returns:
            The loss before the update in nats, the number of images whose label came first, the Euclidean norm of all
            gradients before they are clipped: on the device, so that no step has to wait for the one before.
        """
        numbers = self.backward(pixels, labels)
        self.scaler.unscale_(self.optimizer)
        with torch.no_grad():  # before the update: the optimizer may change gradients in place
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
            numbers = torch.cat((numbers, norm.float()[None]))
        if self.clip:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return numbers

    def _backward(self, pixels: Tensor, labels: Tensor) -> Float[Tensor, "2"]:
        with computing_in(self.half, pixels.device):
            logits = self.model(pixels.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        correct = (logits.detach().argmax(dim=1) == labels).sum()
        return torch.stack((loss.detach().float(), correct.float()))
