"""Pairs of NAT kinds connect where NAT theory says that they can, and say so where they cannot."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest
import trio
from rich.console import Console

from sims.lab.grid import expected_of, kinds_of, run_pair
from sims.lab.nat import NAT_KINDS
from sims.lab.topology import IpVersions
from sims.many.grid import DIRECT, FAILED, NO_PATH, RELAYED, Cell, grid_table
from sims.many.grid import run_grid as run_simulated_grid
from sims.many.processes import preload, processors
from sims.running.run import run

HANG_S = 900.0


@pytest.mark.root
@pytest.mark.parametrize(
    ("kinds", "ip", "has_relay", "expected"),
    [
        (("symmetric", "address-restricted"), IpVersions.V4, True, DIRECT),
        (("full-cone", "cgnat"), IpVersions.V4, False, DIRECT),
        (("symmetric", "port-restricted"), IpVersions.V4, True, RELAYED),
        (("symmetric", "port-restricted"), IpVersions.V4, False, NO_PATH),
        (("cgnat", "port-restricted"), IpVersions.V6, True, DIRECT),
    ],
)
def test_a_pair_is_as_nat_theory_and_the_simulator_have_it(
    short_labs: Path, kinds: tuple[str, str], ip: IpVersions, has_relay: bool, expected: str
) -> None:
    cell = trio.run(partial(run_pair, kinds, ip, labs=short_labs, has_relay=has_relay))
    assert cell.seen == cell.expected == expected, str(cell)
    if ip is IpVersions.V4:
        simulated = simulate(kinds)
        is_direct = cell.seen == DIRECT
        assert (simulated[kinds] == DIRECT) is (simulated[kinds[::-1]] == DIRECT) is is_direct


def simulate(kinds: Sequence[str]) -> dict[tuple[str, str], str]:
    """What the simulator sees of each ordered pair of them."""
    preload()
    result = run_simulated_grid(kinds, 4, processors(), run, tell=lambda _: None)
    assert result.is_complete
    return {cell.kinds: cell.seen for cell in result.cells}


@pytest.mark.root
@pytest.mark.nightly
@pytest.mark.parametrize("ip", list(IpVersions))
@pytest.mark.parametrize("has_relay", [True, False])
def test_every_pair_is_as_nat_theory_has_it(
    short_labs: Path, ip: IpVersions, has_relay: bool
) -> None:
    relay = "--relay" if has_relay else "--no-relay"
    argv = [sys.executable, "-m", "wice", "demo", "--grid", "--json", "--ip", str(ip), relay]
    environment = {**os.environ, "WICE_LABS": str(short_labs)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["as_expected"] is True
    seen = {tuple(pair["nat"]): pair["seen"] for pair in report["pairs"]}
    for one, other in combinations_with_replacement(kinds_of(ip), 2):
        nats = (NAT_KINDS[one], NAT_KINDS[other])
        assert seen[one, other] == expected_of(*nats, ip, has_relay=has_relay)
    assert list(short_labs.iterdir()) == []
    if ip is IpVersions.V4:
        # Homes behind the lab's hairpin share it, those of the simulator's grid have one each.
        kinds = [kind for kind in kinds_of(ip) if kind != "hairpin"]
        simulated = simulate(kinds)
        for one, other in combinations_with_replacement(kinds, 2):
            is_direct = seen[one, other] == DIRECT
            assert (simulated[one, other] == DIRECT) is is_direct
            assert (simulated[other, one] == DIRECT) is is_direct


def test_the_grid_marks_what_is_not_as_expected() -> None:
    cells = [
        Cell(("none", "none"), DIRECT, DIRECT, "", 1.25),
        Cell(("none", "symmetric"), DIRECT, NO_PATH, "why", 9.0),
        Cell(("symmetric", "symmetric"), NO_PATH, FAILED, "a daemon died", 0.0),
        Cell(("symmetric", "cgnat"), RELAYED, RELAYED, "", 2.5),
    ]
    console = Console(width=60)
    with console.capture() as capture:
        console.print(grid_table(("none", "symmetric", "cgnat"), cells))
    rows = [line.split() for line in capture.get().splitlines()]
    assert ["none", "1.2"] in rows
    assert ["symmetric", "none!", "FAILED!"] in rows
    assert ["cgnat", "2.5r"] in rows
    assert [cell.is_as_expected for cell in cells] == [True, False, False, True]
    assert "expected: direct" in str(cells[1])
