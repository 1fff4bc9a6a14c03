"""Options that several commands have."""

import click

from sasa_tutorial.lessons import PROFILE_NAMES

DEVICE = click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda:N or mps.")
PROFILE = click.option(
    "--profile",
    default="auto",
    show_default=True,
    metavar="NAME",
    help=f"{', '.join(PROFILE_NAMES)}, or auto: $SASA_PROFILE, else gpu where there is a CUDA device, else smoke.",
)
