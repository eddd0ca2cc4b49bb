"""The grid: every ordered pair once, each held against the oracle, and what disagrees is named."""

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from rich.console import Console

from sims.many.grid import (
    FAILED,
    GRID_FIREWALLS,
    HOMES,
    NO_PATH,
    Cell,
    GridResult,
    grid_scenario,
    grid_table,
    kinds_of,
    run_grid,
)
from sims.many.swarm import Run
from sims.model.nat import GRID_KINDS
from sims.model.result import PairResult, RunResult, Violation
from sims.model.scenario import Scenario
from sims.model.scenario_check import check_scenario
from sims.oracle import DIRECT, RELAYED, best_path
from wice.peer.machine import NO_PATH_REASON

AT_ONCE = 2
TOLD = f"{NO_PATH_REASON}; NAT mapping here: x, there: y"


def result_of(
    scenario: Scenario,
    seed: int,
    path: str | None,
    reason: str = "",
    violations: tuple[Violation, ...] = (),
) -> RunResult:
    pings = 3 if path else 0
    return RunResult(
        scenario=scenario.name,
        seed=seed,
        is_complete=True,
        virtual_s=scenario.duration_s,
        real_s=0.1,
        cpu_s=0.25,
        memory_bytes=0,
        packets=0,
        events=0,
        pairs=tuple(
            PairResult(
                source=source,
                destination=destination,
                best_path="direct",
                path=path,
                reason=reason,
                first_ping_s=4.5 if path else None,
                sent=pings,
                received=pings,
            )
            for source, destination in scenario.pairs
        ),
        checks={},
        violations=violations,
        counters={},
        trace_sha256="",
    )


def as_the_oracle_says(scenario: Scenario, seed: int) -> RunResult:
    path = best_path(scenario, *HOMES)
    return result_of(scenario, seed, path, "" if path else TOLD)


def grid(
    run: Run, kinds: tuple[str, ...] = ("none", "symmetric"), ip_version: int = 4
) -> GridResult:
    told: list[Cell] = []
    result = run_grid(kinds, ip_version, AT_ONCE, run, told.append)
    assert sorted(told, key=result.cells.index) == list(result.cells)
    return result


def test_every_ordered_pair_is_tried() -> None:
    result = grid(as_the_oracle_says, GRID_KINDS)
    assert [cell.kinds for cell in result.cells] == list(product(GRID_KINDS, repeat=2))
    assert len(result.cells) == 64
    assert result.is_ok
    assert result.cpu_s == pytest.approx(64 * 0.25)
    direct = {cell.kinds for cell in result.cells if cell.seen == DIRECT}
    assert ("symmetric", "address-restricted") in direct
    assert ("symmetric", "port-restricted") not in direct
    relayed = {cell.kinds for cell in result.cells if cell.seen == RELAYED}
    assert ("symmetric", "port-restricted") in relayed
    assert {cell.kinds for cell in result.cells if cell.seen == NO_PATH} == {
        cell.kinds for cell in result.cells if "udp-blocked" in cell.kinds
    }


@pytest.mark.parametrize("ip_version", [4, 6])
def test_every_cell_is_a_scenario_that_can_be_run(ip_version: int) -> None:
    for one, other in product(kinds_of(ip_version), repeat=2):
        scenario = grid_scenario(one, other, ip_version)
        check_scenario(scenario)
        assert [machine.name for machine in scenario.machines] == list(HOMES)
        assert scenario.ip_versions == (ip_version,)


def test_where_nobody_translates_kinds_are_firewalls() -> None:
    result = grid(as_the_oracle_says, GRID_FIREWALLS, ip_version=6)
    assert {cell.kinds for cell in result.cells if cell.seen == NO_PATH} == {
        pair for pair in product(GRID_FIREWALLS, repeat=2) if "udp-blocked" in pair
    }
    assert result.is_ok


