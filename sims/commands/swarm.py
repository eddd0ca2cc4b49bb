"""``wice sim swarm``: many seeds."""

import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from sims.commands.finishing import console_for, finish
from sims.commands.options import (
    DEFAULT_SEED,
    SEED_MAX,
    SEED_TYPE,
    STDOUT,
    WholeNumber,
    check_apart,
    html_option,
    jobs_option,
    json_option,
    junit_option,
    load,
    overlay_option,
    replay_command,
)
from sims.commands.reports import junit_report, swarm_html
from sims.commands.shrinking import shrink_causes

if TYPE_CHECKING:
    from sims.many.swarm import SeedResult

DEFAULT_SCENARIO: Final = "swarm"
DEFAULT_SEEDS: Final = 100
SEEDS_MAX: Final = 1_000_000


@click.command(short_help="Run SCENARIO with many seeds, a process each.")
@click.argument("scenario", metavar="[SCENARIO]", default=DEFAULT_SCENARIO)
@click.option(
    "--seeds",
    metavar="N",
    type=WholeNumber(1, SEEDS_MAX),
    default=DEFAULT_SEEDS,
    show_default=True,
    help="How many seeds.",
)
@click.option(
    "--first-seed",
    metavar="N",
    type=SEED_TYPE,
    default=DEFAULT_SEED,
    show_default=True,
    help="The others are those after it.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first seed that fails.")
@click.option(
    "--shrink",
    "shrinks",
    is_flag=True,
    help="Make a small scenario of each cause of failure, a file each in this directory.",
)
@click.option(
    "--coverage",
    "has_coverage",
    is_flag=True,
    help="List what happened in any seed, and what can happen and never did.",
)
@overlay_option
@jobs_option
@json_option
@html_option
@junit_option
def swarm(
    scenario: str,
    seeds: int,
    first_seed: int,
    fail_fast: bool,
    shrinks: bool,
    has_coverage: bool,
    overlay: str | None,
    jobs: int | None,
    json_file: str | None,
    html_file: str | None,
    junit_file: str | None,
) -> None:
    """Run SCENARIO (`swarm` if none is named) with many seeds, a process each.

    Exits 0 only if every expectation and check holds with every seed, and says how to replay
    those with which one does not.
    """
    from sims.commands.coverage_table import show_coverage
    from sims.commands.progress_line import ProgressLine
    from sims.commands.table import CountProgress, show_swarm
    from sims.many.processes import preload, processors
    from sims.many.stories import run_and_listen
    from sims.many.swarm import run_swarm
    from sims.running.run import run as run_once

    check_apart(scenario, {"--json": json_file, "--html": html_file, "--junit": junit_file})
    if first_seed + seeds - 1 > SEED_MAX:
        raise click.UsageError(f"--first-seed and --seeds go beyond {SEED_MAX}, the last seed")
    loaded = load(scenario, overlay)
    replayed = partial(replay_command, scenario, overlay=overlay)
    preload()
    with ProgressLine(sys.stderr) as line:
        progress = CountProgress(line, seeds, "seeds")

        def tell(result: "SeedResult") -> None:
            progress.tell(is_ok=result.is_ok)

        result = run_swarm(
            loaded,
            first_seed,
            seeds,
            jobs or processors(),
            run_once,
            tell,
            stops_at_failure=fail_fast,
            listened=partial(run_and_listen, run=run_once) if has_coverage else None,
        )

    def show() -> None:
        console = console_for(json_file)
        if has_coverage:
            show_coverage(console, result.coverage)
        show_swarm(console, result, replayed)
        if shrinks:
            shrink_causes(result, loaded, scenario, jobs, says_aside=json_file == STDOUT)

    again = f"wice sim swarm {shlex.quote(scenario)} --seeds {seeds} --first-seed {first_seed}"
    again += "" if overlay is None else f" --overlay {overlay}"
    reports = swarm_html(html_file, result, again, replayed)
    reports += junit_report(junit_file, result, replayed)
    finish(result, show, json_file, reports=reports)
