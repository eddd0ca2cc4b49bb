"""``wice sim schema``: the JSON schema of scenario files."""

import json

import click

from sims.commands.finishing import exit_if, noting


@click.command(short_help="Print a JSON schema of scenario files.")
def schema() -> None:
    """Print a JSON schema of scenario files, with which editors complete and check them."""
    from sims.files.schema import scenario_schema

    failures: list[str] = []
    with noting("standard output", failures):
        click.echo(json.dumps(scenario_schema(), indent=2, ensure_ascii=False))
    exit_if(failures)
