"""A run as a whole: its clock, and its end."""

import signal
import time
from dataclasses import replace
from typing import Any

import pytest
import trio

import sims.running.run
from sims.machines.machine import SimulatedMachine
from sims.machines.mesh import Mesh
from sims.model.result import Violation
from sims.model.scenario import Expectation
from sims.running.run import run
from sims.runtime.clock import STARTS_AT_S
from tests.sims.results import a_scenario


def test_the_time_of_nobody_is_that_of_a_clock_that_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meshes: list[Mesh] = []

    class Seen(Mesh):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            meshes.append(self)

    def look(_progress: object) -> None:
        (mesh,) = meshes
        right_s = mesh._wall_clock_began_s + mesh._clock.now_s - STARTS_AT_S
        wrong_s.append(time.time() - right_s)

    wrong_s: list[float] = []
    monkeypatch.setattr(sims.running.run, "Mesh", Seen)
    run(a_scenario(), 1, progress=look)
    assert wrong_s
    assert max(map(abs, wrong_s)) < 1e-6


def test_a_run_ends_with_the_violation_that_it_is_to_end_with() -> None:
    scenario = replace(a_scenario(), expect=Expectation(all_pairs_connected_by_s=0.001))
    told: list[Violation] = []

    def until(violation: Violation) -> bool:
        told.append(violation)
        return len(told) == 2

    result = run(scenario, 1, until=until)
    assert result.violations == tuple(told)
    assert [violation.check for violation in told] == ["all-pairs-connected"] * 2
    assert result.is_complete
    assert told[-1].at_s == result.virtual_s < scenario.duration_s
    assert run(scenario, 1, until=lambda _: False).virtual_s == scenario.duration_s


def test_ctrl_c_does_not_wait_for_all_that_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    async def start(machine: SimulatedMachine, _nursery: trio.Nursery) -> None:
        started.append(machine.name)
        if machine.name.startswith("pc-"):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(SimulatedMachine, "start", start)
    result = run(a_scenario(30), 1)
    assert not result.is_complete
    assert len(started) == 2
