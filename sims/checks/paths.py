"""WireGuard goes where ICE says, and ICE says only what was proved."""

import math
from typing import Final

from sims.checks.check import Check
from sims.checks.findings import Findings, pair_name
from sims.checks.names import Names
from sims.checks.quiet import Quiet
from sims.checks.snapshot import PeerView, Snapshot
from sims.packet import Packet, PacketEvent, Protocol
from sims.world import World
from wice.datagram import Endpoint
from wice.events import Event, PeerTransitioned
from wice.peer.states import Stimulus

PROVED_WITHIN_S: Final = 2.0
"""A path is selected because of a packet that came along it; how long ago at most."""

SWITCHES_WITHIN_S: Final = 5.0
"""How long packets may still go to the endpoint that was selected before."""

ROAMS_BACK_AFTER_S: Final = 180.0
"""WireGuard may answer to where an authenticated packet came from, for a session's lifetime."""

ROAMED_MAX_S: Final = 40.0
"""How long WireGuard's endpoint may be another than ICE's in a network where nothing happens:
consent (RFC 7675) on the path that is gone takes 30 s to expire, and a look 5 s."""

UNHEARD_MAX_S: Final = 50.0
"""How long a peer may be called connected of whom nothing is heard: consent (RFC 7675) takes 30 s
to expire, what WireGuard heard last puts that off by 15 s, and a look comes every 5 s."""

HEARD_MAX: Final = 16_384
"""Endpoints that are remembered of all machines together."""

_WIREGUARD_TYPES: Final = tuple(bytes((kind, 0, 0, 0)) for kind in (1, 2, 3, 4))

_Spot = tuple[str, Endpoint]
"""A machine, and an endpoint as it sees it."""


class Heard:
    """When each machine last got a datagram from an endpoint, and one of WireGuard's."""

    def __init__(self) -> None:
        self._datagram_at_s: dict[_Spot, float] = {}
        self._wireguard_at_s: dict[_Spot, float] = {}

    def received(self, machine: str, packet: Packet, now_s: float) -> None:
        spot = (machine, packet.source)
        self._datagram_at_s[spot] = now_s
        if packet.payload.startswith(_WIREGUARD_TYPES):
            self._wireguard_at_s[spot] = now_s
        if len(self._datagram_at_s) > HEARD_MAX:
            self._datagram_at_s = _later_half(self._datagram_at_s)
            self._wireguard_at_s = _later_half(self._wireguard_at_s)

    def age_s(self, machine: str, source: Endpoint, now_s: float) -> float:
        """Seconds since the last datagram; infinite for none."""
        return now_s - self._datagram_at_s.get((machine, source), -math.inf)

    def wireguard_age_s(self, machine: str, source: Endpoint, now_s: float) -> float:
        return now_s - self._wireguard_at_s.get((machine, source), -math.inf)


class ProvedPaths(Check):
    """A switch never goes to a dead path: along what a machine selects something just came."""

    name = "proved-paths"

    def __init__(self, world: World, quiet: Quiet, findings: Findings, heard: Heard) -> None:
        super().__init__(world, quiet, findings)
        self._heard = heard
        self._names = Names(world)

    def on_event(self, machine: str, event: Event) -> None:
        selected = selected_endpoint(event)
        if selected is None or not isinstance(event, PeerTransitioned):
            return
        now_s = self.world.now_s
        if self.quiet.has_just_woken(machine, PROVED_WITHIN_S):
            # What came before it fell asleep is read when it wakes.
            return
        self.looked()
        age_s = self._heard.age_s(machine, selected, now_s)
        if age_s > PROVED_WITHIN_S:
            when = "nothing ever came" if math.isinf(age_s) else f"the last came {age_s:.1f} s ago"
            self.violation(
                pair_name(machine, self._names.of(event.peer)),
                f"selected the path to {selected}, from where {when}; a path is selected because "
                "of what came along it",
            )


