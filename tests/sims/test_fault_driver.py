"""Faults do to machines what they say."""

import json
from pathlib import Path

from sims import Scenario, Site
from sims.model.faults import Crash, Fault, Move
from sims.model.link import LineModel, LinkModel
from sims.model.nat import NAT_KINDS
from sims.model.scenario import Machine
from sims.running.run import run

LINE = LineModel(LinkModel(latency_s=0.01), LinkModel(latency_s=0.01))


def times_of_phone(trace: Path, *faults: Fault) -> list[float]:
    """When packets left or reached the phone, which is at home, unless it moves to the café."""
    scenario = Scenario(
        name="gap",
        duration_s=30,
        sites=tuple(
            Site(name=name, line=LINE, nats=NAT_KINDS["port-restricted"].nats, machines=machines)
            for name, machines in (
                ("home", (Machine(name="phone"),)),
                ("office", (Machine(name="desk"),)),
                ("cafe", ()),
            )
        ),
        ping_every_s=0.5,
        faults=faults,
    )
    result = run(scenario, 1, trace_path=trace)
    assert result.is_ok, result.violations
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    return [
        line["at_s"]
        for line in lines
        if line["kind"] in ("sent", "received") and line["where"] == "phone"
    ]


def has_any(times_s: list[float], from_s: float, to_s: float) -> bool:
    return any(from_s < at_s < to_s for at_s in times_s)


def test_a_machine_is_nowhere_in_the_gap_of_a_move(tmp_path: Path) -> None:
    move = Move(at_s=10, target="phone", to="cafe", for_s=10, gap_s=2)
    assert move.ends_at_s == 22
    times_s = times_of_phone(tmp_path / "trace", move)
    assert has_any(times_s, 9, 10)
    assert not has_any(times_s, 10.01, 12)
    assert has_any(times_s, 12, 20)
    assert not has_any(times_s, 20.01, 22)
    assert has_any(times_s, 22, 30)


def test_who_starts_in_the_gap_has_no_network_either(tmp_path: Path) -> None:
    faults = (
        Move(at_s=10, target="phone", to="cafe", gap_s=4),
        Crash(at_s=11, target="phone", for_s=1),
    )
    times_s = times_of_phone(tmp_path / "trace", *faults)
    assert not has_any(times_s, 10.01, 14)
    assert has_any(times_s, 14, 30)
