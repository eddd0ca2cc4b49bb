"""Every pair of NAT kinds, each in a lab of its own, held against what NAT theory expects."""

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, Final

import trio

from sims.lab.demo import Demo
from sims.lab.display import SilentDisplay
from sims.lab.lab import open_lab
from sims.lab.link import PLAIN, Link
from sims.lab.nat import NAT_KINDS, Nat
from sims.lab.progress import Stage
from sims.lab.registry import LABS_DIRECTORY
from sims.lab.report import Report
from sims.lab.topology import IpVersions, Topology, sites_of
from sims.many.grid import DIRECT, FAILED, HOMES, NO_PATH, RELAYED, Cell
from sims.oracle import STATEFUL, Level, Side, can_punch
from wice.peer.machine import NO_PATH_REASON

LABS_AT_ONCE_MAX: Final = 3
"""A lab without a way to punch mostly waits; one that starts keeps a processor busy."""
PAIR_TIMEOUT_S: Final = 60.0

NO_PATH_TIMEOUT_S: Final = 15.0
"""Within this time after both have joined they say that they have no path."""

KINDS_IPV6: Final = ("none", "port-restricted", "cgnat", "udp-blocked")
"""Where nobody translates, other kinds do nothing that these do not."""


def can_be_direct(one: Nat, other: Nat, ip: IpVersions = IpVersions.V4) -> bool:
    """Whether UDP can pass both ways between two homes without a relay."""
    if not (one.passes_udp and other.passes_udp):
        return False
    sides = (one, other)
    return (6 in ip.versions and can_punch(*(_side_ipv6(nat) for nat in sides))) or (
        4 in ip.versions and can_punch(*(_side_ipv4(nat) for nat in sides))
    )


def _side_ipv4(nat: Nat) -> Side:
    return Side((Level(nat.mapping, nat.filtering),))


def _side_ipv6(nat: Nat) -> Side:
    return Side((STATEFUL,) * len(nat.routers))


def kinds_of(ip: IpVersions) -> tuple[str, ...]:
    """The kinds that differ on such an internet."""
    return tuple(NAT_KINDS) if 4 in ip.versions else KINDS_IPV6


def expected_of(one: Nat, other: Nat, ip: IpVersions, *, has_relay: bool) -> str:
    """What NAT theory has two homes come to."""
    if can_be_direct(one, other, ip):
        return DIRECT
    return RELAYED if has_relay and one.passes_udp and other.passes_udp else NO_PATH


async def run_grid(
    ip: IpVersions, link: Link, tell: Callable[[Cell], None], *, has_relay: bool = True
) -> list[Cell]:
    """Run every pair, some at once, and ``tell`` each when it is known."""
    cells: dict[tuple[str, str], Cell] = {}
    places = trio.CapacityLimiter(LABS_AT_ONCE_MAX)
    pairs = list(combinations_with_replacement(kinds_of(ip), 2))

    async def run_one(pair: tuple[str, str]) -> None:
        async with places:
            cells[pair] = await run_pair(pair, ip, link, has_relay=has_relay)
        tell(cells[pair])

    async with trio.open_nursery() as nursery:
        for pair in pairs:
            nursery.start_soon(run_one, pair)
    return [cells[pair] for pair in pairs]


async def run_pair(
    kinds: tuple[str, str],
    ip: IpVersions,
    link: Link = PLAIN,
    labs: Path = LABS_DIRECTORY,
    *,
    has_relay: bool = True,
) -> Cell:
    """Connect two homes of these kinds in a lab of their own."""
    one, other = (NAT_KINDS[kind] for kind in kinds)
    expected = expected_of(one, other, ip, has_relay=has_relay)
    topology = Topology(sites_of(dict(zip(HOMES, (one, other), strict=True))), ip=ip, link=link)
    with open_lab(topology, labs) as lab:
        demo = Demo(
            lab=lab,
            display=SilentDisplay(),
            bootstrap=topology.bootstraps[0],
            homes=HOMES,
            timeout_s=PAIR_TIMEOUT_S,
            has_relay=has_relay,
        )
        report = await demo.run()
    seen, reason = _judge(report)
    return Cell(kinds, expected, seen, reason, report.settled_s)


def _judge(report: Report) -> tuple[str, str]:
    """What came of a pair, and why."""
    paths = {pair.path for pair in report.pairs}
    if report.is_connected and paths in ({"direct"}, {"relayed"}):
        return (DIRECT if paths == {"direct"} else RELAYED), ""
    reasons = [pair.reason for pair in report.pairs]
    if not any(paths) and all(reason.startswith(NO_PATH_REASON) for reason in reasons):
        joined_s = max(reached[Stage.JOINED] for reached in report.stages.values())
        if report.settled_s - joined_s > NO_PATH_TIMEOUT_S:
            return FAILED, f"said only {report.settled_s - joined_s:.1f} s after joining"
        return NO_PATH, reasons[0].removeprefix(NO_PATH_REASON).lstrip(":; ")
    return FAILED, "; ".join(report.problems)


def cells_as_json(ip: IpVersions, cells: Sequence[Cell]) -> dict[str, Any]:
    """The object that ``wice demo --grid --json`` prints."""
    return {
        "ip": str(ip),
        "as_expected": all(cell.is_as_expected for cell in cells),
        "pairs": [cell.as_json() for cell in cells],
    }
