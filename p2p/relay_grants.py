"""The relays that we are granted, and how they are asked for (``/wice/relay/1``)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from p2p.clock import wait_due
from p2p.connections import Connections
from p2p.host import Host
from p2p.relay_loans import RELAY_PROTOCOL, MembershipProof, decode_answer, encode, hour_at
from p2p.section import TcpAddress
from p2p.signal import Signal
from p2p.streams import NotServedError, StreamClosedError
from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.keys import CommunitySecret
from wice.platform import Platform
from wice.proto.overlay_pb2 import RelayAnswer, RelayRequest
from wice.signaling.transport import RelayGrant

BEST_MAX: Final = 3
"""Relays of connected nodes that come first; a lost connection then changes no order."""
ANSWER_TIMEOUT_S: Final = 6.0
RETRY_MIN_S: Final = 5.0
RETRY_MAX_S: Final = 300.0
"""Waits after an answer that did not come, and from a grant to the next where it was refused,
doubling."""
REFUSED_WAIT_S: Final = 600.0
LIFETIME_MIN_S: Final = 120.0
LIFETIME_MAX_S: Final = 86_400.0
CREDENTIAL_SIZE_MAX: Final = 256
"""Characters of a user name or a password; those of our own relays have less than 100."""
REASON_SIZE_MAX: Final = 64
"""Characters of a node's reason to refuse that are reported."""

CountFault = Callable[[str], None]


@dataclass(slots=True)
class _Entry:
    """expires_at_s: by the clock of our timers, since that of the wall may be set. What expires
    while the host sleeps is renewed when it wakes, or refused by the relay.
    """

    grant: RelayGrant
    expires_at_s: float
    round_trip_s: float
    is_connected: bool


class RelayGrants:
    """What each node has granted us, until it expires. ``changed`` tells of anything new.

    It has room for one grant of each node that is configured, and outlives the host.
    """

    def __init__(self, nodes: Sequence[str], platform: Platform) -> None:
        """nodes: peer ids; where several are equally near, in the order of preference."""
        self.changed = Signal()
        self._order = {peer_id: place for place, peer_id in enumerate(nodes)}
        self._platform = platform
        self._entries: dict[str, _Entry] = {}
        self._refused = {peer_id: Signal() for peer_id in nodes}

    def put(self, peer_id: str, grant: RelayGrant, round_trip_s: float) -> None:
        """Take a grant of a connected node; the shortest round trip of a connection counts."""
        old = self._entries.get(peer_id)
        if old is not None and old.is_connected:
            round_trip_s = min(round_trip_s, old.round_trip_s)
        left_s = grant.expires_at_wall_s - self._platform.wall_time()
        self._entries[peer_id] = _Entry(
            grant, trio.current_time() + left_s, round_trip_s, is_connected=True
        )
        self.changed.notify()

    def set_disconnected(self, peer_id: str) -> None:
        """Note that a node is gone, though its relay need not be."""
        entry = self._entries.get(peer_id)
        if entry is not None:
            entry.is_connected = False
            self.changed.notify()

    def drop(self, peer_id: str) -> None:
        """Forget what a node granted that relays no longer."""
        if self._entries.pop(peer_id, None) is not None:
            self.changed.notify()

    def refuse(self, grant: RelayGrant) -> None:
        """Note that the relay takes ``grant`` no longer, if there is no newer one."""
        for peer_id, entry in self._entries.items():
            if entry.grant == grant:
                self._refused[peer_id].notify()

    def refused(self, peer_id: str) -> Signal:
        """Tells each time that a relay refuses what its node granted last."""
        return self._refused[peer_id]

    def current(self) -> tuple[RelayGrant, ...]:
        """All, the best first: ``BEST_MAX``, if there are, of nodes that are connected, the
        nearest first, then the others. An order that seldom changes: peers are told of it.
        """
        return tuple(entry.grant for entry in self._current())

    async def wait_other(self, known: Sequence[RelayGrant]) -> tuple[RelayGrant, ...]:
        """Wait until ``current`` is other than ``known``, and give it."""
        while True:
            seen, current = self.changed.count, self.current()
            if current != tuple(known):
                return current
            with trio.move_on_at(self._next_expiry_s()):
                await self.changed.wait_beyond(seen)

    def status(self) -> list[dict[str, object]]:
        """The relays in use, without what opens them."""
        now = trio.current_time()
        return [
            {"server": str(entry.grant.server), "expires_in_s": round(entry.expires_at_s - now)}
            for entry in self._current()
        ]

    def _current(self) -> list[_Entry]:
        self._drop_expired()
        by_preference = sorted(
            self._entries,
            key=lambda peer_id: (not self._entries[peer_id].is_connected, *self._distance(peer_id)),
        )
        chosen: dict[Endpoint, str] = {}
        for peer_id in by_preference:
            chosen.setdefault(self._entries[peer_id].grant.server, peer_id)
        best, others = list(chosen.values())[:BEST_MAX], list(chosen.values())[BEST_MAX:]
        best.sort(key=self._distance)
        return [self._entries[peer_id] for peer_id in (*best, *others)]

    def _distance(self, peer_id: str) -> tuple[float, int]:
        return self._entries[peer_id].round_trip_s, self._order.get(peer_id, len(self._order))

    def _drop_expired(self) -> None:
        now = trio.current_time()
        for peer_id, entry in tuple(self._entries.items()):
            if entry.expires_at_s <= now:
                del self._entries[peer_id]

    def _next_expiry_s(self) -> float:
        expiries = [entry.expires_at_s for entry in self._entries.values()]
        return min(expiries, default=float("inf"))


