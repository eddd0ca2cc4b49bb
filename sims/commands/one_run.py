"""``wice sim run`` and ``wice sim replay``: one seed."""

import shlex
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sims.commands.finishing import console_for, finish
from sims.commands.options import (
    SEED_TYPE,
    STDOUT,
    check_apart,
    html_option,
    json_option,
    junit_option,
    kernel_command,
    load,
    output_option,
    overlay_option,
    replay_command,
    scenario_argument,
    seed_option,
)
from sims.commands.pcap_option import open_capture, pcap_options, summary
from sims.commands.reports import html_report, junit_report, new_recorder
from sims.model.result import ENGINES, KERNEL, SIMULATOR

if TYPE_CHECKING:
    from sims.capture.capture import Capture
    from sims.model.result import RunResult
    from sims.model.scenario import Scenario
    from sims.running.progress import Progress
    from sims.running.story_recorder import StoryRecorder

SUBJECTS_MAX: Final = 2
"""Machines that a replay offers to tell more of."""


@click.command(short_help="Run SCENARIO once.")
@scenario_argument
@seed_option
@overlay_option
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default=SIMULATOR,
    show_default=True,
    help="With kernel, daemons are processes in network namespaces, and seconds are real ones; "
    "needs root.",
)
@json_option
@output_option(
    "trace", "Write every event and every packet's header there, as JSON lines.", allow_dash=True
)
@html_option
@junit_option
@pcap_options
def run(
    scenario: str,
    seed: int,
    overlay: str | None,
    engine: str,
    json_file: str | None,
    trace_file: str | None,
    html_file: str | None,
    junit_file: str | None,
    pcap_directory: Path | None,
    pcap_max_mb: int,
) -> None:
    """Run SCENARIO once; exit 0 only if every expectation and check holds."""
    from sims.commands.table import show_result

    if engine == KERNEL:
        _refuse_on_kernel({"--trace": trace_file, "--pcap": pcap_directory})
    if json_file == trace_file == STDOUT:
        raise click.UsageError("--json and --trace cannot both be standard output")
    files = {"--json": json_file, "--trace": trace_file, "--html": html_file, "--junit": junit_file}
    check_apart(scenario, files)
    trace_path = None
    if trace_file is not None:
        trace_path = Path("/dev/stdout" if trace_file == STDOUT else trace_file)
    loaded = load(scenario, overlay)
    capture = open_capture(pcap_directory, pcap_max_mb)
    recorder = new_recorder(html_file, loaded)
    if engine == KERNEL:
        result = _run_on_kernel(loaded, seed, recorder)
    else:
        result = _run(loaded, seed, trace_path, capture, recorder)
    console = console_for(json_file, trace_file)

    def show() -> None:
        show_result(console, result)
        if capture is not None:
            console.print(summary(capture), highlight=False, soft_wrap=True)

    replayed = partial(replay_command, scenario, overlay=overlay)
    if engine == KERNEL:
        replayed = partial(kernel_command, scenario)
    reports = html_report(html_file, result, recorder, replayed)
    reports += junit_report(junit_file, result, replayed)
    finish(result, show, json_file, reports=reports, failure=result.failure)


@click.command()
@scenario_argument
@click.option("--seed", metavar="N", type=SEED_TYPE, required=True, help="The one that failed.")
@click.option(
    "--only",
    metavar="MACHINE",
    multiple=True,
    help="Tell just what concerns this machine, but all of it; can be given more than once.",
)
@overlay_option
@output_option(
    "trace", "Keep every event and every packet's header there, as JSON lines.", allow_dash=False
)
@html_option
@pcap_options
def replay(
    scenario: str,
    seed: int,
    only: tuple[str, ...],
    overlay: str | None,
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

    check_apart(scenario, {"--trace": trace_file, "--html": html_file})
    loaded = load(scenario, overlay)
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
        show_result(console_for(), result)
        if capture is not None:
            click.echo(summary(capture))
        subjects = _subjects(result, names)
        if subjects and not only:
            options = " ".join(f"--only {shlex.quote(name)}" for name in subjects[:SUBJECTS_MAX])
            click.echo(f"all that they did: {replayed(seed)} {options}")

    replayed = partial(replay_command, scenario, overlay=overlay)
    capture = open_capture(pcap_directory, pcap_max_mb)
    with scratch_directory(Path(tempfile.gettempdir())) as directory:
        trace_path = directory / "trace" if trace_file is None else Path(trace_file)
        trace_path.touch()
        recorder = new_recorder(html_file, loaded)
        result = _run(loaded, seed, trace_path, capture, recorder)
        reports = html_report(html_file, result, recorder, replayed)
        finish(result, show, reports=reports, failure=result.failure)


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


def _refuse_on_kernel(files: Mapping[str, str | Path | None]) -> None:
    for option, file in files.items():
        if file is not None:
            raise click.UsageError(
                f"{option} is the simulator's alone: the kernel engine does not see every packet"
            )


def _run_on_kernel(
    scenario: "Scenario", seed: int, recorder: "StoryRecorder | None"
) -> "RunResult":
    from sims.commands.progress_line import ProgressLine
    from sims.commands.table import kernel_progress_text

    def show(progress: "Progress") -> None:
        line.show(kernel_progress_text(progress), progress.real_s)

    with ProgressLine(sys.stderr) as line:
        try:
            from sims.kernel.run import run_on_kernel

            return run_on_kernel(scenario, seed, progress=show, recorder=recorder)
        except KeyboardInterrupt:
            return _interrupted_at_once(scenario, seed, KERNEL)


def _interrupted_at_once(scenario: "Scenario", seed: int, engine: str = SIMULATOR) -> "RunResult":
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
        overlay=scenario.overlay,
        engine=engine,
    )


def _subjects(result: "RunResult", names: list[str]) -> list[str]:
    """The machines that violations are about, the first violation's first."""
    words = (word for violation in result.violations for word in violation.subject.split())
    return [word for word in dict.fromkeys(words) if word in names]
