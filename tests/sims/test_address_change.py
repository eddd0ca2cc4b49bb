"""An address that changes in mid-session, where another path is left: who loses which pings."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sims.files.scenario_file import find_scenario, load_scenario
from sims.model.faults import AddressChange
from sims.model.nat import NAT_KINDS
from sims.model.scenario import Scenario
from sims.running.run import run

CHANGES_AT_S = 10.0
TOLD_AFTER_S = 0.05
"""After its addresses have changed, a machine hears of it."""
RTT_S = 0.16
PING_EVERY_S = 0.1


def dual_stack(nat: str, ip_version: int) -> Scenario:
    """The story that comes with the program, shorter and with more pings."""
    scenario = load_scenario(find_scenario("new-prefix"))
    sites = tuple(replace(site, nats=NAT_KINDS[nat].nats) for site in scenario.sites)
    change = AddressChange(at_s=CHANGES_AT_S, target=sites[0].name, ip_version=ip_version)
    return replace(
        scenario,
        duration_s=20.0,
        ping_every_s=PING_EVERY_S,
        sites=sites,
        faults=(change,),
        expect=replace(scenario.expect, healed_within_s=5.0),
    )


def lost_pings(trace: Path, before_s: float) -> Mapping[str, list[float]]:
    """By machine, when those were sent whose answer never came."""
    sent: dict[tuple[str, int], float] = {}
    for line in map(json.loads, trace.read_text().splitlines()):
        if line["kind"] == "ping":
            sent[line["machine"], line["number"]] = line["at_s"]
        elif line["kind"] == "pong":
            del sent[line["machine"], line["number"]]
    return {
        machine: [at_s for (name, _), at_s in sent.items() if name == machine and at_s < before_s]
        for machine in ("home-1", "home-2")
    }


@pytest.mark.parametrize(
    ("nat", "ip_version", "is_in_use"),
    [("port-restricted", 6, True), ("none", 4, True), ("port-restricted", 4, False)],
)
def test_where_ipv4_and_ipv6_are_paths_no_ping_is_lost_beyond_one_round_trip(
    nat: str, ip_version: int, is_in_use: bool, tmp_path: Path
) -> None:
    result = run(dual_stack(nat, ip_version), 2, trace_path=tmp_path / "trace")
    assert result.is_ok, result.violations
    lost_of = lost_pings(tmp_path / "trace", result.virtual_s - 2 * RTT_S)
    assert all(bool(lost) is is_in_use for lost in lost_of.values()), lost_of
    for machine, lost in lost_of.items():
        # What was under way when the address went is lost, there and back.
        begins_s, ends_s = CHANGES_AT_S - RTT_S, CHANGES_AT_S + TOLD_AFTER_S + RTT_S
        assert all(begins_s <= at_s <= ends_s for at_s in lost), (machine, lost)
        assert len(lost) <= 1 + (RTT_S + TOLD_AFTER_S) / PING_EVERY_S, (machine, lost)