class Borrower:
    """Asks every public node that we are connected to for the use of its relay, if it has one."""

    def __init__(
        self,
        host: Host,
        connections: Connections,
        addresses: Mapping[str, Sequence[TcpAddress]],
        grants: RelayGrants,
        community: CommunitySecret,
        platform: Platform,
        count_fault: CountFault,
    ) -> None:
        """addresses: where the nodes are, by peer id."""
        self._host = host
        self._connections = connections
        self._addresses = addresses
        self._grants = grants
        self._proof = MembershipProof(community)
        self._platform = platform
        self._count_fault = count_fault
        self._hurry = Signal()

    def hurry(self) -> None:
        """Ask again now those that gave nothing: the network has changed, or the clock."""
        self._hurry.notify()

    async def run(self) -> None:
        """Keep a task for each node while it is connected."""
        keeping: dict[str, trio.CancelScope] = {}
        async with trio.open_nursery() as nursery:
            while True:
                seen = self._connections.changed.count
                connected = self._connections.connected
                for peer_id in [peer_id for peer_id in keeping if peer_id not in connected]:
                    keeping.pop(peer_id).cancel()
                for peer_id in connected:
                    if peer_id not in keeping:
                        keeping[peer_id] = trio.CancelScope()
                        nursery.start_soon(self._keep, peer_id, keeping[peer_id])
                await self._connections.changed.wait_beyond(seen)

    async def _keep(self, peer_id: str, scope: trio.CancelScope) -> None:
        """Have a fresh grant of a connected node, as long as it serves any."""
        retry_s = RETRY_MIN_S
        refused_s = RETRY_MIN_S
        refused = self._grants.refused(peer_id)
        with scope:
            try:
                while True:
                    seen = self._hurry.count
                    try:
                        lifetime_s = await self._borrow(peer_id)
                    except (StreamClosedError, RemoteProtocolError) as error:
                        if isinstance(error, NotServedError):
                            self._grants.drop(peer_id)
                            return
                        if isinstance(error, RemoteProtocolError):
                            self._count_fault(f"{RELAY_PROTOCOL}: {error}")
                        await wait_due(self._platform, retry_s, self._hurry, seen)
                        retry_s = min(2 * retry_s, RETRY_MAX_S)
                        continue
                    retry_s = RETRY_MIN_S
                    if lifetime_s is None:
                        await wait_due(self._platform, REFUSED_WAIT_S, self._hurry, seen)
                    else:
                        borrowed_at_s, refusals = trio.current_time(), refused.count
                        await wait_due(self._platform, lifetime_s / 2, refused, refusals)
                        if refused.count == refusals:
                            refused_s = RETRY_MIN_S
                            continue
                        await trio.sleep_until(borrowed_at_s + refused_s)
                        refused_s = min(2 * refused_s, RETRY_MAX_S)
            finally:
                self._grants.set_disconnected(peer_id)

    async def _borrow(self, peer_id: str) -> float | None:
        """Ask once; how long the grant lasts, None where there is none.

        Raise StreamClosedError, RemoteProtocolError.
        """
        started = trio.current_time()
        answer = await self._ask(peer_id)
        if answer.WhichOneof("kind") == "loan":
            return self._take(peer_id, answer.loan, trio.current_time() - started)
        # Its own words, and as such not to be trusted.
        reason = answer.refused.reason[:REASON_SIZE_MAX]
        self._count_fault(f"a relay refused us: {reason!r}")
        return None

    async def _ask(self, peer_id: str) -> RelayAnswer:
        hour = hour_at(self._platform.wall_time())
        proof = self._proof.make(peer_id, self._host.peer_id, hour)
        stream = await self._host.open_stream(peer_id, RELAY_PROTOCOL)
        try:
            with trio.move_on_after(ANSWER_TIMEOUT_S):
                await stream.send(encode(RelayRequest(hour=hour, proof=proof)))
                return decode_answer(await stream.receive())
        finally:
            await stream.aclose()
        raise StreamClosedError("no answer")

    def _take(self, peer_id: str, loan: RelayAnswer.Loan, round_trip_s: float) -> float:
        """Note what we were lent; its lifetime. Raise RemoteProtocolError."""
        lifetime_s = min(float(loan.lifetime_s), LIFETIME_MAX_S)
        is_usable = (
            0 < loan.port < 65_536
            and lifetime_s >= LIFETIME_MIN_S
            and _is_credential(loan.username)
            and _is_credential(loan.password)
        )
        if not is_usable:
            raise RemoteProtocolError("a loan of no use")
        grant = RelayGrant(
            Endpoint(self._host_of(peer_id), loan.port),
            loan.username,
            loan.password,
            self._platform.wall_time() + lifetime_s - round_trip_s,
        )
        self._grants.put(peer_id, grant, round_trip_s)
        return lifetime_s

    def _host_of(self, peer_id: str) -> str:
        """The address under which a node is connected, of those that are configured."""
        hosts = [address.host for address in self._addresses[peer_id]]
        connected = self._host.remote_hosts(peer_id)
        return next((host for host in hosts if host in connected), hosts[0])


def _is_credential(text: str) -> bool:
    return 0 < len(text) <= CREDENTIAL_SIZE_MAX and text.isascii() and text.isprintable()
