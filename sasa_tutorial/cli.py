"""The command `sasa-tutorial`."""

import sys

import click

from sasa_tutorial import __version__
from sasa_tutorial.commands.bench import bench
from sasa_tutorial.commands.data import data
from sasa_tutorial.commands.ledger import ledger
from sasa_tutorial.commands.results import results
from sasa_tutorial.commands.run import run
from sasa_tutorial.commands.selftest import selftest
from sasa_tutorial.commands.train import train
from sasa_tutorial.commands.weights import weights
from sasa_tutorial.errors import TutorialError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sasa-tutorial")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Attention in vision, step by step: run the notebooks, train the networks, read the results."""


for command in (run, train, results, weights, bench, ledger, data, selftest):
    cli.add_command(command)


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
