"""The overlay of a run that simulates none: the entry point ``in-process`` of ``wice.backends``.

It reads the same ``[overlay]`` as libp2p, and takes envelopes to the post office of its run.
"""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path as FilePath
from random import Random
from typing import Any, Final

import trio

from p2p.connections import KEPT_MAX
from p2p.identity import load_or_create
from p2p.relay_grants import RelayGrants
from p2p.section import Section
from sims.machines.post_office import Branch, Connection, PostOffice
from sims.stack.host import Host, current_host
from wice.datagram import Endpoint
from wice.errors import ConfigError, LocalProtocolError, SignalingUnavailableError
from wice.events import EnvelopeDelivered, EventSink, OverlayJoined, OverlayLost, PeerFound
from wice.keys import KeyHolder, PublicKey
from wice.platform import Platform
from wice.signaling.in_process import InProcessNetwork, InProcessTransport
from wice.signaling.transport import ENVELOPE_SIZE_MAX_BYTES, RelayGrant, RelayLender

JOIN_ROUND_TRIPS: Final = 4.5
LOOK_UP_ROUND_TRIPS: Final = 2.0
"""What a connection of libp2p takes until it is of use, and finding a record through it."""
JOIN_WAIT_S: Final = 2.0
"""How long a sender waits for the first connection, which is usually on its way."""
LOOK_EVERY_S: Final = 2.0
SILENT_MAX_S: Final = 10.0
"""A connection on which nothing has passed for so long is given up."""
BORROW_AGAIN_MIN_S: Final = 5.0
WAY: Final = "in-process"

current_post_office: ContextVar[PostOffice] = ContextVar("current_post_office")
"""Of the run that the code of this task belongs to; child tasks inherit it."""


def validate(section: Mapping[str, Any], *, is_bootstrap: bool = False) -> None:
    """Raise ConfigError for what would not start; outside of a run, for everything."""
    _post_office()
    parsed = Section.parse(section, is_bootstrap=is_bootstrap)
    if not is_bootstrap:
        parsed.check_bootstrap()


@asynccontextmanager
async def open_transport(
    section: Mapping[str, Any],
    *,
    platform: Platform,
    state_directory: FilePath,
    events: EventSink,
    is_bootstrap: bool,
    lend_relay: RelayLender | None = None,
) -> AsyncIterator[InProcessTransport]:
    """Have mail while the context lasts (``wice.signaling.transport.TransportFactory``)."""
    validate(section, is_bootstrap=is_bootstrap)
    parsed = Section.parse(section, is_bootstrap=is_bootstrap)
    identity = load_or_create(platform.state_directory(state_directory), platform.random_bytes)
    office, host = _post_office(), current_host.get()
    if is_bootstrap:
        node = BootstrapTransport(parsed, Branch(host, identity.peer_id, lend_relay))
        office.open_branch(node.branch)
        try:
            yield node
        finally:
            office.close_branch(node.branch)
            await node.aclose()
        return
    member = MemberTransport(parsed, identity.peer_id, office, host, platform, events)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member.run)
        try:
            yield member
        finally:
            await member.aclose()
            nursery.cancel_scope.cancel()


class BootstrapTransport(InProcessTransport):
    """A bootstrap node: its branch of the post office."""

    def __init__(self, section: Section, branch: Branch) -> None:
        super().__init__(InProcessNetwork())
        self.branch = branch
        self._section = section

    def status(self) -> Mapping[str, Any]:
        peer_id = self.branch.peer_id
        return {
            "kind": WAY,
            "role": "bootstrap",
            "peer_id": peer_id,
            "joined": True,
            "listen": [f"{address}/p2p/{peer_id}" for address in self._section.listen],
            "connections": [],
            "unreachable": {},
        }


