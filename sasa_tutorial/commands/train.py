"""Training a network, or what is missing of the grid."""

import sys
from pathlib import Path

import click

from sasa_tutorial.commands.options import DEVICE, PROFILE


@click.command()
@click.argument("model", required=False)
@PROFILE
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of weights, order and crops.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the profile's; the record is then a trial.")
@click.option("--steps", type=click.IntRange(min=1), help="End after so many steps; a trial too.")
@DEVICE
@click.option("--resume", is_flag=True, help="Go on with an unfinished run.")
@click.option("--fresh", is_flag=True, help="Throw an unfinished run away and begin again.")
@click.option("--missing", is_flag=True, help="Instead of MODEL: every planned run that has no record yet.")
@click.option("--study", multiple=True, metavar="NAME", help="With --missing: only the runs of this study; repeatable.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Save and stop after so many.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Train a network of the papers on the images in this folder: train/CLASS/*.JPEG and val/CLASS/*.JPEG.",
)
@click.option(
    "--batch", type=click.IntRange(min=1), help="With --folder: images a step, over all GPUs.  [default: 256]"
)
@click.option("--size", type=click.IntRange(min=1), help="With --folder: pixels, both sides.  [default: 224]")
@click.option("--workers", type=click.IntRange(min=0), help="With --folder: decoding processes.  [default: by cores]")
def train(
    model: str | None,
    profile: str,
    seed: int,
    epochs: int | None,
    steps: int | None,
    device: str,
    resume: bool,
    fresh: bool,
    missing: bool,
    study: tuple[str, ...],
    minutes: float | None,
    folder: Path | None,
    **folder_settings: int | None,
) -> None:
    """Train MODEL and record what came of it.

    MODEL is a network of the CIFAR-100 comparison, as `convolution`; with --folder it is one of the papers' networks,
    as `sasa_resnet_50`. Ctrl-C saves the run; the same command with --resume goes on. Under torchrun the same command
    trains with many GPUs:

    \b
        torchrun --nproc-per-node 2 -m sasa_tutorial train convolution --profile full
    """
    if missing == (model is not None):
        raise click.UsageError("Give the name of a network, or --missing.")
    if folder is None and (unused := [name for name, value in folder_settings.items() if value is not None]):
        raise click.UsageError(f"--{unused[0]} goes with --folder.")
    if folder is not None and (missing or profile != "auto"):
        raise click.UsageError(f"--folder goes without {'--missing' if missing else '--profile'}.")
    if missing:
        if epochs or steps or fresh:
            raise click.UsageError("--missing trains the planned runs as planned: no --epochs, --steps or --fresh.")
        from sasa_tutorial.experiments.runner import train_missing

        sys.exit(train_missing(profile, studies=study, device=device, minutes=minutes))
    if study:
        raise click.UsageError("--study goes with --missing.")
    from sasa_tutorial.training.plan import plan_folder_run, plan_run
    from sasa_tutorial.training.run import train as train_run

    length = {"epochs": epochs, "steps": steps}
    plan = (
        plan_run(model, profile, seed, **length)
        if folder is None
        else plan_folder_run(model, folder, seed, **length, **folder_settings)
    )
    train_run(plan, device=device, resume=resume, fresh=fresh, minutes=minutes)
