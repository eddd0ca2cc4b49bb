"""The grid under harder conditions: what is disturbed is a check, and the oracle holds yet."""

import json
from pathlib import Path
from typing import Any

import pytest

from sims.many.conditions import CHECKING_STEPS, CONDITIONS, DOWN_S, under
from sims.many.grid import HOMES, NO_PATH, Cell, grid_scenario, judge
from sims.oracle import DIRECT, RELAYED
from sims.running.run import run

SEED = 4


def play(
    condition: str, kinds: tuple[str, str], number: int, trace: Path, ip_version: int = 4
) -> tuple[Cell, list[dict[str, Any]]]:
    scenario = under(condition, grid_scenario(*kinds, ip_version), number)
    result = run(scenario, SEED, trace_path=trace)
    return judge(kinds, scenario, result), [*map(json.loads, trace.read_text().splitlines())]


@pytest.mark.parametrize("condition", list(CONDITIONS))
@pytest.mark.parametrize(
    ("kinds", "expected"),
    [(("port-restricted", "port-restricted"), DIRECT), (("symmetric", "port-restricted"), RELAYED)],
)
def test_the_oracle_is_right_under(
    condition: str, kinds: tuple[str, str], expected: str, tmp_path: Path
) -> None:
    cell, _ = play(condition, kinds, 5, tmp_path / "trace")
    assert cell.is_as_expected, str(cell)
    assert cell.seen == expected


@pytest.mark.parametrize(("condition", "crashed"), [("restart-one", 1), ("restart-both", 2)])
def test_restarts_hit_checks_in_progress(condition: str, crashed: int, tmp_path: Path) -> None:
    cell, lines = play(condition, ("port-restricted", "port-restricted"), 2, tmp_path / "trace")
    crashes = [line for line in lines if line.get("phase") == "begin"]
    assert sorted(crash["target"] for crash in crashes) == list(HOMES[:crashed])
    for machine in HOMES:
        states = [
            line["new"]
            for line in lines
            if line.get("machine") == machine
            and "new" in line
            and line["at_s"] < crashes[0]["at_s"]
        ]
        assert states[-1] == "checking"
    assert cell.time_s > DOWN_S


def test_under_slow_signaling_a_check_comes_before_the_credentials(tmp_path: Path) -> None:
    cell, lines = play("slow-signaling", ("none", "none"), 0, tmp_path / "trace")
    assert cell.is_as_expected, str(cell)
    early = []
    for machine, other in (HOMES, HOMES[::-1]):
        address = next(
            line["source"].rpartition(":")[0]
            for line in lines
            if line["kind"] == "sent" and line["where"] == other and line["protocol"] == "udp"
        )
        # Whom WireGuard's handshake reached was connected before it was told anything.
        described_s = next(
            line["at_s"]
            for line in lines
            if line.get("machine") == machine
            and line.get("cause") in ("description received", "path selected")
        )
        early += [
            line
            for line in lines
            if line["kind"] == "received"
            and line["where"] == machine
            and line["protocol"] == "udp"
            and line["source"].rpartition(":")[0] == address
            and line["at_s"] < described_s
        ]
    assert early


def test_crashes_take_turns_in_when_they_come() -> None:
    """Cells of one run of the grid disturb checks at all stages of them."""
    kinds = ("none", "none")
    scenarios = [under("restart-one", grid_scenario(*kinds, 4), n) for n in range(CHECKING_STEPS)]
    assert len({scenario.faults[0].at_s for scenario in scenarios}) == CHECKING_STEPS


@pytest.mark.parametrize(
    ("kinds", "ip_version", "seen"),
    [
        (("symmetric", "port-restricted"), 4, NO_PATH),
        (("stateful", "stateful"), 6, DIRECT),
    ],
)
def test_without_a_relay_who_cannot_be_direct_has_no_path(
    kinds: tuple[str, str], ip_version: int, seen: str
) -> None:
    scenario = grid_scenario(*kinds, ip_version, has_relay=False)
    cell = judge(kinds, scenario, run(scenario, SEED))
    assert cell.is_as_expected, str(cell)
    assert cell.seen == seen


def test_ipv6_through_firewalls_under_loss(tmp_path: Path) -> None:
    cell, _ = play("loss", ("stateful", "stateful"), 1, tmp_path / "trace", ip_version=6)
    assert (cell.seen, cell.is_as_expected) == (DIRECT, True), str(cell)
