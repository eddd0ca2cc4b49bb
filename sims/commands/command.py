"""The verbs ``wice sim …``."""

from pathlib import Path
from typing import Any

import click

from sims.commands.finishing import exit_if, noting
from sims.commands.grid import grid
from sims.commands.one_run import replay, run
from sims.commands.own_mesh import from_config, new
from sims.commands.schema import schema
from sims.commands.shrinking import shrink
from sims.commands.swarm import swarm
from wice.cli import EXIT_INTERRUPTED


class _InterruptibleGroup(click.Group):
    """Ctrl-C where nothing is known yet: no traceback, and the exit status of a signal.

    Who is asked to end in another way ends as by Ctrl-C.
    """

    def invoke(self, ctx: click.Context) -> Any:
        from sims.runtime.interrupts import ended_as_by_ctrl_c

        try:
            with ended_as_by_ctrl_c():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(EXIT_INTERRUPTED) from None


@click.group(cls=_InterruptibleGroup)
def sim() -> None:
    """Run whole meshes of the real daemon on a simulated internet.

    In virtual time, which goes as fast as the machine can, and from one seed: the same seed does
    the same again. SCENARIO is a file, or the name of one that `wice sim list` shows.
    """


@sim.command("list")
def list_scenarios() -> None:
    """Show the scenarios that come with wice."""
    from sims.files.scenario_file import find_scenario, scenario_names

    described = {name: _first_comment(find_scenario(name)) for name in scenario_names()}
    width = max(map(len, described), default=0)
    failures: list[str] = []
    with noting("standard output", failures):
        for name, description in described.items():
            click.echo(f"{name:{width}}  {description}")
    exit_if(failures)


for _verb in (new, from_config, run, replay, swarm, shrink, grid, schema):
    sim.add_command(_verb)


def _first_comment(path: Path) -> str:
    lines = path.read_text("utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
