"""Time and memory."""

import json

import click

from sasa_tutorial.commands.options import DEVICE


@click.command()
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
