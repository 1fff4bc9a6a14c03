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
from sasa_tutorial.training.audience import in_notebook, option
from sasa_tutorial.training.checkpoints import CheckpointError
from sasa_tutorial.training.distributed import Processes, processes
from sasa_tutorial.training.evaluation import evaluate
from sasa_tutorial.training.logbook import EpochLine
from sasa_tutorial.training.loop import Diverged, Training
from sasa_tutorial.training.plan import Plan, plan_run
from sasa_tutorial.training.progress import live_bar
from sasa_tutorial.training.provenance import commit, library_fingerprint
from sasa_tutorial.training.recipe import start_tables
from sasa_tutorial.training.records import Record, append_record, read_records
from sasa_tutorial.training.stopping import Stopped, stop_requests


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run."""

    record: Record
    lines: list[EpochLine]  # one an epoch
    model: nn.Module  # trained, in evaluation mode, on its device
    validation: ImageSet  # what `val_top1` was measured on; of a set in memory, on the same device


class RunInUse(TutorialError):
    """Another process is training the same run."""


class AlreadyRecorded(TutorialError):
    """The run has a record."""


def train(
    model: str | Plan,
    *,
    profile: str = "auto",
    seed: int = 0,
    epochs: int | None = None,
    steps: int | None = None,
    device: str = "auto",
    resume: bool = False,
    fresh: bool = False,
    minutes: float | None = None,
    deadline: float | None = None,
    once: bool = False,
    say: Callable[[str], None] = print,
) -> Run:
    """Train a network of the comparison and record what came of it.

    Args:
        model: a key of `cifar_models()`; or a plan, which brings its own profile, seed and length.
        profile: a key of `PROFILES`, or auto.
        seed: of the weights, and of the order, crops and mirrorings of the images; subsets do not depend on it.
        epochs: instead of the profile's; the record is then a trial and stays out of the committed ones.
        steps: end after so many steps, the schedule shortened with them; a trial too.
        device: auto (CUDA where there is one, else Apple's GPU), cpu, cuda, cuda:N, mps.
        resume: go on with a run of the same settings where there is one: an unfinished one from where it stopped, a
            finished one, by the same code, from its end, so that nothing is trained twice.
        fresh: throw an unfinished run away.
        minutes: save and stop after so many.
        deadline: the same as a time on the clock of `time.monotonic`, in seconds; the earlier of the two counts.
        once: only if it has no record by the time that no other process is at it.
        say: where the lines go.

    Raises:
        ValueError: a name or number that does not exist, or settings beside a plan.
        DatasetError: the images are not there.
        CheckpointError: an unfinished run is in the way, or cannot be resumed.
        RunInUse: another process is at it. In a notebook, with `resume`, it is waited for instead: the lesson goes on
            with what that one leaves.
        AlreadyRecorded: `once`, and it has a record.
        Diverged: the loss stopped being finite; recorded with the status "diverged".
        Stopped: somebody asked for it; the run is saved. In a notebook also at a second Ctrl-C, in the middle of a
            step, with what was saved before.
        TutorialError: its folder cannot be written, or processes on other machines would train another run.
    """
    if minutes is not None:
        deadline = min(time.monotonic() + 60 * minutes, float("inf") if deadline is None else deadline)
    if not isinstance(model, Plan):
        plan = plan_run(model, profile, seed, epochs=epochs, steps=steps)
    elif (profile, seed, epochs, steps) == ("auto", 0, None, None):
        plan = model
    else:
        raise ValueError("a plan brings its own profile, seed, epochs and steps: leave them out")

    patient = resume and not once and in_notebook()
    with (
        processes(resolve_device(device)) as group,
        _claimed(plan, group, patient, say),
        _at_most(plan.profile.threads),
    ):
        say = say if group.first else _silent
        if once and any(plan.matches(record) for record in read_records(plan.records)):
            raise AlreadyRecorded(f"{plan} has a record in {shown(plan.records)}")
        _check_agreement(plan, group)
        start = group.share_object(lambda: _start(plan, resume, fresh))
        images = plan.profile.images(plan.seed, group.device)
        training, cost = _prepare(plan, images, group)
        say(
            f"{plan}: {cost['params']:,} parameters, "
            f"{cost['flops_per_image'] / 1e6:.1f} MFLOPs an image; {len(images.train):,} training images "
            f"({plan.profile.source.title}), {training.steps:,} steps; "
            f"{_device_name(plan, group)}, local attention: {kernels.fastest_backend(group.device.type)}"
        )
        if start is not None:
            _go_on(training, plan, start, say)
        elif resume:
            _name_other_settings(plan, say)

        with stop_requests(deadline) as stop, live_bar(training.steps, plan.model, enabled=group.first) as bar:
            training.report = lambda line: _above(bar, say, str(line))
            try:
                training.run(stop, bar.update)
            except Diverged:
                _keep(plan, group, _record(plan, group, training, cost, status="diverged"))
                raise
            except KeyboardInterrupt:
                if not in_notebook():
                    raise
                message = "Stopped in the middle of a step. Run this cell again to go on from what was saved."
                raise Stopped(message, 130) from None

        score = evaluate(training.trained, images.test, group)
        accuracies = {
            "val_top1": round(training.logbook.lines[-1].val_top1, 2),
            "test_top1": round(score.top1, 2),
            "test_top5": round(score.top5, 2),
        }
        record = _record(plan, group, training, cost, status="finished", **accuracies)
        _keep(plan, group, record, training.trained)
        say(
            f"finished: validation top-1 {record.val_top1:.2f} %, test top-1 {record.test_top1:.2f} %, "
            f"top-5 {record.test_top5:.2f} %; {record.train_seconds:.1f} s of training, "
            f"{record.images_per_second:,.0f} images/s; recorded in {shown(plan.records)}"
        )
        return Run(record=record, lines=training.logbook.lines, model=training.trained, validation=images.validation)


def _go_on(training: Training, plan: Plan, start: Path, say: Callable[[str], None]) -> None:
    training.resume(start)
    unfinished = f"going on after step {training.logbook.step:,}"
    say(unfinished if start == plan.checkpoint else f"trained before, on {training.logbook.started}; its log:")
    for line in training.logbook.lines:
        say(str(line))


def _name_other_settings(plan: Plan, say: Callable[[str], None]) -> None:
    """An unfinished run of other settings, or of a version that had others, is not this run: said, and left alone."""
    same_name = f"{plan.folder.name.rpartition('-')[0]}-*/{plan.checkpoint.name}"
    for other in sorted(plan.folder.parent.glob(same_name)):
        say(f"begins anew: the unfinished run in {shown(other.parent)} has other settings, and stays as it is")


@contextmanager
def _claimed(plan: Plan, group: Processes, patient: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from training the same run, or wait for the one that does."""
    lock = plan.folder / "lock"
    with ExitStack() as held:
        try:
            held.enter_context(locked(lock, wait=False) if group.first else nullcontext())
        except Held as error:
            if not patient:
                raise RunInUse(
                    f"another process is training in {shown(plan.folder)}. Wait for it; another seed is another run."
                ) from error
            say(f"{plan}: another notebook is training it; this one waits, and goes on with what comes of it")
            held.enter_context(locked(lock))
        except OSError as error:
            raise TutorialError(
                f"{shown(plan.folder)} cannot be written ({error}). Name another folder in the variable SASA_BUILD."
            ) from error
        yield


@contextmanager
def _at_most(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, threads or before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_agreement(plan: Plan, group: Processes) -> None:
    if group.share_object(lambda: plan.identity) != plan.identity:
        raise TutorialError(
            f"process {group.rank} would train another run than the first process: the settings, or the names of "
            "the files in the folder, differ. Give every machine the same command and the same images."
        )


def _start(plan: Plan, resume: bool, fresh: bool) -> Path | None:
    """The file to go on from; None to begin."""
    if fresh:
        plan.checkpoint.unlink(missing_ok=True)
    if plan.checkpoint.exists() and not resume:
        raise CheckpointError(
            f"{shown(plan.checkpoint)} holds an unfinished run. Go on with {option('resume')}, or begin again with "
            f"{option('fresh')}."
        )
    return next((path for path in (plan.checkpoint, _finished(plan)) if resume and path.exists()), None)


def _finished(plan: Plan) -> Path:
    """Where a finished run is kept; another code's is another file."""
    return plan.folder / f"finished-{library_fingerprint()[:6]}.pt"


def _prepare(plan: Plan, images: RunImages, group: Processes) -> tuple[Training, dict[str, int]]:
    """The training before its first step, and what the network costs."""
    torch.manual_seed(plan.seed)
    model = plan.network()
    start_tables(model, plan.profile.recipe.table_start)
    flops = flops_per_image(model, plan.profile.source.image_size)
    cost = {"params": parameter_count(model), "flops_per_image": flops}
    begin_peak(group.device)
    training = Training(
        model.to(group.device, memory_format=torch.channels_last),
        images.train,
        images.validation,
        plan.profile.recipe,
        group,
        identity=plan.identity,
        checkpoint=plan.checkpoint,
        steps=plan.steps,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return training, cost


def _record(
    plan: Plan, group: Processes, training: Training, cost: dict[str, int], *, status: str, **accuracies: float
) -> Record:
    logbook, recipe = training.logbook, plan.profile.recipe
    return Record(
        model=plan.model,
        mechanism=plan.mechanism,
        dataset=plan.profile.dataset,
        profile=plan.profile.name,
        config=plan.config,
        seed=plan.seed,
        **cost,
        epochs=recipe.epochs,
        **{"val_top1": None, "test_top1": None, "test_top5": None, **accuracies},
        train_seconds=round(logbook.seconds, 2),
        images_per_second=round(logbook.step * recipe.batch_size / max(logbook.seconds, 1e-9), 1),
        peak_memory_bytes=peak_memory(group.device),
        device=_device_name(plan, group),
        torch=torch.__version__,
        version=__version__,
        commit=commit(),
        date=logbook.started,
        status=status,
    )


def _device_name(plan: Plan, group: Processes) -> str:
    name = device_name(group.device, bfloat16=plan.profile.recipe.bfloat16)
    return name + (f" x {group.count}" if group.count > 1 else "")


def _keep(plan: Plan, group: Processes, record: Record, model: nn.Module | None = None) -> None:
    """Weights, then record, then the checkpoint is put away: whenever a kill comes, nothing is lost or doubled."""
    if not group.first:
        return
    if model is not None:
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(weights, plan.folder / "weights.safetensors")
    append_record(plan.records, record)
    if model is None:
        plan.checkpoint.unlink(missing_ok=True)
    elif plan.checkpoint.exists():
        for old in plan.folder.glob("finished-*.pt"):
            old.unlink()
        plan.checkpoint.replace(_finished(plan))


def _above(bar: object, say: Callable[[str], None], line: str) -> None:
    bar.clear()
    say(line)
    bar.refresh()


def _silent(_line: str) -> None:
    pass
