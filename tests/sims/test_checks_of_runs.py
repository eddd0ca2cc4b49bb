"""Whole runs in which something is wrong that only a run can show."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

import sims.machines.machine
from sims.model.result import RunResult
from sims.model.scenario import Scenario
from sims.running.run import run
from tests.sims.results import a_scenario

ENDS_AFTER_S = 6.0
"""After the first look."""


def ends_by_itself(run_daemon: Callable[..., Any]) -> Callable[..., Any]:
    """The daemon as it is, until it returns as if it had been asked to."""

    async def run_for_a_while(
        *arguments: object, task_status: Any = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.move_on_after(ENDS_AFTER_S):
            await run_daemon(*arguments, task_status=task_status)

    return run_for_a_while


def run_for(duration_s: float) -> RunResult:
    homes = a_scenario()
    return run(Scenario(name=homes.name, duration_s=duration_s, sites=homes.sites), seed=1)


@pytest.mark.parametrize("name", ["run_up", "run_bootstrap"])
def test_a_daemon_that_ends_by_itself_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sims.machines.machine, name, ends_by_itself(getattr(sims.machines.machine, name))
    )
    result = run_for(ENDS_AFTER_S + 1)
    subjects = ["bootstrap-1"] if name == "run_bootstrap" else ["pc-1", "pc-2"]
    assert sorted(violation.subject for violation in result.violations) == subjects
    for violation in result.violations:
        assert violation.check == "tasks"
        assert ENDS_AFTER_S - 1 < violation.at_s < ENDS_AFTER_S + 1
        assert "the daemon ended, and nobody had asked it to" in violation.detail
