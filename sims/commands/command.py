"""The verbs ``wice sim …``."""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from sims.commands.options import STDOUT, html_option, junit_option, output_option
from sims.commands.pcap_option import open_capture, pcap_options, summary
from sims.commands.reports import Report, html_report, junit_report, new_recorder
from sims.commands.shrinking import shrink, shrink_causes
from wice.cli import EXIT_FAILED, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console

    from sims.capture.capture import Capture
    from sims.many.grid import Cell, GridResult
    from sims.many.swarm import SeedResult, SwarmResult
    from sims.model.result import RunResult
    from sims.model.scenario import Scenario
    from sims.running.run import Progress
    from sims.running.story_recorder import StoryRecorder

DEFAULT_SCENARIO: Final = "swarm"
DEFAULT_SEED: Final = 1
DEFAULT_SEEDS: Final = 100
SEED_MAX: Final = 2**63 - 1
SEEDS_MAX: Final = 1_000_000
JOBS_MAX: Final = 1_024
SUBJECTS_MAX: Final = 2
"""Machines that a replay offers to tell more of."""


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


_scenario_argument = click.argument("scenario", metavar="SCENARIO")
_seed_type = click.IntRange(0, SEED_MAX)
_seed_option = click.option("--seed", type=_seed_type, default=DEFAULT_SEED, show_default=True)


_json_option = output_option(
    "json", "Write the result there as one JSON object; - is standard output.", allow_dash=True
)
_jobs_option = click.option(
    "--jobs",
    metavar="J",
    type=click.IntRange(1, JOBS_MAX),
    help="How many run at the same time.  [default: one for each processor]",
)


@click.group(cls=_InterruptibleGroup)
def sim() -> None:
    """Run whole meshes of the real daemon on a simulated internet.

    In virtual time, which goes as fast as the machine can, and from one seed: the same seed does
    the same again. SCENARIO is a file, or the name of one that `wice sim list` shows.
    """


sim.add_command(shrink)


@sim.command("list")
def list_scenarios() -> None:
    """Show the scenarios that come with wice."""
    from sims.files.scenario_file import find_scenario, scenario_names

    described = {name: _first_comment(find_scenario(name)) for name in scenario_names()}
    width = max(map(len, described), default=0)
    failures: list[str] = []
    with _noting("standard output", failures):
        for name, description in described.items():
            click.echo(f"{name:{width}}  {description}")
    _exit_if(failures)


@sim.command()
@_scenario_argument
@_seed_option
@_json_option
@output_option(
    "trace", "Write every event and every packet's header there, as JSON lines.", allow_dash=True
)
@html_option
@junit_option
@pcap_options
def run(
    scenario: str,
    seed: int,
    json_file: str | None,
    trace_file: str | None,
    html_file: str | None,
    junit_file: str | None,
    pcap_directory: Path | None,
    pcap_max_mb: int,
) -> None:
    """Run SCENARIO once; exit 0 only if every expectation and check holds."""
    from sims.commands.table import show_result

    if json_file == trace_file == STDOUT:
        raise click.UsageError("--json and --trace cannot both be standard output")
    trace_path = None
    if trace_file is not None:
        trace_path = Path("/dev/stdout" if trace_file == STDOUT else trace_file)
    loaded = _load(scenario)
    capture = open_capture(pcap_directory, pcap_max_mb)
    recorder = new_recorder(html_file, loaded)
    result = _run(loaded, seed, trace_path, capture, recorder)
    console = _console(json_file, trace_file)

    def show() -> None:
        show_result(console, result)
        if capture is not None:
            console.print(summary(capture), highlight=False, soft_wrap=True)

    replay_command = partial(_replay_command, scenario)
    reports = html_report(html_file, result, recorder, replay_command)
    reports += junit_report(junit_file, result, replay_command)
    _finish(result, show, json_file, reports=reports, failure=result.failure)


@sim.command()
@_scenario_argument
@click.option("--seed", type=_seed_type, required=True, help="The one that failed.")
@click.option(
    "--only",
    metavar="MACHINE",
    multiple=True,
    help="Tell just what concerns this machine, but all of it; can be given more than once.",
)
@output_option(
    "trace", "Keep every event and every packet's header there, as JSON lines.", allow_dash=False
)
@html_option
@pcap_options
def replay(
    scenario: str,
    seed: int,
    only: tuple[str, ...],
    trace_file: str | None,
    html_file: str | None,
    pcap_directory: Path | None,
    pcap_max_mb: int,
) -> None:
    """Run SCENARIO again with a seed, and tell what happened.

    Faults, what daemons went through, and what checks found, in the order of time.
    """
    from sims.commands.story import tell
    from sims.commands.table import show_result
    from sims.runtime.scratch import scratch_directory

    loaded = _load(scenario)
    names = [*loaded.bootstrap_names, *(machine.name for machine in loaded.machines)]
    for name in only:
        if name not in names:
            raise click.BadParameter(
                f"{name!r} is not one of {', '.join(names)}", param_hint="--only"
            )

    def show() -> None:
        with trace_path.open() as lines:
            for line in tell(lines, result.violations, only):
                click.echo(line)
        click.echo()
        show_result(_console(), result)
        if capture is not None:
            click.echo(summary(capture))
        subjects = _subjects(result, names)
        if subjects and not only:
            options = " ".join(f"--only {shlex.quote(name)}" for name in subjects[:SUBJECTS_MAX])
            click.echo(f"all that they did: {_replay_command(scenario, seed)} {options}")

    capture = open_capture(pcap_directory, pcap_max_mb)
    with scratch_directory(Path(tempfile.gettempdir())) as directory:
        trace_path = directory / "trace" if trace_file is None else Path(trace_file)
        trace_path.touch()
        recorder = new_recorder(html_file, loaded)
        result = _run(loaded, seed, trace_path, capture, recorder)
        reports = html_report(html_file, result, recorder, partial(_replay_command, scenario))
        _finish(result, show, reports=reports, failure=result.failure)


