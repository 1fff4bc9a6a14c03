"""What the records came to."""

from pathlib import Path

import click


@click.command()
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
