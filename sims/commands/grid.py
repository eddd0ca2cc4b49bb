"""``wice sim grid``: every kind of NAT against every other."""

import sys
from typing import TYPE_CHECKING

import click

from sims.commands.finishing import console_for, finish
from sims.commands.options import check_apart, html_option, jobs_option, json_option, junit_option
from sims.commands.reports import grid_html, junit_report

if TYPE_CHECKING:
    from sims.many.grid import Cell


@click.command()
@click.option(
    "--ip",
    type=click.Choice(["4", "6"]),
    default="4",
    show_default=True,
    help="With 6 there are firewalls instead of NATs.",
)
@click.option(
    "--relay/--no-relay",
    "has_relay",
    default=True,
    show_default=True,
    help="Whether the bootstrap node relays.",
)
@click.option(
    "--under",
    "condition",
    type=click.Choice(["loss", "restart-one", "restart-both", "slow-signaling"]),
    help="Make it harder: a tenth of all datagrams lost in bursts, one or both homes restarted in "
    "mid-check, or envelopes late and out of order.",
)
@jobs_option
@json_option
@html_option
@junit_option
def grid(
    ip: str,
    has_relay: bool,
    condition: str | None,
    jobs: int | None,
    json_file: str | None,
    html_file: str | None,
    junit_file: str | None,
) -> None:
    """Try every kind of NAT against every other, a process each.

    Exits 0 only if every cell is as the oracle has it, which knows the NATs and no code of wice.
    """
    from sims.commands.progress_line import ProgressLine
    from sims.commands.table import CountProgress, show_grid
    from sims.many.grid import kinds_of, run_grid
    from sims.many.processes import preload, processors
    from sims.running.run import run as run_once

    check_apart(None, {"--json": json_file, "--html": html_file, "--junit": junit_file})
    kinds = kinds_of(int(ip))
    preload()
    with ProgressLine(sys.stderr) as line:
        progress = CountProgress(line, len(kinds) ** 2, "cells")

        def tell(cell: "Cell") -> None:
            progress.tell(is_ok=cell.is_as_expected)

        result = run_grid(
            kinds,
            int(ip),
            jobs or processors(),
            run_once,
            tell,
            has_relay=has_relay,
            condition=condition,
        )
    again = f"wice sim grid --ip {ip}{'' if has_relay else ' --no-relay'}"
    again += "" if condition is None else f" --under {condition}"
    reports = grid_html(html_file, result, again)
    reports += junit_report(junit_file, result, str)
    finish(result, lambda: show_grid(console_for(json_file), result), json_file, reports=reports)
