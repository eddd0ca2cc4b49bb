"""Results of runs that never were, for what shows and counts them."""

from dataclasses import replace
from typing import Any

from sims.model.link import LineModel
from sims.model.result import PairResult, RunResult, Violation
from sims.model.scenario import LAN, Machine, Scenario, Site


def a_scenario(machines: int = 2) -> Scenario:
    sites = tuple(
        Site(name=f"home-{n}", line=LineModel(LAN, LAN), machines=(Machine(name=f"pc-{n}"),))
        for n in range(1, machines + 1)
    )
    return Scenario(name="homes", duration_s=30.0, sites=sites)


def a_pair(source: str, destination: str, **changes: Any) -> PairResult:
    pair = PairResult(
        source=source,
        destination=destination,
        best_path="direct",
        path="direct",
        reason="",
        first_ping_s=1.25,
        sent=10,
        received=10,
    )
    return replace(pair, **changes)


def a_violation(at_s: float = 12.5, subject: str = "pc-1 to pc-2") -> Violation:
    return Violation(at_s=at_s, check="connected", subject=subject, detail="no ping since 3 s")


def a_result(scenario: Scenario | None = None, seed: int = 1, **changes: Any) -> RunResult:
    result = RunResult(
        scenario="homes",
        seed=seed,
        is_complete=True,
        virtual_s=30.0,
        real_s=0.5,
        cpu_s=0.4,
        memory_bytes=100 * 2**20,
        packets=1_234,
        events=56,
        pairs=tuple(a_pair(*pair) for pair in (scenario or a_scenario()).pairs),
        checks={"no-replay": 7, "task-alive": 0},
        violations=(),
        counters={"PeerFound": 2},
        trace_sha256=f"{seed:064x}",
    )
    return replace(result, **changes)
