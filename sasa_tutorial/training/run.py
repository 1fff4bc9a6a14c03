"""One run from its name to its record: images, network, training, the test set once, one line in the records."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from sasa_tutorial import __version__, kernels
from sasa_tutorial.datasets import ImageSet, RunImages
from sasa_tutorial.devices import begin_peak, device_name, peak_memory, resolve_device
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.files import Held, locked
from sasa_tutorial.models.cost import flops_per_image, parameter_count
from sasa_tutorial.paths import shown
from sasa_tutorial.training.checkpoints import CheckpointError
from sasa_tutorial.training.distributed import Processes, processes
from sasa_tutorial.training.evaluation import evaluate
from sasa_tutorial.training.loop import Diverged, EpochLine, Training
from sasa_tutorial.training.plan import Plan, plan_run
from sasa_tutorial.training.progress import live_bar
from sasa_tutorial.training.provenance import commit, library_fingerprint
from sasa_tutorial.training.recipe import start_tables
from sasa_tutorial.training.records import Record, append_record, read_records
from sasa_tutorial.training.stopping import stop_requests


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run."""

    record: Record
    lines: list[EpochLine]  # one an epoch
    model: nn.Module  # trained, in evaluation mode, on its device
    validation: ImageSet  # what `val_top1` was measured on; of CIFAR-100, on the same device


class RunInUse(TutorialError):
    """Another process is training the same run."""


class AlreadyRecorded(TutorialError):
    """The run has a record."""


def train(
    model: str,
    *,
    profile: str = "auto",
    seed: int = 0,
    epochs: int | None = None,
    steps: int | None = None,
    device: str = "auto",
    resume: bool = False,
    fresh: bool = False,
    minutes: float | None = None,
    say: Callable[[str], None] = print,
) -> Run:
    """Train a network of the comparison and record what came of it.

    Args:
        model: a key of `cifar_models()`.
        profile: smoke, laptop, gpu, full, or auto.
        seed: of the weights, and of the order, crops and mirrorings of the images; subsets do not depend on it.
        epochs: instead of the profile's; the record is then a trial and stays out of the committed ones.
        steps: end after so many steps, the schedule shortened with them; a trial too.
        device: auto (CUDA where there is one), cpu, cuda, cuda:N.
        resume: go on with a run of the same settings where there is one: an unfinished one from where it stopped, a
            finished one, by the same code, from its end, so that nothing is trained twice.
        fresh: throw an unfinished run away.
        minutes: save and stop after so many.
        say: where the lines go.

    Raises:
        ValueError: a name or number that does not exist.
        DatasetError: CIFAR-100 is not there.
        CheckpointError: an unfinished run is in the way, or cannot be resumed.
        RunInUse: another process is at it.
        Diverged: the loss stopped being finite; recorded with the status "diverged".
        Stopped: somebody asked for it; the run is saved.
    """
    plan = plan_run(model, profile, seed, epochs=epochs, steps=steps)
    return train_plan(plan, device=device, resume=resume, fresh=fresh, minutes=minutes, say=say)


def train_plan(
    plan: Plan,
    *,
    device: str = "auto",
    resume: bool = False,
    fresh: bool = False,
    minutes: float | None = None,
    say: Callable[[str], None] = print,
    once: bool = False,
) -> Run:
    """The same for a planned run; with `once` only if it has no record by the time that no other process is at it.

    Raises:
        AlreadyRecorded: `once`, and it has one.
        And what `train` raises.
    """
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    with processes(resolve_device(device)) as group:
        lines = say if group.first else _silent
        with _claim(plan.folder) if group.first else nullcontext(), _at_most(plan.profile.threads):
            if once and any(plan.matches(record) for record in read_records(plan.records)):
                raise AlreadyRecorded(f"{plan} has a record in {shown(plan.records)}")
            return _Trainer(plan, group, lines).train(resume=resume, fresh=fresh, deadline=deadline)


