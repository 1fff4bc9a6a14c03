"""What a run has come to so far: a line for each epoch, and how far it is."""

from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class EpochLine:
    """What one epoch came to. Losses in nats, accuracies in percent, time in seconds."""

    epoch: int  # from 1
    epochs: int
    train_loss: float  # on cropped and mirrored images, smoothed labels, before each step
    train_top1: float
    val_loss: float
    val_top1: float
    gradient_norm: float  # mean over the steps of the Euclidean norm of all gradients
    peak_rate: float  # the largest learning rate in the epoch
    seconds: float  # training only

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch:>3}/{self.epochs}   train loss {self.train_loss:.3f}  top-1 {self.train_top1:5.1f} %   "
            f"val loss {self.val_loss:.3f}  top-1 {self.val_top1:5.1f} %   "
            f"|grad| {self.gradient_norm:.2f}  rate {self.peak_rate:.3f}   {self.seconds:.1f} s"
        )


@dataclass(kw_only=True)
class Logbook:
    """How far a run is; everything besides weights that a checkpoint keeps."""

    started: str
    step: int = 0  # steps done
    seconds: float = 0.0  # of training, over all sittings
    epoch_seconds: float = 0.0  # of that, in the current epoch
    lines: list[EpochLine] = field(default_factory=list)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """From what `dataclasses.asdict` made of one."""
        return cls(**{**state, "lines": [EpochLine(**line) for line in state["lines"]]})

    def count_step(self, seconds: float) -> None:
        """One more step, which took so long."""
        self.step += 1
        self.seconds += seconds
        self.epoch_seconds += seconds

    def add(self, line: EpochLine) -> None:
        """An epoch has ended."""
        self.lines.append(line)
        self.epoch_seconds = 0.0
