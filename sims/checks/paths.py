"""WireGuard goes where ICE says, and ICE says only what was proved."""

import math
from typing import Final, NamedTuple

from sims.checks.check import Check
from sims.checks.findings import Findings, pair_name
from sims.checks.names import Names
from sims.checks.quiet import Quiet
from sims.checks.relayed import COOKIE, STUN_COOKIE, TRANSACTION, Said, Way
from sims.checks.snapshot import PeerView, Snapshot
from sims.model.world import World
from wice.datagram import Endpoint
from wice.events import Event, PeerTransitioned
from wice.keys import PublicKey
from wice.peer.machine import HANDSHAKE_WITHHELD_S
from wice.peer.states import State, Stimulus

CAME_WITHIN_S: Final = 2.0
"""A path is selected because of a packet that came along it; how long ago at most."""

PROVED_WITHIN_S: Final = 30.0
"""How long an answer to a check proves the path: as long as consent lasts (RFC 7675). Then a
nomination by the other side selects it, which is itself the packet that came."""

SWITCHES_WITHIN_S: Final = 5.0
"""How long packets may still go to the endpoint that was selected before."""

SESSION_LIFETIME_S: Final = 180.0
"""So long WireGuard may send to where an authenticated packet came from; then it has no keys."""

ROAMED_MAX_S: Final = 40.0
"""How long WireGuard's endpoint may be another than ICE's in a network where nothing happens:
consent (RFC 7675) on the path that is gone takes 30 s to expire, and a look 5 s."""

UNHEARD_MAX_S: Final = 50.0
"""How long a peer may be called connected of whom nothing is heard: consent (RFC 7675) takes 30 s
to expire, what WireGuard heard last puts that off by 15 s, and a look comes every 5 s."""

HEARD_MAX: Final = 16_384
HEARD_EACH_MAX: Final = 1_024
"""Endpoints that are remembered of all machines together, and checks that were not answered: the
larger of these. A hundred machines that start at once have 40,000 of either."""

HAVE_PATH: Final = frozenset({str(State.SELECTED), str(State.CONNECTED)})

_WIREGUARD_TYPES: Final = tuple(bytes((kind, 0, 0, 0)) for kind in (1, 2, 3, 4))
_INITIATION: Final = _WIREGUARD_TYPES[0]

# RFC 8489 section 5: the types of messages.
_BINDING_REQUEST: Final = bytes((0x00, 0x01))
_BINDING_SUCCESS: Final = bytes((0x01, 0x01))

_Spot = tuple[str, Way]
"""A machine, and an endpoint as it sees it."""


class Heard:
    """When each machine last got a datagram from an endpoint, one of WireGuard's, and an answer
    to a check of its own."""

    def __init__(self, machines: int) -> None:
        """machines: how many there are."""
        self._size_max = max(HEARD_MAX, HEARD_EACH_MAX * machines)
        self._datagram_at_s: dict[_Spot, float] = {}
        self._wireguard_at_s: dict[_Spot, float] = {}
        self._proved_at_s: dict[_Spot, float] = {}
        self._asked: dict[tuple[str, bytes], tuple[Endpoint, Way]] = {}
        """The path of each check, by the machine that sent it and the transaction."""

    def sent(self, machine: str, said: Said) -> None:
        payload = said.payload
        if payload.startswith(_BINDING_REQUEST) and payload[COOKIE] == STUN_COOKIE:
            asked = self._asked
            asked[machine, payload[TRANSACTION]] = said.local, said.way
            if len(asked) > self._size_max:
                del asked[next(iter(asked))]

    def received(self, machine: str, said: Said, now_s: float) -> None:
        spot, payload = (machine, said.way), said.payload
        self._datagram_at_s[spot] = now_s
        if payload.startswith(_WIREGUARD_TYPES):
            self._wireguard_at_s[spot] = now_s
        elif payload.startswith(_BINDING_SUCCESS) and payload[COOKIE] == STUN_COOKIE:
            check = (machine, payload[TRANSACTION])
            if self._asked.get(check) == (said.local, said.way):
                # Answers count once.
                del self._asked[check]
                self._proved_at_s[spot] = now_s
        if len(self._datagram_at_s) > self._size_max:
            self._datagram_at_s = _later_half(self._datagram_at_s)
            self._wireguard_at_s = _later_half(self._wireguard_at_s)
            self._proved_at_s = _later_half(self._proved_at_s)

    def age_s(self, machine: str, source: Way, now_s: float) -> float:
        """Seconds since the last datagram; infinite for none."""
        return now_s - self._datagram_at_s.get((machine, source), -math.inf)

    def proved_age_s(self, machine: str, source: Way, now_s: float) -> float:
        """Seconds since a check of the machine's own was answered along the path it had taken."""
        return now_s - self._proved_at_s.get((machine, source), -math.inf)

    def wireguard_at_s(self, machine: str, source: Way) -> float:
        """When WireGuard's last datagram came; minus infinity for never."""
        return self._wireguard_at_s.get((machine, source), -math.inf)


