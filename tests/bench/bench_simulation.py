"""Whole meshes of real daemons in virtual time: how fast, how many seeds, what they cost.

Each run has a process of its own, forked from one that has imported everything. Run as
``python -m tests.bench simulation``.
"""

import time
from collections.abc import Iterator

from sims import Machine, Scenario, Site
from sims.files.scenario_file import find_scenario, load_scenario
from sims.many.grid import kinds_of, run_grid
from sims.many.processes import preload, processors, run_in_processes
from sims.many.swarm import run_swarm
from sims.model.nat import NAT_KINDS
from sims.model.presets import LINE_PRESETS
from sims.model.result import RunResult
from sims.running.run import run
from tests.bench.report import Goal, Row

ROUNDS = 3
DURATION_S = 60.0
PEERS_EACH_MAX = 10
"""From where on a full mesh is no longer what people build."""
FULL_MESH_MAX = 20
SIZES = (2, 5, 20, 50)
SPEED_GOALS = {5: Goal(100, is_least=True), 20: Goal(10, is_least=True)}
GRID_GOAL = Goal(60)
SWARM_SEEDS = 100
SEEDS_GOAL = Goal(200, is_least=True)
NATS = ("port-restricted", "full-cone", "none", "address-restricted", "cgnat")


def mesh_scenario(daemons: int) -> Scenario:
    """Homes behind NATs of several kinds, all of which can reach each other, and no faults."""
    return Scenario(
        name=f"{daemons}-daemons",
        duration_s=DURATION_S,
        peers_each_max=None if daemons <= FULL_MESH_MAX else PEERS_EACH_MAX,
        sites=tuple(
            Site(
                name=f"home-{number}",
                line=LINE_PRESETS["fibre"],
                nats=NAT_KINDS[NATS[number % len(NATS)]].nats,
                machines=(Machine(name=f"machine-{number}"),),
            )
            for number in range(1, daemons + 1)
        ),
    )


def rows() -> Iterator[Row]:
    preload()
    yield from _mesh_rows()
    yield from _grid_rows()
    yield from _swarm_rows()


def _mesh_rows() -> Iterator[Row]:
    for daemons in SIZES:
        results = _runs(mesh_scenario(daemons), ROUNDS if daemons < 50 else 1)
        prefix = f"{daemons} daemons, {DURATION_S:g} s"
        assert all(result.is_ok for result in results), results[0].violations
        last_s = [max(pair.first_ping_s or 0.0 for pair in result.pairs) for result in results]
        speeds = [result.virtual_s / result.real_s for result in results]
        note = f"{len(results[0].pairs)} ordered pairs, {results[0].packets} packets"
        yield Row(
            "simulation", f"{prefix}: speed", "× real", speeds, SPEED_GOALS.get(daemons), note
        )
        yield Row("simulation", f"{prefix}: CPU", "s", [result.cpu_s for result in results])
        memory_mb = [result.memory_bytes / 1e6 for result in results]
        yield Row("simulation", f"{prefix}: memory", "MB", memory_mb)
        yield Row("simulation", f"{prefix}: last first ping, virtual", "s", last_s)


def _runs(scenario: Scenario, rounds: int) -> list[RunResult]:
    def work(seed: int) -> RunResult:
        return run(scenario, seed)

    results = []
    for finished in run_in_processes(work, range(1, rounds + 1), 1):
        assert finished.value is not None, finished.failure
        results.append(finished.value)
    return results


def _grid_rows() -> Iterator[Row]:
    result = run_grid(kinds_of(4), 4, processors(), run, lambda _cell: None)
    assert result.is_ok, result.disagreeing
    note = f"{len(result.cells)} ordered pairs, all as the oracle says; {result.real_s:.0f} s real"
    yield Row("simulation", "IPv4 grid: CPU", "s", [result.cpu_s], GRID_GOAL, note)


def _swarm_rows() -> Iterator[Row]:
    """Five daemons: without faults, and the swarm that ships."""
    for name, scenario, goal in (
        ("5 daemons, 60 s, no faults", mesh_scenario(5), SEEDS_GOAL),
        ("the swarm scenario", load_scenario(find_scenario("swarm")), None),
    ):
        began_s = time.monotonic()
        result = run_swarm(scenario, 1, SWARM_SEEDS, processors(), run, lambda _seed: None)
        real_s = time.monotonic() - began_s
        assert result.is_ok, [seed.seed for seed in result.failed]
        note = f"{SWARM_SEEDS} seeds in {real_s:.0f} s real, {processors()} at a time"
        seeds_a_minute = SWARM_SEEDS / (result.cpu_s / 60)
        yield Row("simulation", f"{name}: seeds a CPU-minute", "", [seeds_a_minute], goal, note)
