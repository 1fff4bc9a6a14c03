"""Whether it works on this machine."""

import sys
from pathlib import Path

import click


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=8.0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Where reports go.  [default: build/device]")
@click.option("--processes", type=click.IntRange(min=1), help="That train side by side.  [default: 1; on a GPU 8]")
@click.option("--data", type=click.Path(path_type=Path), help="CIFAR-100's folder: also train what is planned.")
@click.option("--only", multiple=True, metavar="STAGE", help="machine, kernels, speed or grid; repeatable.")
@click.option("--seed", type=click.IntRange(min=0), help="Of random inputs.  [default: another each time]")
def selftest(out: Path | None, **settings: float | int | Path | tuple[str, ...] | None) -> None:
    """Does it work here? Backends, kernels against float64, times, and with --data the planned runs: one report.

    The stages do not depend on one another: one that fails, crashes or hangs is said so in the summary. Exit code 0 if
    every stage was well.
    """
    from sasa_tutorial.paths import build_root
    from sasa_tutorial.selftest.driver import run_selftest

    sys.exit(run_selftest(out=out or build_root() / "device", **settings))
