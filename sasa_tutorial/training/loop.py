"""The training loop, in the order in which it happens; one step of it is in `step.py`."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sasa_tutorial.datasets import ImageSet, TrainingSet
from sasa_tutorial.devices import on_gpu
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.paths import shown
from sasa_tutorial.precision import half_precision, summing
from sasa_tutorial.training.audience import option, stopped
from sasa_tutorial.training.averaging import Average
from sasa_tutorial.training.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from sasa_tutorial.training.distributed import Processes, with_global_batch_norm
from sasa_tutorial.training.evaluation import evaluate
from sasa_tutorial.training.logbook import EpochLine, Logbook
from sasa_tutorial.training.recipe import Recipe, learning_rate, optimizer_for, set_rates
from sasa_tutorial.training.step import TrainingStep
from sasa_tutorial.training.stopping import Stopped, StopRequest

SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Diverged(TutorialError):
    """The loss stopped being a number: at which step of which epoch, and what it was."""


class Training:
    """One run of a recipe.

    Args:
        model: on `processes.device`, in channels_last; trained in place.
        images: the training set.
        validation: scored after every epoch.
        recipe: the settings.
        processes: which of how many processes this is.
        identity: what the run is; a checkpoint of another identity is refused.
        checkpoint: the file that keeps the run, None for none.
        steps: end after so many steps, the schedule shortened with them; None for all epochs.
        started: when, for the record; a resumed run keeps its first.

    Raises:
        ValueError: fewer images than one batch, or a batch that the processes cannot share evenly.
    """

    def __init__(
        self,
        model: nn.Module,
        images: TrainingSet,
        validation: ImageSet,
        recipe: Recipe,
        processes: Processes,
        *,
        identity: str = "",
        checkpoint: Path | None = None,
        steps: int | None = None,
        started: str = "",
    ) -> None:
        if recipe.batch_size % processes.count:
            raise ValueError(f"batch_size {recipe.batch_size} does not divide over {processes.count} processes")
        self.steps_per_epoch = len(images) // recipe.batch_size
        if self.steps_per_epoch == 0:
            raise ValueError(f"{len(images)} training images do not fill a batch of {recipe.batch_size}")
        self.steps = recipe.epochs * self.steps_per_epoch if steps is None else steps
        self.images, self.validation, self.recipe, self.processes = images, validation, recipe, processes
        self.identity, self.checkpoint = identity, checkpoint
        self.report: Callable[[EpochLine], None] = print
        self.model = with_global_batch_norm(model, processes.device) if processes.count > 1 else model
        self.averaged = Average(self.model, recipe.ema_decay) if recipe.ema_decay else None
        if recipe.compile:
            self.model.compile()
        self.replica = processes.wrap(self.model)
        self.optimizer = optimizer_for(self.model, recipe)
        self.step = TrainingStep(
            self.replica,
            self.optimizer,
            label_smoothing=recipe.label_smoothing,
            clip=recipe.clip,
            half=half_precision(processes.device, bfloat16=recipe.bfloat16),
            capture=recipe.capture and on_gpu(processes.device) and processes.count == 1,
        )
        self.logbook = Logbook(started=started)
        # Per step of the current epoch, kept on the device so that no step waits for the one before: loss, correct
        # images, gradient norm.
        self.log = torch.zeros(self.steps_per_epoch, 3, device=processes.device)
        self.checked = 0

    @property
    def trained(self) -> nn.Module:
        """The network to evaluate and keep: the averaged one where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint file.

        Raises:
            CheckpointError: the file is damaged or belongs to a run with other settings.
        """
        state: dict[str, Any] = self.processes.share_object(lambda: load_checkpoint(path))
        if state["identity"] != self.identity:
            raise CheckpointError(
                f"{path} belongs to a run with other settings:\n  there  {state['identity']}\n"
                f"  here   {self.identity}\nRun with those settings, or begin again with {option('fresh')}."
            )
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise CheckpointError(
                f"{path} is of another version of this network: {str(error).splitlines()[1].strip()} "
                f"Begin again with {option('fresh')}."
            ) from error
        self.optimizer.load_state_dict(state["optimizer"])
        if scale := state.get("scaler"):
            self.step.scaler.load_state_dict(scale)
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.logbook = Logbook.from_state(state["progress"])
        self.log.copy_(state["log"])
        self.checked = self.logbook.step % self.steps_per_epoch
        torch.set_rng_state(state["random"])

    def run(self, stop: StopRequest, steps_done: Callable[[int], None] = lambda count: None) -> None:
        """Train to the end.

        Args:
            stop: asked after every step (every tenth with several processes).
            steps_done: called with the number of steps done since the last call.

        Raises:
            Diverged: a loss was not finite.
            Stopped: `stop` was made; the run is saved.
        """
        recipe, share = self.recipe, self.processes.share(self.recipe.batch_size)
        saved = time.monotonic()
        steps_done(self.logbook.step)
        while self.logbook.step < self.steps:
            epoch, first = divmod(self.logbook.step, self.steps_per_epoch)
            last = min(self.steps_per_epoch, self.steps - epoch * self.steps_per_epoch)
            batches = self.images.batches(epoch, range(first, last), recipe.batch_size, share)
            self.replica.train()
            for index in range(first, last):
                started = time.monotonic()
                set_rates(self.optimizer, learning_rate(recipe, self.logbook.step, self.steps))
                pixels, labels = next(batches)
                self.log[index] = self.step(pixels, labels)
                if self.averaged is not None:
                    self.averaged.update()
                # Reading a loss makes the CPU wait for the GPU: every step on a CPU, every 50th on a GPU.
                if self.processes.device.type == "cpu" or (index + 1) % 50 == 0 or index + 1 == last:
                    self._check_losses(index + 1)
                self.logbook.count_step(time.monotonic() - started)
                steps_done(1)
                if index + 1 == last:
                    break  # saved below, with the epoch's line: a checkpoint without it would be resumed after it
                asked = self._any_at(index, stop.made)
                if asked or self._any_at(index, time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS):
                    self._check_losses(index + 1)
                    self._save()
                    saved = time.monotonic()
                if asked:
                    raise self._stopped(stop)
            self._finish_epoch(epoch, last)
            self._save()
            saved = time.monotonic()
            if self._any_at(0, stop.made) and self.logbook.step < self.steps:
                raise self._stopped(stop)

    def _check_losses(self, steps: int) -> None:
        """Refuse to go on once any of the epoch's first `steps` losses is not finite, naming the first."""
        losses = self.processes.sum(self.log[self.checked : steps, 0]) / self.processes.count
        wrong = (~losses.isfinite()).nonzero()
        if len(wrong):
            index = self.checked + int(wrong[0])
            epoch = self.logbook.step // self.steps_per_epoch
            step = epoch * self.steps_per_epoch + index
            rate = learning_rate(self.recipe, step, self.steps)
            raise Diverged(
                f"the loss became {losses[int(wrong[0])].item()} at step {step + 1} of {self.steps} "
                f"(epoch {epoch + 1}, learning rate {rate:.4g}). Lower the peak rate or lengthen the warm-up."
            )
        self.checked = steps

    def _finish_epoch(self, epoch: int, steps: int) -> None:
        score = evaluate(self.trained, self.validation, self.processes)
        log = self.log[:steps].to(summing(self.processes.device))
        loss, correct = (self.processes.sum(log[:, :2].sum(dim=0)) / steps).tolist()
        line = EpochLine(
            epoch=epoch + 1,
            epochs=-(-self.steps // self.steps_per_epoch),
            train_loss=loss / self.processes.count,
            train_top1=100 * correct / self.recipe.batch_size,
            val_loss=score.loss,
            val_top1=score.top1,
            gradient_norm=log[log[:, 2].isfinite(), 2].mean().item(),  # float16 skips steps that overflow
            peak_rate=max(
                learning_rate(self.recipe, epoch * self.steps_per_epoch + index, self.steps) for index in range(steps)
            ),
            seconds=self.logbook.epoch_seconds,
        )
        self.logbook.add(line)
        self.checked = 0
        if self.processes.first:
            self.report(line)

    def _any_at(self, index: int, flag: bool) -> bool:
        """Whether any process says yes. What only one has heard of, a signal or its clock, is done by all at one step,
        which with several processes is every tenth."""
        return flag if self.processes.count == 1 else index % 10 == 0 and self.processes.any(flag)

    def _stopped(self, stop: StopRequest) -> Stopped:
        kept = shown(self.checkpoint) if self.checkpoint else ""
        return Stopped(stopped(stop.reason, self.logbook.step, self.steps, kept), stop.exit_code)

    def _save(self) -> None:
        if self.checkpoint is None or not self.processes.first:
            return
        save_checkpoint(
            self.checkpoint,
            {
                "identity": self.identity,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.step.scaler.state_dict(),  # empty unless in float16
                "averaged": None if self.averaged is None else self.averaged.state_dict(),
                "progress": asdict(self.logbook),
                "log": self.log,
                "random": torch.get_rng_state(),
            },
        )
