"""What happened in runs, out of their traces, against what can happen."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sims.files.scenario_file import find_scenario, load_scenario
from sims.many.coverage import coverage
from sims.many.processes import run_in_processes
from sims.many.stories import (
    DAEMON_EVENT,
    DROP,
    FAULT_AT_STAGE,
    ICE_EVENT,
    OUTCOME,
    PATH,
    TRANSITION,
    Story,
    possible_stories,
    run_and_listen,
)
from sims.many.swarm import run_swarm
from sims.model.result import RunResult
from sims.model.scenario import Scenario
from sims.running.run import run as real_run
from tests.sims.results import a_result, a_scenario
from wice.datagram import Endpoint
from wice.datagram import Path as NetworkPath
from wice.ice.events import ChecksStarted, PairSelected
from wice.ice.outbox import Outbox
from wice.peer.states import TRANSITIONS, State


def names_of(group: str) -> list[str]:
    return [story.name for story in possible_stories() if story.group == group]


def test_what_is_possible_is_what_the_tables_say() -> None:
    assert len(names_of(TRANSITION)) == len(TRANSITIONS)
    assert "checking – path selected → selected" in names_of(TRANSITION)
    assert "SelectedPathDoubted" in names_of(ICE_EVENT)
    assert "OverlayLost" in names_of(DAEMON_EVENT)
    assert "checking: nat-reboot" in names_of(FAULT_AT_STAGE)
    assert not [name for name in names_of(FAULT_AT_STAGE) if name.startswith(State.REMOVED)]
    assert "no mapping of the NAT" in names_of(DROP)
    assert "srflx – relay" in names_of(PATH)
    assert names_of(OUTCOME) == [
        "direct",
        "no path, could be direct",
        "relayed",
        "no path, could be relayed",
        "no path",
        "relayed, could be direct",
    ]


def transition(machine: str, peer: str, old: str, new: str, cause: str) -> dict[str, Any]:
    return {
        "kind": "PeerTransitioned",
        "machine": machine,
        "peer": f"key-of-{peer}",
        "old": old,
        "new": new,
        "cause": cause,
    }


def fault(name: str, phase: str = "begin", **fields: Any) -> dict[str, Any]:
    return {"kind": "fault", "fault": name, "phase": phase, "planned_at_s": 1.0, **fields}


MACHINES = [
    {"kind": "machine", "machine": f"pc-{n}", "public_key": f"key-of-pc-{n}"} for n in (1, 2, 3)
]


def told(*lines: Mapping[str, Any]) -> dict[str, list[str]]:
    """By group what a run with such a trace tells."""

    def run(scenario: Scenario, seed: int, *, trace_path: Path | None = None) -> RunResult:
        assert trace_path is not None
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        trace_path.write_text(text.replace("{", '{"at_s":1.0,', 1))
        return a_result(scenario, seed, pairs=())

    _, stories = run_and_listen(a_scenario(3), 1, run)
    by_group: dict[str, list[str]] = {}
    for group, name in sorted(stories):
        by_group.setdefault(group, []).append(name)
    return by_group


def test_events_and_drops_are_stories_and_arrivals_are_not() -> None:
    stories = told(
        {"kind": "dropped", "reason": "lost on the line"},
        {"kind": "received", "where": "pc-1"},
        {"kind": "ping", "machine": "pc-1"},
        *MACHINES,
        transition("pc-1", "pc-2", "checking", "selected", "path selected"),
    )
    assert stories == {
        DROP: ["lost on the line"],
        DAEMON_EVENT: ["PeerTransitioned"],
        TRANSITION: ["checking – path selected → selected"],
    }


def test_a_fault_meets_peers_where_they_are() -> None:
    selected = transition("pc-1", "pc-2", "checking", "selected", "path selected")
    described = transition("pc-3", "pc-1", "seeking", "described", "description received")
    lines = [*MACHINES, selected, described]

    def met(*faults: Mapping[str, Any]) -> list[str]:
        return told(*lines, *faults)[FAULT_AT_STAGE]

    assert met(fault("NatReboot", target="home-2")) == [
        "seeking: nat-reboot",
        "selected: nat-reboot",
    ]
    assert met(fault("Crash", target="bootstrap-1")) == [
        "described: crash",
        "seeking: crash",
        "selected: crash",
    ]
    assert "described: partition" in met(fault("Partition", one=["home-3"], other=["home-2"]))
    moved = met(fault("Move", target="pc-1", to="home-3"), fault("AddressChange", target="home-3"))
    assert "selected: address-change" in moved
    back = met(
        fault("Move", target="pc-1", to="home-3"),
        fault("Move", "end", target="pc-1", to="home-3"),
        fault("AddressChange", target="home-3"),
    )
    assert "selected: address-change" not in back
    again = met(fault("Crash", target="pc-1"), fault("Sleep", target="pc-1"))
    assert "selected: crash" in again
    assert "selected: sleep" not in again, "a daemon that was started again knows nobody"


def test_reports_of_ice_agents_are_counted_and_still_made() -> None:
    path = NetworkPath(Endpoint("192.0.2.1", 1), None)

    def run(scenario: Scenario, seed: int, *, trace_path: Path | None = None) -> RunResult:
        assert trace_path is not None
        trace_path.touch()
        outbox = Outbox()
        outbox.report(ChecksStarted())
        outbox.report(PairSelected(path, "srflx", "host", 0.1))
        assert outbox.poll_event() == ChecksStarted()
        return a_result(scenario, seed)

    before = Outbox.report
    _, stories = run_and_listen(a_scenario(), 1, run)
    assert stories[Story(ICE_EVENT, "ChecksStarted")] == 1
    assert stories[Story(PATH, "srflx – host")] == 1
    assert stories[Story(OUTCOME, "direct")] == 2
    assert Outbox.report is before


def test_coverage_says_how_often_with_which_seed_first_and_what_never() -> None:
    lost, full = Story(DROP, "lost on the line"), Story(DROP, "the queue is full")
    groups = {group.group: group for group in coverage({7: {lost: 2}, 8: {lost: 3, full: 1}})}
    drops = groups[DROP]
    assert drops.as_json()["told"] == {
        "lost on the line": {"count": 5, "first_seed": 7},
        "the queue is full": {"count": 1, "first_seed": 8},
    }
    assert "no such address" in drops.never
    assert len(drops.never) == len(names_of(DROP)) - 2
    assert groups[TRANSITION].told == {}


def test_what_no_table_has_is_told_too() -> None:
    strange = Story(TRANSITION, "seeking – nothing → connected")
    (group,) = (each for each in coverage({1: {strange: 1}}) if each.group == TRANSITION)
    assert list(group.told) == [strange.name]


def test_a_swarm_that_listens_has_coverage() -> None:
    def listened(scenario: Scenario, seed: int) -> tuple[RunResult, dict[Story, int]]:
        return a_result(scenario, seed), {Story(DROP, "lost on the line"): seed}

    result = run_swarm(a_scenario(), 1, 3, 2, a_result, lambda _: None, listened=listened)
    report = json.loads(json.dumps(result.as_json()))
    (drops,) = (group for group in report["coverage"] if group["group"] == DROP)
    assert drops["told"] == {"lost on the line": {"count": 6, "first_seed": 1}}
    assert "stories" not in report["results"][0]
    deaf = run_swarm(a_scenario(), 1, 1, 1, a_result, lambda _: None)
    assert "coverage" not in deaf.as_json()


def test_who_listens_changes_nothing() -> None:
    scenario = replace(load_scenario(find_scenario("two-homes")), duration_s=20.0)

    def digest(is_listening: bool) -> tuple[str, int]:
        if not is_listening:
            return real_run(scenario, 1).trace_sha256, 0
        result, stories = run_and_listen(scenario, 1, real_run)
        return result.trace_sha256, stories[Story(ICE_EVENT, "PairSelected")]

    done = {each.job: each for each in run_in_processes(digest, [False, True], 2)}
    assert not any(each.failure for each in done.values()), done
    heard, unheard = done[True].value, done[False].value
    assert heard is not None
    assert unheard is not None
    assert heard[0] == unheard[0]
    assert heard[1] >= 2