@sim.command()
@click.argument("scenario", metavar="[SCENARIO]", default=DEFAULT_SCENARIO)
@click.option(
    "--seeds",
    metavar="N",
    type=click.IntRange(1, SEEDS_MAX),
    default=DEFAULT_SEEDS,
    show_default=True,
    help="How many seeds.",
)
@click.option(
    "--first-seed",
    type=_seed_type,
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
@_jobs_option
@_json_option
@junit_option
def swarm(
    scenario: str,
    seeds: int,
    first_seed: int,
    fail_fast: bool,
    shrinks: bool,
    has_coverage: bool,
    jobs: int | None,
    json_file: str | None,
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

    loaded = _load(scenario)
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
        console = _console(json_file)
        if has_coverage:
            show_coverage(console, result.coverage)
        show_swarm(console, result, lambda seed: _replay_command(scenario, seed))
        if shrinks:
            shrink_causes(result, loaded, scenario, jobs, says_aside=json_file == STDOUT)

    reports = junit_report(junit_file, result, partial(_replay_command, scenario))
    _finish(result, show, json_file, reports=reports)


@sim.command()
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
@_jobs_option
@_json_option
@junit_option
def grid(
    ip: str,
    has_relay: bool,
    condition: str | None,
    jobs: int | None,
    json_file: str | None,
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
    reports = junit_report(junit_file, result, str)
    _finish(result, lambda: show_grid(_console(json_file), result), json_file, reports=reports)


def _load(name: str) -> "Scenario":
    """Raise ConfigError."""
    from sims.files.scenario_file import find_scenario, load_scenario

    return load_scenario(find_scenario(name))


def _run(
    scenario: "Scenario",
    seed: int,
    trace_path: Path | None,
    capture: "Capture | None",
    recorder: "StoryRecorder | None",
) -> "RunResult":
    from sims.commands.progress_line import ProgressLine
    from sims.commands.table import progress_text

    def show(progress: "Progress") -> None:
        line.show(progress_text(progress), progress.real_s)

    with ProgressLine(sys.stderr) as line:
        try:
            from sims.running.run import run

            return run(
                scenario,
                seed,
                trace_path=trace_path,
                progress=show,
                recorder=recorder,
                capture=capture,
            )
        except KeyboardInterrupt:
            return _interrupted_at_once(scenario, seed)


def _interrupted_at_once(scenario: "Scenario", seed: int) -> "RunResult":
    """What is known before a run has begun."""
    from sims.model.result import RunResult

    return RunResult(
        scenario=scenario.name,
        seed=seed,
        is_complete=False,
        virtual_s=0.0,
        real_s=0.0,
        cpu_s=0.0,
        memory_bytes=0,
        packets=0,
        events=0,
        pairs=(),
        checks={},
        violations=(),
        counters={},
        trace_sha256="",
    )


def _console(*files: str | None) -> "Console":
    """For people: standard output, unless a file for programs goes there."""
    from rich.console import Console

    return Console(stderr=STDOUT in files)


def _finish(
    result: "RunResult | SwarmResult | GridResult",
    show: Callable[[], None],
    json_file: str | None = None,
    *,
    reports: Sequence[Report] = (),
    failure: str = "",
) -> NoReturn:
    """Show the result and write it, each even where the other fails, and exit.

    failure: why it is not complete, empty if that was Ctrl-C.
    """
    from sims.runtime.interrupts import undisturbed

    failures: list[str] = []
    try:
        with _noting("standard output", failures):
            show()
    finally:
        if json_file is not None:
            with _noting("standard output" if json_file == STDOUT else json_file, failures):
                _write_json(json_file, result.as_json())
        for report in reports:
            with _noting(report.file, failures), undisturbed():
                Path(report.file).write_text(report.make(), "utf-8")
    _exit_if(failures)
    if not (result.is_complete or failure):
        raise SystemExit(EXIT_INTERRUPTED)
    raise SystemExit(0 if result.is_ok else EXIT_FAILED)


def _exit_if(failures: Sequence[str]) -> None:
    if failures:
        click.echo(f"wice: {failures[0]}", err=True)
        raise SystemExit(EXIT_FAILED)


@contextmanager
def _noting(name: str, failures: list[str]) -> Iterator[None]:
    """Note that ``name`` cannot be written, and go on."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        failures.append(f"{name} cannot be written: {error.strerror}")
        if name == "standard output":
            # What waits there would fail once more when the interpreter ends.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


def _write_json(file: str, result: dict[str, Any]) -> None:
    """The whole of it, whenever Ctrl-C comes."""
    from sims.runtime.interrupts import undisturbed

    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    with undisturbed():
        if file == STDOUT:
            click.echo(text, nl=False)
        else:
            Path(file).write_text(text, "utf-8")


def _replay_command(scenario: str, seed: int) -> str:
    return f"wice sim replay {shlex.quote(scenario)} --seed {seed}"


def _subjects(result: "RunResult", names: list[str]) -> list[str]:
    """The machines that violations are about, the first violation's first."""
    words = (word for violation in result.violations for word in violation.subject.split())
    return [word for word in dict.fromkeys(words) if word in names]


def _first_comment(path: Path) -> str:
    lines = path.read_text("utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