class ProvedPaths(Check):
    """A switch never goes to a dead path: a check along what a machine selects was answered.

    An answer is a success response with the transaction of a request that it sent there. Whatever
    else comes from somewhere proves nothing of the way back.

    With a relay there are two ways, kept proved: where one is doubted, or lost with its local
    address, the other takes over without a word.
    """

    name = "proved-paths"

    def __init__(self, world: World, quiet: Quiet, findings: Findings, heard: Heard) -> None:
        super().__init__(world, quiet, findings)
        self._heard = heard
        self._names = Names(world)
        self._lost_at_s: dict[tuple[str, PublicKey], float] = {}

    def on_event(self, machine: str, event: Event) -> None:
        if not isinstance(event, PeerTransitioned):
            return
        now_s = self.world.now_s
        if event.cause == str(Stimulus.PATH_LOST):
            self._lost_at_s[machine, event.peer] = now_s
        selected = selected_way(event)
        if selected is None:
            return
        if self.quiet.has_just_woken(machine, CAME_WITHIN_S):
            # What came before it fell asleep is read when it wakes.
            return
        self.looked()
        came_age_s = self._heard.age_s(machine, selected, now_s)
        proved_age_s = self._heard.proved_age_s(machine, selected, now_s)
        is_lost_now = self._lost_at_s.get((machine, event.peer)) == now_s
        is_spare = self.world.scenario.has_relay and (event.old in HAVE_PATH or is_lost_now)
        if came_age_s > CAME_WITHIN_S and not is_spare:
            why = f"from where {_said_when('packet', came_age_s)}"
        elif proved_age_s > PROVED_WITHIN_S:
            why = f"along which {_said_when('answer to a check of its own', proved_age_s)}"
        else:
            return
        self.violation(
            pair_name(machine, self._names.of(event.peer)),
            f"selected the path to {selected}, {why}; a path is selected because of what came "
            "along it, and was proved by an answer",
        )


def _said_when(what: str, age_s: float) -> str:
    return (
        f"no {what} ever came" if math.isinf(age_s) else f"the last {what} came {age_s:.1f} s ago"
    )


class Destinations(Check):
    """Every packet of WireGuard goes to a path that ICE selected, or back where one came from.

    Along a path that was lost it goes on, with what its session still carries and then with
    initiations, until there is another: one that may come back beats none. Nothing of that outlives
    the daemon.

    What a relay passes on is its client's, who is asked where it is wrapped.
    """

    name = "wireguard-destinations"

    def __init__(self, world: World, quiet: Quiet, findings: Findings, heard: Heard) -> None:
        super().__init__(world, quiet, findings)
        self._heard = heard
        self._names = Names(world)
        self._selected: dict[tuple[str, str], Way] = {}
        self._allowed: dict[_Spot, dict[str, _Allowed]] = {}
        """By where it leads, and for which peer."""

    def on_event(self, machine: str, event: Event) -> None:
        if not isinstance(event, PeerTransitioned):
            return
        peer, now_s = self._names.of(event.peer), self.world.now_s
        before = self._selected.get((machine, peer))
        selected = selected_way(event)
        if selected is not None:
            if before not in (None, selected):
                self._allow(machine, before, peer, _Allowed(now_s, now_s + SWITCHES_WITHIN_S))
            self._selected[machine, peer] = selected
            self._allow(machine, selected, peer, _Allowed(now_s, math.inf))
        elif event.cause == str(Stimulus.PATH_LOST):
            until_s = now_s + SESSION_LIFETIME_S
            self._allow(machine, before, peer, _Allowed(now_s, until_s, initiations=True))

    def _allow(self, machine: str, destination: Way | None, peer: str, allowed: "_Allowed") -> None:
        if destination is not None:
            self._allowed.setdefault((machine, destination), {})[peer] = allowed

    def sent(self, machine: str, said: Said, now_s: float) -> None:
        """``machine``, which has a tunnel, sent a datagram."""
        if not said.payload.startswith(_WIREGUARD_TYPES):
            return
        self.looked()
        destination = said.way
        booted_at_s = self.quiet.booted_at_s(machine)
        for allowed in self._allowed.get((machine, destination), {}).values():
            is_initiation = allowed.initiations and said.payload.startswith(_INITIATION)
            if allowed.since_s >= booted_at_s and (allowed.until_s >= now_s or is_initiation):
                return
        answers_since_s = max(now_s - SESSION_LIFETIME_S, booted_at_s)
        if self._heard.wireguard_at_s(machine, destination) < answers_since_s:
            selected = [
                f"{endpoint} for {peer}"
                for (here, peer), endpoint in self._selected.items()
                if here == machine
            ]
            self.violation(
                machine,
                f"WireGuard sent to {destination}, which ICE has not selected, or not of late, and "
                f"nothing of WireGuard's came from; selected last: "
                f"{', '.join(selected) or 'nothing'}",
            )


