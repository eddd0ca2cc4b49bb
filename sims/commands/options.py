"""Arguments and options that several verbs have, and what they stand for."""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sims.model.scenario import OVERLAYS

if TYPE_CHECKING:
    from sims.model.scenario import Scenario

Command = TypeVar("Command", bound=Callable[..., Any])

STDOUT: Final = "-"
DEFAULT_SEED: Final = 1
SEED_MAX: Final = 2**63 - 1
JOBS_MAX: Final = 1_024


class WholeNumber(click.IntRange):
    """Within bounds, and called so where it is none."""

    name = "whole number"


SEED_TYPE: Final = WholeNumber(0, SEED_MAX)


def check_writable(
    _context: click.Context, _parameter: click.Parameter, name: str | None
) -> str | None:
    """Before the run, not after it."""
    if name is not None and name != STDOUT:
        path = Path(name)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise click.BadParameter(f"{name!r} cannot be written")
    return name


def _check_names_a_file(
    context: click.Context, parameter: click.Parameter, name: str | None
) -> str | None:
    if name == STDOUT:
        raise click.BadParameter("standard output is not for this; name a file")
    return check_writable(context, parameter, name)


def check_apart(scenario: str | None, files: Mapping[str, str | None]) -> None:
    """Before the run: no file is written over another, nor over SCENARIO.

    files: by the option that names them. Raise UsageError; ConfigError for an unknown scenario.
    """
    from sims.files.scenario_file import find_scenario

    taken = {} if scenario is None else {find_scenario(scenario).resolve(): "SCENARIO itself"}
    for option, name in files.items():
        if name is None or name == STDOUT:
            continue
        path = Path(name).resolve()
        if path.exists() and not path.is_file():
            continue  # a device keeps nothing that could be lost
        if path in taken:
            raise click.UsageError(f"{option} {name!r} is {taken[path]}; name another file")
        taken[path] = f"the file of {option}, too"


def output_option(name: str, text: str, *, allow_dash: bool) -> Callable[[Command], Command]:
    """``--NAME FILE``, the parameter ``NAME_file``; refused before the run if it is unwritable."""
    return click.option(
        f"--{name}",
        f"{name}_file",
        metavar="FILE",
        type=click.Path(dir_okay=False, allow_dash=allow_dash),
        callback=check_writable if allow_dash else _check_names_a_file,
        help=text,
    )


html_option = output_option(
    "html", "Write a report for people there: one page that needs nothing else.", allow_dash=False
)
junit_option = output_option(
    "junit", "Write the result there as JUnit XML, which CI systems show.", allow_dash=False
)
json_option = output_option(
    "json", "Write the result there as one JSON object; - is standard output.", allow_dash=True
)
jobs_option = click.option(
    "--jobs",
    metavar="J",
    type=WholeNumber(1, JOBS_MAX),
    help="How many run at the same time.  [default: one for each processor]",
)
scenario_argument = click.argument("scenario", metavar="SCENARIO")
overlay_option = click.option(
    "--overlay",
    type=click.Choice(OVERLAYS),
    help="What carries the daemons' messages, whatever SCENARIO says: in-process simulates no "
    "overlay, for larger meshes.",
)
seed_option = click.option(
    "--seed", metavar="N", type=SEED_TYPE, default=DEFAULT_SEED, show_default=True
)


def load(name: str, overlay: str | None = None) -> "Scenario":
    """overlay: in place of the scenario's own. Raise ConfigError."""
    from sims.files.scenario_file import find_scenario, load_scenario

    scenario = load_scenario(find_scenario(name))
    return scenario if overlay is None else replace(scenario, overlay=overlay)


def sim_command(verb: str, scenario: str, seed: int, overlay: str | None = None) -> str:
    """As somebody types it who wants the same run; overlay: the option, if there was one."""
    option = "" if overlay is None else f" --overlay {overlay}"
    return f"wice sim {verb} {shlex.quote(scenario)} --seed {seed}{option}"


def kernel_command(scenario: str, seed: int) -> str:
    """What plays it on the kernel engine again."""
    return f"{sim_command('run', scenario, seed)} --engine kernel"


def replay_command(scenario: str, seed: int, overlay: str | None = None) -> str:
    """What shows again what a seed did."""
    return sim_command("replay", scenario, seed, overlay)
