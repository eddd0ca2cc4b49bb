"""What came of each pair of a run, from its pings and from what daemons said of it."""

from collections.abc import Callable, Mapping
from typing import Any

from sims.model.result import PairResult
from sims.model.scenario import Scenario
from sims.running.pings import PairPings, Pings


def pair_results(
    scenario: Scenario,
    pings: Pings,
    statuses: Mapping[str, Mapping[str, Any]],
    began_s: float,
    best_path: Callable[[str, str], str | None],
) -> tuple[PairResult, ...]:
    """Of every ordered pair, in the order of the scenario.

    statuses: the last of each daemon, by machine. began_s: the start of the run on the clock that
    ``pings`` have their times from.
    """
    starts_at_s = {machine.name: machine.starts_at_s for machine in scenario.machines}
    peers = {name: _peers(status) for name, status in statuses.items()}
    return tuple(
        _pair_result(
            pings.pairs[source, destination],
            peers.get(source, {}).get(destination, {}),
            began_s + max(starts_at_s[source], starts_at_s[destination]),
            best_path=best_path(source, destination),
        )
        for source, destination in scenario.pairs
    )


def _pair_result(
    pings: PairPings, peer: Mapping[str, Any], started_at_s: float, *, best_path: str | None
) -> PairResult:
    first_s = pings.first_reply_at_s
    return PairResult(
        source=pings.source,
        destination=pings.destination,
        best_path=best_path,
        path=peer.get("path"),
        reason=peer.get("reason", ""),
        first_ping_s=None if first_s is None else round(first_s - started_at_s, 6),
        sent=pings.sent,
        received=pings.received,
    )


def _peers(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By name, what a daemon said of them."""
    return {
        peer["name"]: peer
        for interface in status.get("interfaces", ())
        for peer in interface["peers"]
    }
