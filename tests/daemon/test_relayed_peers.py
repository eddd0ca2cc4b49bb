"""Whole daemons that reach each other through their community's relay, on a simulated internet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio

import sims.machines.machine
import wice.daemon.daemon
import wice.daemon.relay
from sims.model.faults import Crash, Fault, Sleep, Stop
from sims.model.link import LineModel
from sims.model.nat import NAT_KINDS
from sims.model.result import RunResult
from sims.model.scenario import LAN, Machine, Scenario, Site
from sims.running.progress import Progress
from sims.running.run import run
from sims.runtime.clock import STARTS_AT_S
from wice.config import Config, load_config
from wice.daemon.interfaces import Interfaces
from wice.daemon.network import CLOCK_LOOK_S
from wice.daemon.relay import LOAN_LIFETIME_S, REALM, CommunityRelay
from wice.ice import CandidatePolicy
from wice.stun import Account, LongTermCredentials, StaticAccounts, TurnURI
from wice.turn import Budgets, RestAccounts
from wice.turn_config import TurnServerConfig

FIRST_PING_S = 2.0
DURATION_S = 120.0


@dataclass
class Seen:
    """What the daemons of a run held. relays: of every boot of the bootstrap node. statuses: what
    each interface said last of the relays it uses.
    """

    relays: list[CommunityRelay] = field(default_factory=list)
    interfaces: list[Interfaces] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    woken_at_s: list[float] = field(default_factory=list)

    def counters(self, boot: int = -1) -> Mapping[str, int]:
        return self.relays[boot]._server.counts

    def look(self, _: Progress) -> None:
        used = [relays for interfaces in self.interfaces for relays in interfaces.relays]
        self.statuses = [status for relays in used for status in relays.status()]


Play = Callable[..., tuple[RunResult, Seen]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Run two homes of a NAT kind each, with a bootstrap node that relays."""
    seen = Seen()

    class SeenRelay(CommunityRelay):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            seen.relays.append(self)

    class SeenInterfaces(Interfaces):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            seen.interfaces.append(self)

        def _host_slept(self) -> None:
            super()._host_slept()
            seen.woken_at_s.append(trio.current_time())

    def play(
        kinds: tuple[str, str],
        *faults: Fault,
        candidates: CandidatePolicy = CandidatePolicy.ALL,
        uses_relays: bool = True,
        own_credentials: LongTermCredentials | None = None,
        budgets: Budgets | None = None,
    ) -> tuple[RunResult, Seen]:
        def load(path: Path) -> Config:
            config = load_config(path)
            relay = replace(
                config.relay,
                is_enabled=not config.interfaces,
                budgets=budgets or config.relay.budgets,
            )
            turn: tuple[TurnServerConfig, ...] = ()
            if own_credentials is not None and config.interfaces:
                host = config.overlay["bootstrap"][0].split("/")[2]
                turn = (TurnServerConfig(TurnURI(host), own_credentials),)
            ice = replace(config.ice, candidates=candidates, relays=uses_relays, turn=turn)
            return replace(config, relay=relay, ice=ice)

        monkeypatch.setattr(sims.machines.machine, "load_config", load)
        return run(_homes(kinds, faults), 1, progress=seen.look), seen

    monkeypatch.setattr(wice.daemon.daemon, "CommunityRelay", SeenRelay)
    monkeypatch.setattr(wice.daemon.daemon, "Interfaces", SeenInterfaces)
    return play


def _homes(kinds: tuple[str, str], faults: tuple[Fault, ...]) -> Scenario:
    sites = tuple(
        Site(
            name=f"home-of-{name}",
            line=LineModel(LAN, LAN),
            nats=NAT_KINDS[kind].nats,
            machines=(Machine(name=name),),
        )
        for name, kind in zip(("alice", "bob"), kinds, strict=True)
    )
    return Scenario(
        name="relayed",
        duration_s=DURATION_S,
        sites=sites,
        faults=faults,
        ping_every_s=1.0,
    )


def test_two_nats_that_map_per_destination_are_no_obstacle(play: Play) -> None:
    result, _ = play(("symmetric", "symmetric"))
    for pair in result.pairs:
        assert (pair.path, pair.reason) == ("relayed", "")
        assert pair.first_ping_s is not None
        assert pair.first_ping_s < FIRST_PING_S
        assert pair.received == pair.sent


def test_who_tells_relays_alone_is_reached_through_them(play: Play) -> None:
    result, seen = play(("full-cone", "full-cone"), candidates=CandidatePolicy.RELAY)
    assert [pair.path for pair in result.pairs] == ["relayed"] * 2
    assert all(pair.received == pair.sent for pair in result.pairs)
    # From relay to relay nothing leaves the node.
    assert "data relayed to peers" not in seen.counters()


