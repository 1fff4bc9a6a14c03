"""The trained weights: listed, checked, published."""

import sys

import click

from sasa_tutorial.commands.options import PROFILE


@click.command()
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
                    + ("" if table.moved > 0.99 else f" ({table.moved:.0%} of its numbers: the others never moved)")
                )
        return
    entries = published_weights().values()
    for entry in entries:
        run = f"{entry.profile}, seed {entry.seed}, validation top-1 {entry.val_top1:.2f} %, {entry.bytes:,} bytes"
        click.echo(f"{shown(entry.path)} {entry.problem}" if entry.problem else f"{shown(entry.path)}: ok ({run})")
    sys.exit(1 if any(entry.problem for entry in entries) else 0)
