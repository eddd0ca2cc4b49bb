"""What ``--html`` and ``--junit`` write once a run is over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sims.model.result import SIMULATOR

if TYPE_CHECKING:
    from sims.many.grid import GridResult
    from sims.many.swarm import SwarmResult
    from sims.model.result import RunResult
    from sims.model.scenario import Scenario
    from sims.running.story_recorder import StoryRecorder


@dataclass(frozen=True, slots=True)
class Report:
    """A text for a file, made when it is written."""

    file: str
    make: Callable[[], str]


def new_recorder(html_file: str | None, scenario: "Scenario") -> "StoryRecorder | None":
    """What gathers a run for a report; None where none is asked for."""
    if html_file is None:
        return None
    from sims.running.story_recorder import StoryRecorder

    return StoryRecorder(scenario)


def html_report(
    file: str | None,
    result: "RunResult",
    recorder: "StoryRecorder | None",
    replay_command: Callable[[int], str],
) -> list[Report]:
    """None for no file. replay_command: for a seed."""
    if file is None or recorder is None:
        return []
    from sims.report.data import RunData
    from sims.report.page import report

    what_for = "Told in the order of time:" if result.engine == SIMULATOR else "The same again:"
    commands = ((what_for, replay_command(result.seed)),)
    data = RunData(result, recorder.story(result.virtual_s), commands)
    return [Report(file, lambda: report(data))]


def swarm_html(
    file: str | None, swarm: "SwarmResult", command: str, replay_command: Callable[[int], str]
) -> list[Report]:
    """None for no file. command: runs the same seeds; replay_command: for a seed."""
    if file is None:
        return []
    from sims.report.swarm_page import swarm_report

    return [Report(file, lambda: swarm_report(swarm, command, replay_command))]


def grid_html(file: str | None, grid: "GridResult", command: str) -> list[Report]:
    """None for no file. command: runs the same grid."""
    if file is None:
        return []
    from sims.report.grid_page import grid_report

    return [Report(file, lambda: grid_report(grid, command))]


def junit_report(
    file: str | None,
    result: "RunResult | SwarmResult | GridResult",
    replay_command: Callable[[int], str],
) -> list[Report]:
    """None for no file. replay_command: for a seed."""
    if file is None:
        return []
    from sims.many.grid import GridResult
    from sims.many.swarm import SwarmResult
    from sims.report.junit import junit_of_grid, junit_of_run, junit_of_swarm

    if isinstance(result, SwarmResult):
        return [Report(file, lambda: junit_of_swarm(result, replay_command))]
    if isinstance(result, GridResult):
        return [Report(file, lambda: junit_of_grid(result))]
    return [Report(file, lambda: junit_of_run(result, replay_command(result.seed)))]
