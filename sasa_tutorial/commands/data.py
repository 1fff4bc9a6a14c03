"""The images."""

import sys
from pathlib import Path

import click


@click.group()
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