def test_each_cell_has_a_seed_of_its_own() -> None:
    def seed_of_run(scenario: Scenario, seed: int) -> RunResult:
        return result_of(scenario, seed, None, f"seed {seed}")

    result = run_grid(("none", "symmetric"), 4, AT_ONCE, seed_of_run, lambda _: None, first_seed=7)
    for cell, seed in zip(result.cells, (7, 8, 9, 10), strict=True):
        assert result.seed_of(cell) == seed
        assert f"seed {seed}" in cell.reason
    assert [pair["seed"] for pair in result.as_json()["pairs"]] == [7, 8, 9, 10]


def never_direct(scenario: Scenario, seed: int) -> RunResult:
    return result_of(scenario, seed, None, TOLD)


def always_direct(scenario: Scenario, seed: int) -> RunResult:
    return result_of(scenario, seed, "direct")


def not_met(scenario: Scenario, seed: int) -> RunResult:
    return result_of(scenario, seed, None, "looking for it in the overlay")


def connected_but_violating(scenario: Scenario, seed: int) -> RunResult:
    violation = Violation(at_s=3.0, check="replay", subject="bob", detail="took one twice")
    return result_of(scenario, seed, "direct", violations=(violation,))


def one_way(scenario: Scenario, seed: int) -> RunResult:
    result = result_of(scenario, seed, "direct")
    silent = replace(result.pairs[0], first_ping_s=None, received=0)
    return replace(result, pairs=(silent, result.pairs[1]))


def interrupted(scenario: Scenario, seed: int) -> RunResult:
    return replace(result_of(scenario, seed, "direct"), is_complete=False, virtual_s=2.0)


def dies(scenario: Scenario, seed: int) -> RunResult:
    raise RuntimeError("out of order")


def exits(scenario: Scenario, seed: int) -> RunResult:
    os._exit(3)


@pytest.mark.parametrize(
    ("run", "kinds", "seen", "reason"),
    [
        (never_direct, ("none", "none"), NO_PATH, "NAT mapping here"),
        (always_direct, ("symmetric", "symmetric"), DIRECT, "no packet gets in first"),
        (not_met, ("symmetric", "symmetric"), FAILED, "looking for it"),
        (connected_but_violating, ("none", "none"), FAILED, "replay, bob: took one twice"),
        (one_way, ("none", "none"), FAILED, "alice → bob: direct, 0 of 3 pings"),
        (interrupted, ("none", "none"), FAILED, "interrupted after 2.0 s"),
        (dies, ("none", "none"), FAILED, "out of order"),
        (exits, ("none", "none"), FAILED, "status 3"),
    ],
)
def test_a_cell_that_disagrees_says_why(
    run: Callable[[Scenario, int], RunResult], kinds: tuple[str, str], seen: str, reason: str
) -> None:
    result = grid(run)
    assert not result.is_ok
    cell = next(cell for cell in result.disagreeing if cell.kinds == kinds)
    assert cell.seen == seen
    assert reason in cell.reason
    assert f"expected: {cell.expected}" in str(cell)


def test_an_interrupted_grid_has_what_was_finished() -> None:
    def interrupt(cell: Cell) -> None:
        raise KeyboardInterrupt

    result = run_grid(GRID_KINDS, 4, 1, as_the_oracle_says, interrupt)
    assert [cell.kinds for cell in result.cells] == [("none", "none")]
    assert not result.is_complete
    assert not result.is_ok
    assert result.as_json()["is_complete"] is False


def test_the_table_has_the_first_home_on_top_and_marks_what_disagrees() -> None:
    cells = [
        Cell(("none", "none"), DIRECT, DIRECT, "", 1.25),
        Cell(("none", "symmetric"), DIRECT, NO_PATH, "why", 25.0),
        Cell(("symmetric", "none"), DIRECT, DIRECT, "", 7.0),
    ]
    console = Console(width=60)
    with console.capture() as capture:
        console.print(grid_table(("none", "symmetric"), cells))
    rows = [line.split() for line in capture.get().splitlines()]
    assert ["none", "1.2", "7.0"] in rows
    assert ["symmetric", "none!"] in rows