class _Allowed(NamedTuple):
    """That WireGuard may send somewhere, and without end if only initiations."""

    since_s: float
    until_s: float
    initiations: bool = False


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
            quiet_since_s = self.quiet.paths_since_s(*pair, has_relay=view.is_relayed)
            endpoint, selected = view.status["endpoint"], view.status["selected"]
            if quiet_since_s is None or selected is None:
                self._differ_since_s.pop(pair, None)
                continue
            self.looked()
            if endpoint == selected:
                self._differ_since_s.pop(pair, None)
                continue
            since_s = max(self._differ_since_s.setdefault(pair, now_s), quiet_since_s)
            differ_max_s = HANDSHAKE_WITHHELD_S if endpoint is None else ROAMED_MAX_S
            if now_s - since_s > differ_max_s:
                where = "nowhere" if endpoint is None else f"to {endpoint}"
                self.violation(
                    pair_name(*pair),
                    f"WireGuard sends {where} and ICE selected {selected}, for "
                    f"{now_s - since_s:.0f} s in a quiet network; they should be one after "
                    f"{differ_max_s:g} s",
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
        """Since the last datagram along ICE's path, or WireGuard's if that is another.

        A status does not tell through whose relay, if any.
        """
        now_s = self.world.now_s
        ends = (view.status["selected"], view.status["endpoint"])
        return min(
            (
                self._heard.age_s(view.machine, Way(Endpoint.parse(end), is_wrapped), now_s)
                for end in ends
                for is_wrapped in (False, True)
                if end is not None
            ),
            default=math.inf,
        )


class Paths:
    """The checks that share what was heard on the wire."""

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        self._world = world
        self._heard = Heard(len(world.private_keys))
        self._destinations = Destinations(world, quiet, findings, self._heard)
        self.checks: tuple[Check, ...] = (
            ProvedPaths(world, quiet, findings, self._heard),
            self._destinations,
            Endpoints(world, quiet, findings),
            Liveness(world, quiet, findings, self._heard),
        )

    def sent(self, machine: str, said: Said) -> None:
        """``machine``, which has a tunnel, sent a datagram."""
        self._heard.sent(machine, said)
        self._destinations.sent(machine, said, self._world.now_s)

    def received(self, machine: str, said: Said) -> None:
        """It received one."""
        self._heard.received(machine, said, self._world.now_s)


def selected_way(event: Event) -> Way | None:
    """Where a path leads that was just selected; None for any other event."""
    if isinstance(event, PeerTransitioned) and event.cause == str(Stimulus.PATH_SELECTED):
        remote, _, relay = event.detail.partition(" through ")
        return Way(Endpoint.parse(remote), is_wrapped=bool(relay))
    return None


def _later_half(at_s: dict[_Spot, float]) -> dict[_Spot, float]:
    by_time = sorted(at_s.items(), key=lambda item: item[1])
    return dict(by_time[len(by_time) // 2 :])
