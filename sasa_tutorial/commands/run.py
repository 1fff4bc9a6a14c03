"""Executing the notebooks."""

import sys
from pathlib import Path

import click

from sasa_tutorial.commands.options import PROFILE


@click.command()
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
