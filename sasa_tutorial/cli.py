"""The command `sasa-tutorial`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from sasa_tutorial import __version__
from sasa_tutorial.errors import TutorialError
from sasa_tutorial.lessons import PROFILE_NAMES
from sasa_tutorial.selftest.command import selftest

# Everything heavy is imported inside the command that needs it: --help must not wait for torch.

DEVICE = click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
PROFILE = click.option(
    "--profile",
    default="auto",
    show_default=True,
    metavar="NAME",
    help=f"{', '.join(PROFILE_NAMES)}, or auto: $SASA_PROFILE, else gpu where there is a CUDA device, else smoke.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sasa-tutorial")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Attention in vision, step by step: run the notebooks, train the networks, read the results."""


@cli.command()
@PROFILE
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Handed to every notebook.")
@click.option("--only", multiple=True, metavar="NAME", help="A number or name, as 03 or convolution; repeatable.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Where results go.  [default: build/notebooks]"
)
@click.option("--fresh", is_flag=True, help="Execute also what is done and unchanged.")
def run(profile: str, seed: int, only: tuple[str, ...], out: Path | None, fresh: bool) -> None:
    """Execute the notebooks, and write a page that shows what came out.

    Each executed notebook and an index.html go to build/notebooks. What is already done and unchanged is skipped; a
    notebook that fails does not stop the others. On a CPU two run side by side.
    """
    from sasa_tutorial.notebook_runner import run_series
    from sasa_tutorial.training.profiles import resolve_profile

    results = run_series(profile=resolve_profile(profile).name, seed=seed, only=only, out=out, fresh=fresh)
    sys.exit(1 if any(result.status == "failed" for result in results) else 0)


@cli.command()
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


@cli.command()
@click.option("--missing", is_flag=True, help="What the planned runs still lack.")
@click.option(
    "--study", multiple=True, metavar="NAME", help="Of this study of the grid instead of the lessons; repeatable."
)
@click.option("--markdown", is_flag=True, help="As a Markdown table.")
@click.option(
    "--update",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Write the tables into this file, between its marks.",
)
@click.option(
    "--profile",
    default="auto",
    metavar="NAME",
    help="Of --missing and --study.  [default: full; with --study the largest in which it has run]",
)
def results(missing: bool, study: tuple[str, ...], markdown: bool, update: Path | None, profile: str) -> None:
    """Show what the recorded runs on CIFAR-100 came to: mean and standard deviation over seeds.

    With --study: the papers' numbers beside ours, the differences, and what they decide.
    """
    from sasa_tutorial.experiments import missing_runs, result_tables, studies_named
    from sasa_tutorial.experiments.results import lesson_rows
    from sasa_tutorial.training.records import all_records, committed_records, read_records

    records = read_records(committed_records())
    layout = result_tables.markdown if markdown else result_tables.aligned
    if update is not None:
        document = update.read_text(encoding="utf-8")
        update.write_text(result_tables.with_current_tables(document, records), encoding="utf-8")
        click.echo(f"the tables in {update} are current")
    elif missing:
        lacking = missing_runs(all_records(), "full" if profile == "auto" else profile, study)
        for plan in lacking:
            click.echo(str(plan))
        click.echo(f"planned runs without a record: {len(lacking)}")
    elif study:
        for chosen in studies_named(study):
            click.echo(result_tables.study_text(chosen, records, profile, layout) + "\n")
    else:
        click.echo(result_tables.lesson_tables(lesson_rows(records), layout))


@cli.command()
@click.option("--publish", "model", metavar="MODEL", help="Make the file of this network from its finished run here.")
@click.option("--learned", is_flag=True, help="What training made of position tables, memories and mixtures.")
@PROFILE
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the run, with --publish.")
def weights(model: str | None, learned: bool, profile: str, seed: int) -> None:
    """List and check the trained weights in data/weights, or publish those of a run.

    --publish rounds the weights of a finished run on this machine to float16 and keeps them if they still have the
    recorded accuracy; the profile and seed say which run.
    """
    from sasa_tutorial.experiments.publishing import publish_weights
    from sasa_tutorial.experiments.weights import learned_tables, published_weights
    from sasa_tutorial.paths import shown
    from sasa_tutorial.training.plan import plan_run

    if model is not None:
        entry = publish_weights(plan_run(model, profile, seed))
        click.echo(f"{shown(entry.path)}: {entry.bytes:,} bytes, validation top-1 {entry.val_top1:.2f} %")
        return
    if learned:
        for name in published_weights():
            for table in learned_tables(name):
                click.echo(
                    f"{name}, {table.parameter}: correlation with its start {table.correlation:.2f}, "
                    f"norm {table.growth:.2f} of it"
                )
        return
    entries = published_weights().values()
    for entry in entries:
        run = f"{entry.profile}, seed {entry.seed}, validation top-1 {entry.val_top1:.2f} %, {entry.bytes:,} bytes"
        click.echo(f"{shown(entry.path)} {entry.problem}" if entry.problem else f"{shown(entry.path)}: ok ({run})")
    sys.exit(1 if any(entry.problem for entry in entries) else 0)