class MemberTransport(InProcessTransport):
    """A machine with peers: a letterbox, and connections to some of the branches."""

    def __init__(
        self,
        section: Section,
        peer_id: str,
        office: PostOffice,
        host: Host,
        platform: Platform,
        events: EventSink,
    ) -> None:
        self._letterbox = InProcessNetwork()
        super().__init__(self._letterbox)
        self.host = host
        self.connections: dict[Branch, Connection] = {}
        self._section = section
        self._peer_id = peer_id
        self._office = office
        self._platform = platform
        self._events = events
        self._addresses = section.bootstrap_addresses()
        self._order = list(self._addresses)
        Random(platform.random_bytes(16)).shuffle(self._order)
        self._dialling: dict[Branch, None] = {}
        self._silent_since_s: dict[Branch, float] = {}
        self._is_connected = trio.Event()
        self._is_announced = False
        self._keys: dict[PublicKey, None] = {}
        self._watched: dict[PublicKey, None] = {}
        self._found: dict[PublicKey, int] = {}
        """By which announcement of each."""
        self._grants = RelayGrants(tuple(self._addresses), platform)
        self._borrowed: dict[Branch, _Borrowed] = {}

    # What the daemon asks

    async def send(self, recipient: PublicKey, envelope: bytes) -> None:
        """Return when the recipient has acknowledged ``envelope``; as ``Transport.send``."""
        if len(envelope) > ENVELOPE_SIZE_MAX_BYTES:
            raise LocalProtocolError(f"an envelope has at most {ENVELOPE_SIZE_MAX_BYTES} bytes")
        self._check_open()
        if recipient in self._keys:
            await self._letterbox.carry(recipient, envelope)
            return
        self._watched[recipient] = None
        self._office.watch(recipient, self)
        try:
            await self._send(recipient, envelope)
        except SignalingUnavailableError:
            self._check_open()
            raise
        self._check_open()
        self._events.emit(EnvelopeDelivered(peer=recipient, way=WAY))

    @asynccontextmanager
    async def subscribe(
        self, key_holder: KeyHolder
    ) -> AsyncIterator[trio.MemoryReceiveChannel[bytes]]:
        """Be reachable as ``key_holder.public_key`` and get the envelopes addressed to it."""
        key = key_holder.public_key
        try:
            async with super().subscribe(key_holder) as inbox:
                self._keys[key] = None
                if self._is_announced:
                    self._office.announce(key, self)
                yield inbox
        finally:
            if key in self._keys and not self._letterbox.is_subscribed(key):
                del self._keys[key]
                self._office.withdraw(key, self)

    def stun_servers(self) -> Sequence[Endpoint]:
        """The bootstrap nodes' STUN servers, two ports each."""
        return self._section.stun_servers()

    async def relay_grants(self, known: Sequence[RelayGrant]) -> Sequence[RelayGrant]:
        """Wait until we are granted other relays than ``known``, and say which."""
        return await self._grants.wait_other(known)

    def relay_refused(self, grant: RelayGrant) -> None:
        """Have the node that granted it asked for another."""
        self._grants.refuse(grant)

    def status(self) -> Mapping[str, Any]:
        connected = [branch.peer_id for branch in self.connections]
        return {
            "kind": WAY,
            "role": "peer",
            "peer_id": self._peer_id,
            "joined": bool(connected),
            "listen": [],
            "connections": connected,
            "unreachable": {
                peer_id: "nothing passes" for peer_id in self._order if peer_id not in connected
            },
            "recipients": len(self._watched),
            "subscriptions": len(self._keys),
            "relays": self._grants.status(),
        }

    # What the post office asks

    def hand_over(self, recipient: PublicKey, envelope: bytes) -> bool:
        """Whether a subscription has room for it."""
        return self._letterbox.hand_over(recipient, envelope)

    def found(self, peer: PublicKey, announcement: int) -> None:
        """Hear that ``peer`` can be written to; what is known is no news."""
        if self._found.get(peer) != announcement:
            self._found[peer] = announcement
            self._events.emit(PeerFound(peer=peer))

    # Its connections

    async def run(self) -> None:
        """Keep connections, announce our keys and borrow relays until cancelled."""
        try:
            async with self._platform.watch_network() as changes, trio.open_nursery() as nursery:
                while True:
                    self._look(nursery)
                    with trio.move_on_after(LOOK_EVERY_S):
                        await changes.receive()
        finally:
            self._office.end_watches(self._watched, self)

    def _look(self, nursery: trio.Nursery) -> None:
        now_s = trio.current_time()
        for branch, connection in tuple(self.connections.items()):
            if not connection.stands or self._is_silent(branch, connection, now_s):
                self._disconnect(branch)
            elif self._is_due(branch, now_s):
                nursery.start_soon(self._borrow, branch, connection)
        if self.connections and not self._is_announced:
            nursery.start_soon(self._announce, *next(iter(self.connections.items())))
        for peer_id in self._order:
            found = self._office.branch(peer_id)
            if len(self.connections) + len(self._dialling) >= KEPT_MAX:
                return
            if found is None or found in self.connections or found in self._dialling:
                continue
            dialled = self._office.dial(self.host, found)
            if dialled is not None:
                self._dialling[found] = None
                nursery.start_soon(self._dial, found, dialled)

    def _is_silent(self, branch: Branch, connection: Connection, now_s: float) -> bool:
        if connection.passes() and not branch.host.is_frozen:
            self._silent_since_s.pop(branch, None)
            return False
        return now_s - self._silent_since_s.setdefault(branch, now_s) >= SILENT_MAX_S

    async def _dial(self, branch: Branch, connection: Connection) -> None:
        try:
            if not await self._wait_round_trips(branch, connection, JOIN_ROUND_TRIPS):
                return
        finally:
            del self._dialling[branch]
        self.connections[branch] = connection
        if len(self.connections) == 1:
            self._events.emit(OverlayJoined(peer_id=branch.peer_id))
            self._is_connected.set()
            await self._announce(branch, connection)
        await self._borrow(branch, connection)

    async def _wait_round_trips(self, branch: Branch, connection: Connection, count: float) -> bool:
        """Whether everything still passes afterwards."""
        round_trip_s = connection.round_trip_s
        if math.isfinite(round_trip_s):
            await trio.sleep(count * round_trip_s)
        return connection.stands and connection.passes() and not branch.host.is_frozen

    async def _announce(self, branch: Branch, connection: Connection) -> None:
        """Say that we are here, and hear who is; what does not get through is said again later."""
        gets_through = await self._wait_round_trips(branch, connection, 0.5)
        if self._is_announced or not (gets_through and self.connections):
            return
        self._is_announced = True
        for key in self._keys:
            self._office.announce(key, self)
        for peer in self._watched:
            self._office.tell(self, peer)

    def _disconnect(self, branch: Branch) -> None:
        del self.connections[branch]
        self._silent_since_s.pop(branch, None)
        self._borrowed.pop(branch, None)
        self._grants.set_disconnected(branch.peer_id)
        if not self.connections:
            self._is_announced = False
            self._is_connected = trio.Event()
            self._events.emit(OverlayLost())

    # Envelopes

    async def _send(self, recipient: PublicKey, envelope: bytes) -> None:
        """Raise SignalingUnavailableError."""
        with trio.move_on_after(JOIN_WAIT_S):
            await self._is_connected.wait()
        if not self.connections:
            raise SignalingUnavailableError("no bootstrap node is connected")
        if recipient not in self._found:
            await self._look_up(recipient)
        delivery = self._office.send(self, recipient, envelope)
        if delivery is not None:
            with trio.move_on_at(delivery.gives_up_at_s):
                await delivery.done.wait()
        if delivery is None or not delivery.is_taken:
            raise SignalingUnavailableError(f"{recipient} does not answer on any way")

    async def _look_up(self, recipient: PublicKey) -> None:
        """Raise SignalingUnavailableError where nobody of this key has ever been heard of."""
        branch, connection = next(iter(self.connections.items()))
        await self._wait_round_trips(branch, connection, LOOK_UP_ROUND_TRIPS)
        announcement = self._office.announcement(recipient)
        if announcement is None:
            raise SignalingUnavailableError(f"no presence record of {recipient} was found")
        self.found(recipient, announcement)

    # Relays

    def _is_due(self, branch: Branch, now_s: float) -> bool:
        borrowed = self._borrowed.get(branch)
        if borrowed is None:
            return False  # asked for when the connection was made
        is_refused = self._grants.refused(branch.peer_id).count > borrowed.refusals
        return now_s >= borrowed.renews_at_s or (
            is_refused and now_s >= borrowed.at_s + BORROW_AGAIN_MIN_S
        )

    async def _borrow(self, branch: Branch, connection: Connection) -> None:
        if branch.lend_relay is None:
            self._grants.drop(branch.peer_id)
            return
        now_s, round_trip_s = trio.current_time(), connection.round_trip_s
        refusals = self._grants.refused(branch.peer_id).count
        self._borrowed[branch] = _Borrowed(now_s, now_s + BORROW_AGAIN_MIN_S, refusals)
        if not await self._wait_round_trips(branch, connection, 1):
            return
        loan = branch.lend_relay(self._peer_id)
        self._borrowed[branch] = _Borrowed(now_s, now_s + loan.lifetime_s / 2, refusals)
        server = Endpoint(self._addresses[branch.peer_id][0].host, loan.port)
        expires_at_wall_s = self._platform.wall_time() + loan.lifetime_s - round_trip_s
        grant = RelayGrant(server, loan.username, loan.password, expires_at_wall_s)
        self._grants.put(branch.peer_id, grant, round_trip_s)


@dataclass(frozen=True, slots=True)
class _Borrowed:
    """What was asked of one node. refusals: how often its relay had refused a grant by then."""

    at_s: float
    renews_at_s: float
    refusals: int


def _post_office() -> PostOffice:
    office = current_post_office.get(None)
    if office is None:
        raise ConfigError(
            "overlay.backend",
            f"{WAY} carries envelopes within one simulated run alone",
            "leave it out, or use libp2p",
        )
    return office
