"""Parameters and FLOPs."""

import json
import sys
from dataclasses import asdict

import click


@click.command()
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