@cli.command()
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True, help="Of the interleaved timing.")
@click.option(
    "--batch", type=click.IntRange(min=1), help="Images.  [default: 32; on a GPU 256, or 64 without bfloat16]"
)
@click.option("--channels", type=click.IntRange(min=8), default=64, show_default=True, help="In and out.")
@click.option("--size", type=click.IntRange(min=1), default=32, show_default=True, help="Pixels, both sides.")
@click.option("--kernel-size", type=click.IntRange(min=1), default=7, show_default=True, help="Window of attention.")
@click.option("--heads", type=click.IntRange(min=1), default=8, show_default=True)
@click.option(
    "--dtype",
    metavar="NAME",
    help="float32, bfloat16 or float16.  [default: bfloat16 on a GPU that has it, else float32]",
)
@DEVICE
@click.option("--only", multiple=True, metavar="PART", help="machine, layers, network, growth or floor; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--save", is_flag=True, help="Keep it with the records, in data/results, in place of this device's last.")
def bench(
    rounds: int, device: str, only: tuple[str, ...], as_json: bool, save: bool, **shape: int | str | None
) -> None:
    """Measure time and memory of local attention against convolution.

    What the machine can do at best, layers at one setting, a training step of whole networks, how time grows with
    every size, and on a GPU how far above the time of a plain copy attention is. The options set the layers; the
    networks have their own size.
    """
    if save and only:
        raise click.UsageError("--save keeps a whole document: leave --only out.")
    from sasa_tutorial.bench import default_setting, new_document, parts, save_document, sections_for
    from sasa_tutorial.devices import resolve_device
    from sasa_tutorial.paths import shown
    from sasa_tutorial.training.progress import live_bar

    where = resolve_device(device)
    setting = default_setting(where, **shape)
    document = new_document(setting, rounds=rounds)
    if not as_json:
        machine = f"{document['device']}, torch {document['torch']}"
        click.echo(f"{machine}, medians of {rounds} interleaved round{'' if rounds == 1 else 's'}")
    for part in parts(setting, only or sections_for(where), rounds=rounds):
        with live_bar(part.steps, part.title) as bar:
            text = part.run(document, lambda bar=bar: bar.update(1))
        if not as_json:
            click.echo("\n" + text)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    if save:
        click.echo(f"saved in {shown(save_document(document))}", err=as_json)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def ledger(as_json: bool) -> None:
    """Parameters and FLOPs of the papers' networks: published, and counted here."""
    from tqdm import tqdm

    from sasa_tutorial.ledger import as_text, count_published, published

    rows = published()
    with tqdm(total=len(rows), unit="row", disable=not sys.stderr.isatty(), leave=False) as bar:
        entries = count_published(rows, done=bar.update)
    click.echo(
        json.dumps([asdict(entry) for entry in entries], indent=1, ensure_ascii=False) if as_json else as_text(entries)
    )


@cli.group()
def data() -> None:
    """Get CIFAR-100 or CIFAR-10, and check it."""


ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that holds the data set's.  [default: $SASA_DATA, else data/]",
)
NAME = click.argument("name", type=click.Choice(["cifar100", "cifar10"]), default="cifar100")


@data.command()
@NAME
@ROOT
@click.option("--mirror", multiple=True, metavar="URL", help="Try this address first; repeatable.")
def download(name: str, root: Path | None, mirror: tuple[str, ...]) -> None:
    """Download CIFAR-100 or CIFAR-10 (169 MB each), check it, put it in place."""
    from sasa_tutorial.datasets.cifar import ARCHIVES
    from sasa_tutorial.datasets.download import download

    folder = download(ARCHIVES[name], root, mirrors=mirror or None)
    click.echo(f"{ARCHIVES[name].title} is complete in {folder}")


@data.command()
@NAME
@ROOT
def check(name: str, root: Path | None) -> None:
    """Check the files of CIFAR-100 or CIFAR-10 against their hashes."""
    from sasa_tutorial.datasets.cifar import ARCHIVES

    findings = ARCHIVES[name].check(root)
    for finding in findings:
        mend = f"Mend it with `{ARCHIVES[name].mending_command(root)}`."
        click.echo(f"{finding.path}: ok" if finding.ok else f"{finding.path} {finding.problem}. {mend}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


cli.add_command(selftest)


def main() -> None:
    """Entry point: the command, with errors as one message and the exit code that belongs to them."""
    debug = "--debug" in sys.argv[1:2]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a code page without a sign gets a question mark, not an error
            stream.reconfigure(errors="replace")
    try:
        cli()
    except KeyboardInterrupt:
        sys.exit(130)
    except (TutorialError, ValueError) as error:
        if debug:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(getattr(error, "exit_code", 1))
