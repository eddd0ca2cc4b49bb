"""``wice sim shrink``, and what ``wice sim swarm --shrink`` does with each cause."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sims.commands.options import (
    SEED_TYPE,
    STDOUT,
    check_apart,
    check_writable,
    jobs_option,
    load,
    overlay_option,
    scenario_argument,
    sim_command,
)
from wice.cli import EXIT_FAILED, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from sims.many.causes import Cause
    from sims.many.shrink import Shrunk, Step
    from sims.many.swarm import SwarmResult
    from sims.model.faults import Fault
    from sims.model.scenario import Scenario

TIME_MAX_S: Final = 600.0
CAUSES_SHRUNK_MAX: Final = 10
"""Of one swarm; the causes that most seeds have come first."""
NAME_MAX: Final = 20
"""Characters of the scenario's name that its smaller one's has."""
LISTED_MAX: Final = 6


def shrink_to_file(
    scenario: "Scenario",
    source: str,
    seed: int,
    output: str | None,
    jobs: int | None,
    time_max_s: float,
    cause: "Cause | None" = None,
    *,
    check: str | None = None,
    says_aside: bool = False,
) -> bool:
    """Shrink, write the file, and say what mattered; False if Ctrl-C ended it.

    source: what the user calls ``scenario``. output: None has it named by what fails. says_aside:
    on standard error, where a file is on standard output. Raise DoesNotFailError, OSError.
    """
    from sims.commands.progress_line import ProgressLine
    from sims.many.processes import preload, processors
    from sims.many.shrink import shrink as shrink_scenario
    from sims.running.run import run

    preload()
    with ProgressLine(sys.stderr) as line:

        def tell(step: "Step") -> None:
            line.show(_progress(step), step.real_s)

        shrunk = shrink_scenario(
            scenario,
            seed,
            jobs or processors(),
            run,
            tell,
            cause=cause,
            check=check,
            time_max_s=time_max_s,
        )
    file = output or f"{scenario.name}-{shrunk.sighting.cause.check}-seed-{seed}.toml"
    text = shrunk_text(shrunk, source, file)
    if file == STDOUT:
        click.echo(text, nl=False)
    else:
        Path(file).write_text(text, "utf-8")
    for said in (what_matters(shrunk), *_how_to_see(shrunk, file)):
        click.echo(said, err=says_aside or file == STDOUT)
    return not shrunk.is_interrupted


@click.command(short_help="Make a seed that fails as small as it can be.")
@scenario_argument
@click.option("--seed", metavar="N", type=SEED_TYPE, required=True, help="The one that failed.")
@click.option(
    "--check",
    metavar="NAME",
    help="Keep the first violation of this check.  [default: the first of all]",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True),
    callback=check_writable,
    help="Write the small scenario there; - is standard output.  [default: named by what fails]",
)
@overlay_option
@jobs_option
@click.option(
    "--time-max-s",
    metavar="S",
    type=click.FloatRange(1.0),
    default=TIME_MAX_S,
    show_default=True,
    help="Write what is found by then; with all the time it needs, the result is always the same.",
)
def shrink(
    scenario: str,
    seed: int,
    check: str | None,
    output: str | None,
    overlay: str | None,
    jobs: int | None,
    time_max_s: float,
) -> None:
    """Make SCENARIO as small as it can be and still fail alike with a seed.

    Tries it with fewer machines, fewer faults, less time, plainer lines and NATs and rounder
    times, and keeps what still ends in the same violation. Exits 1 if there is none with this
    seed, and writes nothing then.
    """
    check_apart(scenario, {"--output": output})
    _check_is_known(check)
    from sims.many.shrink import DoesNotFailError

    loaded = load(scenario, overlay)
    try:
        went_on = shrink_to_file(loaded, scenario, seed, output, jobs, time_max_s, check=check)
    except DoesNotFailError as error:
        command = sim_command("run", scenario, seed, overlay)
        click.echo(f"wice: {scenario}, seed {seed}: {error}; see `{command}`", err=True)
        raise SystemExit(EXIT_FAILED) from None
    except OSError as error:
        click.echo(f"wice: {output or '.'} cannot be written: {error.strerror}", err=True)
        raise SystemExit(EXIT_FAILED) from None
    raise SystemExit(0 if went_on else EXIT_INTERRUPTED)


def _check_is_known(check: str | None) -> None:
    """Or a misspelt name would be a seed that does not fail."""
    from sims.report.words import CHECK_MEANINGS
    from wice.section import suggest

    if check is not None and check not in CHECK_MEANINGS:
        names = tuple(CHECK_MEANINGS)
        raise click.BadParameter(
            f"{check!r} is no check; {suggest(check, names, 'checks')}", param_hint="--check"
        )


def shrink_causes(
    swarm: "SwarmResult",
    scenario: "Scenario",
    source: str,
    jobs: int | None,
    *,
    says_aside: bool,
) -> None:
    """The fastest failing seed of each cause, into a file each in the current directory."""
    from sims.many.shrink import DoesNotFailError

    for group in swarm.causes[:CAUSES_SHRUNK_MAX]:
        click.echo(f"\nseed {group.fastest}, {group.cause}", err=says_aside)
        try:
            went_on = shrink_to_file(
                scenario,
                source,
                group.fastest,
                None,
                jobs,
                TIME_MAX_S,
                group.cause,
                says_aside=says_aside,
            )
        except DoesNotFailError as error:
            click.echo(f"wice: {error}", err=True)
            continue
        except OSError as error:
            click.echo(f"wice: the scenario cannot be written: {error.strerror}", err=True)
            return
        if not went_on:
            return
    if len(swarm.causes) > CAUSES_SHRUNK_MAX:
        left = len(swarm.causes) - CAUSES_SHRUNK_MAX
        click.echo(f"\n{left} more causes were not shrunk: use `wice sim shrink`", err=True)


def shrunk_text(shrunk: "Shrunk", source: str, file: str) -> str:
    """The scenario that fails by itself, with where it is from above it."""
    from sims.files.scenario_text import scenario_text

    named = replace(shrunk.after, name=f"{shrunk.before.name[:NAME_MAX]}-{shrunk.seed_before}")
    comment = [
        f"Shrunk from {source}, seed {shrunk.seed_before}, where this fails:",
        f"  {shrunk.sighting.cause.check}  {shrunk.sighting.text}",
        what_matters(shrunk),
        f"It fails with `{_command('run', file, shrunk.seed)}`.",
    ]
    return scenario_text(named, comment)


def what_matters(shrunk: "Shrunk") -> str:
    """One sentence: what is left, of how much, and what of it is more than the plainest."""
    before, after = shrunk.before, shrunk.after
    machines = _listed([machine.name for machine in after.machines], str)
    faults = _listed(after.faults, _fault_words)
    left = [
        f"{len(after.machines)} of {len(before.machines)} machines ({machines})",
        f"{len(after.faults)} of {len(before.faults)} faults" + (f" ({faults})" if faults else ""),
        f"{after.duration_s:g} of {before.duration_s:g} s",
    ]
    details = _details(after)
    rest = f"matter: {', '.join(details)}" if details else "neither NATs nor lines matter"
    early = "" if shrunk.is_complete else "; there was no time to try everything"
    what = f"{shrunk.sighting.cause.check} needs {left[0]}, {left[1]} and {left[2]}"
    return f"{what}; {rest}{early}"


def _details(after: "Scenario") -> list[str]:
    from sims.many.smaller import PLAIN_LINE
    from sims.model.nat import Firewall

    details = []
    for site in after.sites:
        if site.nats:
            details.append(f"the NAT of {site.name}")
        elif site.firewall != Firewall.NONE:
            details.append(f"the firewall of {site.name}")
        if site.line != PLAIN_LINE:
            details.append(f"the line of {site.name}")
        if site.behind is not None:
            details.append(f"that {site.name} is behind {site.behind}")
    return details


def _fault_words(fault: "Fault") -> str:
    """As ``crash of nas at 12 s for 5 s``."""
    from sims.model.faults import KIND_NAMES, AddressChange, Partition

    words = KIND_NAMES[type(fault)]
    if isinstance(fault, Partition):
        words += f" of {' and '.join(fault.one)} from {' and '.join(fault.other)}"
    else:
        words += f" of {getattr(fault, 'target', 'all')}"
    if isinstance(fault, AddressChange) and fault.ip_version is not None:
        words += f", IPv{fault.ip_version},"
    for_s = getattr(fault, "for_s", None)
    return f"{words} at {fault.at_s:g} s" + ("" if for_s is None else f" for {for_s:g} s")


def _listed(things: "list[str] | tuple[Fault, ...]", say: Callable[..., str]) -> str:
    said = [say(thing) for thing in things[:LISTED_MAX]]
    more = len(things) - LISTED_MAX
    return ", ".join([*said, f"{more} more"] if more > 0 else said)


def _how_to_see(shrunk: "Shrunk", file: str) -> list[str]:
    if file == STDOUT:
        return []
    told = f"{shrunk.runs} runs in {shrunk.real_s:.0f} s; {file} has it:"
    return [told, f"  {_command('replay', file, shrunk.seed)}"]


def _command(verb: str, file: str, seed: int) -> str:
    path = file if "/" in file or file.endswith(".toml") else f"./{file}"
    return sim_command(verb, path, seed)


def _progress(step: "Step") -> str:
    scenario = step.scenario
    return (
        f"{step.runs} runs; left are {len(scenario.machines)} machines, {len(scenario.faults)} "
        f"faults, {scenario.duration_s:g} s"
    )