class Destinations(Check):
    """Every packet of WireGuard goes to a path that ICE selected, or back where one came from."""

    name = "wireguard-destinations"

    def __init__(self, world: World, quiet: Quiet, findings: Findings, heard: Heard) -> None:
        super().__init__(world, quiet, findings)
        self._heard = heard
        self._names = Names(world)
        self._selected: dict[tuple[str, str], Endpoint] = {}
        self._allowed_until_s: dict[_Spot, float] = {}

    def on_event(self, machine: str, event: Event) -> None:
        selected = selected_endpoint(event)
        if selected is None or not isinstance(event, PeerTransitioned):
            return
        pair = (machine, self._names.of(event.peer))
        replaced = self._selected.get(pair)
        self._selected[pair] = selected
        if replaced is not None and replaced != selected:
            self._allowed_until_s[machine, replaced] = self.world.now_s + SWITCHES_WITHIN_S
        self._allowed_until_s[machine, selected] = math.inf

    def sent(self, machine: str, packet: Packet, now_s: float) -> None:
        """A UDP packet left ``machine``."""
        if not packet.payload.startswith(_WIREGUARD_TYPES):
            return
        self.looked()
        destination = packet.destination
        if self._allowed_until_s.get((machine, destination), -math.inf) >= now_s:
            return
        if self._heard.wireguard_age_s(machine, destination, now_s) > ROAMS_BACK_AFTER_S:
            selected = [
                f"{endpoint} for {peer}"
                for (here, peer), endpoint in self._selected.items()
                if here == machine
            ]
            self.violation(
                machine,
                f"WireGuard sent to {destination}, which ICE had not selected and nothing of "
                f"WireGuard's came from; selected: {', '.join(selected) or 'nothing'}",
            )


class Endpoints(Check):
    """In a quiet network WireGuard's endpoint is the selected path, whoever roamed before."""

    name = "endpoint-is-selected"

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        super().__init__(world, quiet, findings)
        self._differ_since_s: dict[tuple[str, str], float] = {}

    def look(self, snapshot: Snapshot) -> None:
        now_s = self.world.now_s
        for view in snapshot.peers():
            pair = (view.machine, view.peer)
            quiet_since_s = self.quiet.paths_since_s(*pair)
            endpoint, selected = view.status["endpoint"], view.status["selected"]
            if quiet_since_s is None or None in (endpoint, selected):
                self._differ_since_s.pop(pair, None)
                continue
            self.looked()
            if endpoint == selected:
                self._differ_since_s.pop(pair, None)
                continue
            since_s = max(self._differ_since_s.setdefault(pair, now_s), quiet_since_s)
            if now_s - since_s > ROAMED_MAX_S:
                self.violation(
                    pair_name(*pair),
                    f"WireGuard sends to {endpoint} and ICE selected {selected}, for "
                    f"{now_s - since_s:.0f} s in a quiet network; they should be one after "
                    f"{ROAMED_MAX_S:g} s",
                )


class Liveness(Check):
    """Who is called connected was heard of late, be the network quiet or not."""

    name = "connected-are-heard"

    def __init__(self, world: World, quiet: Quiet, findings: Findings, heard: Heard) -> None:
        super().__init__(world, quiet, findings)
        self._heard = heard

    def look(self, snapshot: Snapshot) -> None:
        for view in snapshot.peers():
            if not view.is_connected or self.quiet.has_just_woken(view.machine, UNHEARD_MAX_S):
                continue
            age_s = self._age_s(view)
            if math.isinf(age_s):
                # That something must have come along a path is said when it is selected.
                continue
            self.looked()
            if age_s > UNHEARD_MAX_S:
                self.violation(
                    pair_name(view.machine, view.peer),
                    f"is called connected, but nothing came from {view.status['endpoint']} for "
                    f"{age_s:.0f} s; a path that is not answered for {UNHEARD_MAX_S:g} s is lost",
                )

    def _age_s(self, view: PeerView) -> float:
        """Since the last datagram along ICE's path, or WireGuard's if that is another."""
        ends = (view.status["selected"], view.status["endpoint"])
        return min(
            (
                self._heard.age_s(view.machine, Endpoint.parse(end), self.world.now_s)
                for end in ends
                if end is not None
            ),
            default=math.inf,
        )


class Paths:
    """The checks that share what was heard on the wire."""

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        self._world = world
        self._heard = Heard()
        self._destinations = Destinations(world, quiet, findings, self._heard)
        self.checks: tuple[Check, ...] = (
            ProvedPaths(world, quiet, findings, self._heard),
            self._destinations,
            Endpoints(world, quiet, findings),
            Liveness(world, quiet, findings, self._heard),
        )

    def on_packet(self, event: PacketEvent) -> None:
        if event.packet.protocol is not Protocol.UDP:
            return
        if event.what == "received":
            self._heard.received(event.where, event.packet, self._world.now_s)
        elif event.what == "sent":
            self._destinations.sent(event.where, event.packet, self._world.now_s)


def selected_endpoint(event: Event) -> Endpoint | None:
    """Where a path leads that was just selected; None for any other event."""
    if isinstance(event, PeerTransitioned) and event.cause == str(Stimulus.PATH_SELECTED):
        return Endpoint.parse(event.detail)
    return None


def _later_half(at_s: dict[_Spot, float]) -> dict[_Spot, float]:
    by_time = sorted(at_s.items(), key=lambda item: item[1])
    return dict(by_time[len(by_time) // 2 :])