def test_a_direct_path_is_preferred_and_the_relay_left_alone(play: Play) -> None:
    result, seen = play(("full-cone", "full-cone"))
    assert [pair.path for pair in result.pairs] == ["direct"] * 2
    assert [len(status["relayed"]) for status in seen.statuses] == [1, 1]
    assert "channel_bind" not in seen.counters(), "no data of WireGuard's came to it"


def test_who_wants_no_relays_has_none(play: Play) -> None:
    result, seen = play(("symmetric", "symmetric"), uses_relays=False)
    for pair in result.pairs:
        assert pair.path is None
        assert pair.reason.endswith("no relay here or there")
    assert "allocate" not in seen.counters()


def test_a_relay_of_ones_own_needs_none_of_the_community(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = StaticAccounts({"alice": "secret"}, REALM)
    monkeypatch.setattr(wice.daemon.relay, "RestAccounts", lambda *_: accounts)
    result, _ = play(
        ("symmetric", "symmetric"),
        uses_relays=False,
        own_credentials=LongTermCredentials("alice", "secret"),
    )
    assert [pair.path for pair in result.pairs] == ["relayed"] * 2
    assert all(pair.received == pair.sent for pair in result.pairs)


def test_a_relay_that_comes_back_is_used_again(play: Play) -> None:
    """Its secret is another one then, and its loans are not good any more."""
    result, seen = play(
        ("symmetric", "symmetric"), Crash(at_s=30.0, target="bootstrap-1", for_s=10.0)
    )
    assert len(seen.relays) == 2
    for pair in result.pairs:
        assert pair.path == "relayed"
        assert pair.sent - pair.received < 40


def test_a_relay_that_takes_its_loans_no_longer_is_borrowed_from_again(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked_after_s = 40.0

    class Revoking(RestAccounts):
        def __init__(self, secret: bytes, wall_time: Callable[[], float]) -> None:
            super().__init__(secret, wall_time)
            self._time, self._began_at_s = wall_time, wall_time()

        def find(self, username: str) -> Account | None:
            lent_at_s = int(username.partition(":")[0]) - LOAN_LIFETIME_S
            revoked_at_s = self._began_at_s + revoked_after_s
            if lent_at_s < revoked_at_s < self._time():
                return None
            return super().find(username)

    monkeypatch.setattr(wice.daemon.relay, "RestAccounts", Revoking)
    result, seen = play(("symmetric", "symmetric"))
    assert all(pair.received == pair.sent for pair in result.pairs)
    assert [(status["state"], status["reason"]) for status in seen.statuses] == [
        ("allocated", "")
    ] * 2
    assert seen.counters()["allocate"] == 2
    assert 4 <= seen.counters()["error 401"] < 12


def test_a_relay_that_stays_away_is_told_as_the_reason(play: Play) -> None:
    result, seen = play(("symmetric", "symmetric"), Crash(at_s=30.0, target="bootstrap-1"))
    for pair in result.pairs:
        assert pair.path is None
        assert pair.reason
    for status in seen.statuses:
        assert status["relayed"] == []
        assert status["reason"] == "the server does not answer"
    assert len(seen.statuses) == 2


def test_who_is_stopped_gives_its_allocation_back(play: Play) -> None:
    """Not so who crashes: then the next one has to end it first (437), or it counts for long."""
    for fault, is_given_back in ((Stop, True), (Crash, False)):
        _, seen = play(("symmetric", "symmetric"), fault(at_s=30.0, target="alice", for_s=5.0))
        counters = seen.counters()
        assert counters["allocations ended"] == 1
        assert ("error 437" not in counters) is is_given_back


def test_a_member_gets_no_further_than_its_budget(play: Play) -> None:
    result, seen = play(("symmetric", "symmetric"), budgets=Budgets(bytes_per_day_per_user=20_000))
    assert all(0 < pair.received < pair.sent / 2 for pair in result.pairs)
    assert seen.counters()["over the day's bytes of a user"] > 0


def test_who_wakes_up_looks_at_its_network_and_is_reached_at_once(play: Play) -> None:
    result, seen = play(("symmetric", "symmetric"), Sleep(at_s=30.0, target="alice", for_s=60.0))
    (asleep,) = (pair for pair in result.pairs if pair.source == "alice")
    assert asleep.path == "relayed"
    assert asleep.sent - asleep.received < 5
    (woken_at_s,) = seen.woken_at_s
    assert 90.0 <= woken_at_s - STARTS_AT_S <= 90.0 + CLOCK_LOOK_S