class _Trainer:
    def __init__(self, plan: Plan, group: Processes, say: Callable[[str], None]) -> None:
        self.plan, self.group, self.say = plan, group, say
        self.checkpoint = plan.checkpoint
        self.finished = plan.folder / f"finished-{library_fingerprint()[:6]}.pt"

    def train(self, *, resume: bool, fresh: bool, deadline: float | None) -> Run:
        plan, group = self.plan, self.group
        if group.share_object(lambda: plan.identity) != plan.identity:
            raise TutorialError(
                f"process {group.rank} would train another run than the first process: the settings, or the names of "
                "the files in the folder, differ. Give every machine the same command and the same images."
            )
        start = group.share_object(lambda: self._start(resume, fresh))
        images = plan.profile.images(plan.seed, group.device)
        training = self._prepare(images)
        self.say(
            f"{plan}: {self.params:,} parameters, "
            f"{self.flops / 1e6:.1f} MFLOPs an image; {len(images.train):,} training images "
            f"({plan.profile.source.title}), {training.steps:,} steps; "
            f"{self._device_name()}, local attention: {kernels.fastest_backend(group.device.type)}"
        )
        if start is not None:
            training.resume(start)
            self.say(
                f"going on after step {training.progress.step:,}"
                if start == self.checkpoint
                else f"trained before, on {training.progress.started}; its log:"
            )
            for line in training.progress.lines:
                self.say(str(line))
        with stop_requests(deadline) as stop, live_bar(training.steps, plan.model, enabled=group.first) as bar:
            training.report = lambda line: _above(bar, self.say, str(line))
            try:
                training.run(stop, bar.update)
            except Diverged:
                self._keep(self._record(training, "diverged"))
                raise
        score = evaluate(training.trained, images.test, group)
        record = self._record(
            training,
            "finished",
            val_top1=round(training.progress.lines[-1].val_top1, 2),
            test_top1=round(score.top1, 2),
            test_top5=round(score.top5, 2),
        )
        self._keep(record, training.trained)
        self.say(
            f"finished: validation top-1 {record.val_top1:.2f} %, test top-1 {record.test_top1:.2f} %, "
            f"top-5 {record.test_top5:.2f} %; {record.train_seconds:.1f} s of training, "
            f"{record.images_per_second:,.0f} images/s; recorded in {shown(plan.records)}"
        )
        return Run(record=record, lines=training.progress.lines, model=training.trained, validation=images.validation)

    def _start(self, resume: bool, fresh: bool) -> Path | None:
        """The file to go on from; None to begin."""
        if fresh:
            self.checkpoint.unlink(missing_ok=True)
        if self.checkpoint.exists() and not resume:
            raise CheckpointError(
                f"{shown(self.checkpoint)} holds an unfinished run. Go on with --resume, or begin again with --fresh."
            )
        return next((path for path in (self.checkpoint, self.finished) if resume and path.exists()), None)

    def _prepare(self, images: RunImages) -> Training:
        plan, recipe, device = self.plan, self.plan.profile.recipe, self.group.device
        torch.manual_seed(plan.seed)
        model = plan.network()
        start_tables(model, recipe)
        self.params, self.flops = parameter_count(model), flops_per_image(model, plan.profile.source.image_size)
        begin_peak(device)
        return Training(
            model.to(device, memory_format=torch.channels_last),
            images.train,
            images.validation,
            recipe,
            self.group,
            identity=plan.identity,
            checkpoint=self.checkpoint,
            steps=plan.steps,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _record(self, training: Training, status: str, **scores: float) -> Record:
        plan, device, progress = self.plan, self.group.device, training.progress
        trained = progress.step * plan.profile.recipe.batch_size
        return Record(
            model=plan.model,
            mechanism=plan.mechanism,
            dataset=plan.profile.dataset,
            profile=plan.profile.name,
            config=plan.config,
            seed=plan.seed,
            params=self.params,
            flops_per_image=self.flops,
            epochs=plan.profile.recipe.epochs,
            **{"val_top1": None, "test_top1": None, "test_top5": None, **scores},
            train_seconds=round(progress.seconds, 2),
            images_per_second=round(trained / max(progress.seconds, 1e-9), 1),
            peak_memory_bytes=peak_memory(device),
            device=self._device_name(),
            torch=torch.__version__,
            version=__version__,
            commit=commit(),
            date=progress.started,
            status=status,
        )

    def _device_name(self) -> str:
        name = device_name(self.group.device, bfloat16=self.plan.profile.recipe.bfloat16)
        return name + (f" x {self.group.count}" if self.group.count > 1 else "")

    def _keep(self, record: Record, model: nn.Module | None = None) -> None:
        """Weights, then record, then the checkpoint is put away: whenever a kill comes, nothing is lost or doubled."""
        if not self.group.first:
            return
        if model is not None:
            weights = {name: value.contiguous() for name, value in model.state_dict().items()}
            save_file(weights, self.plan.folder / "weights.safetensors")
        append_record(self.plan.records, record)
        if model is None:
            self.checkpoint.unlink(missing_ok=True)
        elif self.checkpoint.exists():
            for old in self.plan.folder.glob("finished-*.pt"):
                old.unlink()
            self.checkpoint.replace(self.finished)


@contextmanager
def _at_most(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, threads or before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _claim(folder: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / "lock", wait=False))
        except Held as error:
            raise RunInUse(
                f"another process is training in {shown(folder)}. Wait for it; another seed is another run."
            ) from error
        except OSError as error:
            raise TutorialError(
                f"{shown(folder)} cannot be written ({error}). Name another folder in the variable SASA_BUILD."
            ) from error
        yield


def _above(bar: object, say: Callable[[str], None], line: str) -> None:
    bar.clear()
    say(line)
    bar.refresh()


def _silent(_line: str) -> None:
    pass
