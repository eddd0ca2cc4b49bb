"""Carries a port's relayed paths through its allocations at TURN servers (trio, DESIGN D11)."""

from collections import deque
from collections.abc import Callable, KeysView, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from wice.datagram import DatagramPort, Endpoint, Path
from wice.errors import RemoteProtocolError
from wice.events import Dropped, EventSink
from wice.stun import LongTermCredentials, is_stun
from wice.turn.client import State, TurnClient
from wice.turn.events import (
    Allocated,
    AllocationFailed,
    AllocationLost,
    ClientEvent,
    CredentialsRefused,
    PermissionGranted,
    PermissionRefused,
)
from wice.turn.messages import DATA_SIZE_MAX_BYTES, Family, PeerData, family_of, is_channel_data
from wice.turn.timing import Timing

SERVERS_ENOUGH: Final = 2
"""Servers that are allocated at while none of them fails; those given after them wait for a place.
Each more costs every peer checks and permissions, and relays what they have to lend."""
SERVERS_MAX: Final = 4
"""With those that failed, which are asked again now and then."""

HELD_MAX: Final = 64
"""Datagrams that wait at one server for permissions."""
HELD_PER_HOST_MAX: Final = 4
"""Of them, those for one address; then its oldest is dropped."""

PROBE_INTERVAL_S: Final = 5.0
"""Least time between two probes, however many peers ask for them."""

IDLE_S: Final = 120.0
"""What nothing was sent to for so long is no longer refreshed."""
SWEEP_S: Final = 30.0

_BINDING: Final = frozenset({b"\x00\x01", b"\x00\x11", b"\x01\x01", b"\x01\x11"})
"""What Binding messages begin with (RFC 8489 section 5)."""


@dataclass(frozen=True, slots=True)
class RelayServer:
    """A TURN server and what opens it for us."""

    endpoint: Endpoint
    credentials: LongTermCredentials


@dataclass(frozen=True, slots=True)
class Allocation:
    """An address at ``server`` that is relayed to us, whom it sees as ``mapped``."""

    relayed: Endpoint
    mapped: Endpoint
    server: Endpoint


@dataclass(slots=True, eq=False)
class _Link:
    """One server. way: the path to it. bases: of its allocation. reason: why there is none.
    is_awaited: there may be one in a moment, for it was not refused since. held: by address.
    """

    server: RelayServer
    client: TurnClient
    way: Path
    bases: dict[Family, str] = field(default_factory=dict)
    reason: str = ""
    is_awaited: bool = True
    held: dict[str, deque[tuple[bytes, Endpoint]]] = field(default_factory=dict)
    held_count: int = 0

    @property
    def is_in_use(self) -> bool:
        return self.client.state is State.ALLOCATED and self.client.permission_count > 0

    @property
    def has_failed(self) -> bool:
        return self.client.state is not State.ALLOCATED and not self.is_awaited


class Relays:
    """The ``Carrier`` of ``port``: one allocation at each server, kept up while ``run`` lasts.

    A path's ``source`` chooses the allocation: it is the relayed endpoint as text. The first
    datagram to an address asks for its permission and waits for it; who is sent more than STUN gets
    a channel.
    """

    def __init__(
        self,
        port: DatagramPort,
        random_bytes: Callable[[int], bytes],
        events: EventSink,
        *,
        timing: Timing | None = None,
    ) -> None:
        self.on_changed: Callable[[], None] = lambda: None
        """Called after every change of ``allocations`` while ``run`` lasts."""
        self.on_silent: Callable[[RelayServer], None] = lambda _: None
        """Called each time that a server gives no answer to what shall allocate."""
        self.on_refused: Callable[[RelayServer], None] = lambda _: None
        """Called each time that a server, as it was given, refuses its credentials."""
        self._port = port
        self._random_bytes = random_bytes
        self._events = events
        self._timing = timing
        self._given: dict[Endpoint, RelayServer] = {}
        self._links: dict[Endpoint, _Link] = {}
        self._by_server: dict[Endpoint, _Link] = {}
        self._by_base: dict[str, _Link] = {}
        self.bases: KeysView[str] = self._by_base.keys()
        self.servers: KeysView[Endpoint] = self._by_server.keys()
        self._allocations: tuple[Allocation, ...] = ()
        self._may_probe_at_s = float("-inf")
        self._must_choose = False
        self._wake_at_s = float("inf")
        self._moved = trio.Event()
        port.carrier = self

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """What there is now: servers in the order given, IPv4 before IPv6."""
        return self._allocations

    def set_servers(self, servers: Sequence[RelayServer]) -> None:
        """Allocate at the first ``SERVERS_ENOUGH`` that do not fail; known ones go on.

        An allocation that data goes through keeps its place, also where its server is given no
        more, until it is lost or idle. Credentials that are new for a known server serve it from
        now on.
        """
        self._given = {server.endpoint: server for server in servers}
        self._choose()

    def _choose(self) -> None:
        now = trio.current_time()
        in_use = [endpoint for endpoint, link in self._links.items() if link.is_in_use]
        others = [endpoint for endpoint in self._given if endpoint not in in_use]
        chosen = self._enough(in_use, others)
        in_order = [endpoint for endpoint in self._given if endpoint in chosen]
        in_order += [endpoint for endpoint in in_use if endpoint not in self._given]
        before, self._links = self._links, {}
        for endpoint, link in before.items():
            if endpoint not in in_order:
                self._give_back(link, now)
        for endpoint in in_order:
            link = before.get(endpoint) or self._new_link(self._given[endpoint], now)
            self._links[endpoint] = link
            server = self._given.get(endpoint, link.server)
            if server != link.server:
                link.server, link.reason, link.is_awaited = server, "", True
                link.client.set_credentials(server.credentials, now)
        self._update()
        for link in list(self._links.values()):
            self._drain(link)

    def _enough(self, in_use: Sequence[Endpoint], others: Sequence[Endpoint]) -> list[Endpoint]:
        """All that are in use, and of the others until there are enough that do not fail."""
        enough = list(in_use)
        for endpoint in others:
            failed = sum(1 for one in enough if one in self._links and self._links[one].has_failed)
            if len(enough) - failed >= SERVERS_ENOUGH or len(enough) >= SERVERS_MAX:
                break
            enough.append(endpoint)
        return enough

    def network_changed(self) -> None:
        """Make sure of each allocation, at once, and allocate anew where the server knows none.

        One that the change did not touch goes on and loses nothing.
        """
        now = trio.current_time()
        for link in list(self._links.values()):
            link.client.network_changed(now)
            self._drain(link)

    def probe(self) -> None:
        """``network_changed`` for who only suspects it; once every ``PROBE_INTERVAL_S``."""
        now = trio.current_time()
        if now >= self._may_probe_at_s:
            self._may_probe_at_s = now + PROBE_INTERVAL_S
            self.network_changed()

    def seen_as(self, server: Endpoint, mapped: Endpoint) -> None:
        """``server`` said over STUN where it sees the port; allocate anew if that is elsewhere.

        A server knows an allocation by where its client is (RFC 8656 section 3.2). In a network
        that we left and came back to, it refreshes the one of then, and relays from another address
        than we tell of.
        """
        link = self._by_server.get(server)
        if link is not None and link.client.mapped not in (None, mapped):
            link.client.restart(trio.current_time())
            self._drain(link)

    def status(self) -> list[dict[str, Any]]:
        """Each server as ``wice status`` shows it, in plain JSON values."""
        return [
            {
                "server": str(endpoint),
                "state": link.client.state.name.lower(),
                "relayed": [str(relayed) for relayed in link.client.relayed.values()],
                "reason": link.reason,
                "permissions": link.client.permission_count,
                "channels": link.client.channel_count,
            }
            for endpoint, link in self._links.items()
        ]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep time until cancelled; then the allocations are given back, without waiting."""
        task_status.started()
        sweep_at_s = trio.current_time() + SWEEP_S
        try:
            while True:
                deadlines = [link.client.deadline() for link in self._links.values()]
                self._wake_at_s = min([sweep_at_s, *(at for at in deadlines if at is not None)])
                self._moved = trio.Event()
                with trio.move_on_at(self._wake_at_s):
                    await self._moved.wait()
                now = trio.current_time()
                if now >= sweep_at_s:
                    sweep_at_s = now + SWEEP_S
                    self._sweep(now)
                for link in list(self._links.values()):
                    deadline = link.client.deadline()
                    if deadline is not None and now >= deadline:
                        link.client.handle_timeout(now)
                        self._drain(link)
        finally:
            for link in self._links.values():
                self._give_back(link, trio.current_time())
            self._links = {}
            self._by_server.clear()
            self._by_base.clear()
            self._allocations = ()

    # Data

    def carry(self, data: bytes, path: Path) -> None:
        """See ``Carrier.carry``."""
        link = self._by_base.get(path.source or "")
        if link is None:
            self._drop("data for an allocation that is gone")
            return
        now = trio.current_time()
        datagram = link.client.encapsulate(data, path.remote, now)
        if datagram is None:
            self._carry_when_permitted(link, data, path, now)
            return
        self._port.send(datagram, link.way)
        if not is_channel_data(datagram) and not is_stun(data):
            link.client.bind_channel(path.remote, now)
            self._drain(link)

    def receive(self, data: bytes, source: Endpoint) -> bool:
        """See ``Carrier.receive``."""
        link = self._by_server.get(source)
        if link is None:
            return False
        now = trio.current_time()
        try:
            if is_channel_data(data):
                self._hand_up(link, link.client.decapsulate(data, now))
                return True
            if not is_stun(data) or data[:2] in _BINDING:
                return False
            link.client.receive(data, source, now)
        except RemoteProtocolError as error:
            self._drop(str(error))
        self._drain(link)
        return True

    def _hand_up(self, link: _Link, came: PeerData) -> None:
        base = link.bases.get(family_of(came.peer.host))
        if base is not None:
            self._port.hand_up(came.data, came.peer, base)

    def _carry_when_permitted(self, link: _Link, data: bytes, path: Path, now: float) -> None:
        client, remote = link.client, path.remote
        if len(data) > DATA_SIZE_MAX_BYTES:
            self._drop("data that is too long for a relay")
            return
        if "%" in remote.host or link.bases.get(family_of(remote.host)) != path.source:
            self._drop("data for an address that the allocation cannot reach")
            return
        has_room = not is_stun(data) and client.bind_channel(remote, now)
        if not has_room and not client.permit(remote.host, now):
            self._drop("data for more addresses than a relay permits")
        elif client.is_refused(remote.host):
            self._drop("data for an address that the relay refuses")
        else:
            self._hold(link, data, remote)
        self._drain(link)

    def _hold(self, link: _Link, data: bytes, remote: Endpoint) -> None:
        held = link.held.get(remote.host)
        if held is not None and len(held) >= HELD_PER_HOST_MAX:
            held.popleft()
            link.held_count -= 1
            self._drop("the oldest of much data that waits for one permission")
        elif link.held_count >= HELD_MAX:
            self._drop("data beyond what may wait for permissions")
            return
        link.held.setdefault(remote.host, deque()).append((data, remote))
        link.held_count += 1

    def _send_held(self, link: _Link, host: str, now: float) -> None:
        for data, remote in self._take_held(link, host):
            datagram = link.client.encapsulate(data, remote, now)
            if datagram is not None:
                self._port.send(datagram, link.way)

    def _drop_held(self, link: _Link, host: str, reason: str) -> None:
        for _ in self._take_held(link, host):
            self._drop(reason)

    def _take_held(self, link: _Link, host: str) -> deque[tuple[bytes, Endpoint]]:
        held = link.held.pop(host, None) or deque()
        link.held_count -= len(held)
        return held

    def _drop(self, reason: str) -> None:
        self._events.emit(Dropped(room="relay", reason=reason))

    # Servers

    def _new_link(self, server: RelayServer, now: float) -> _Link:
        # A peer of either family is reached through whatever family leads to the server.
        client = TurnClient(
            server.endpoint,
            server.credentials,
            random_bytes=self._random_bytes,
            now=now,
            families=tuple(Family),
            timing=self._timing,
        )
        return _Link(server, client, Path(server.endpoint))

    def _give_back(self, link: _Link, now: float) -> None:
        """Say once that the allocation may end: where that is lost it ends by itself."""
        for host in list(link.held):
            self._drop_held(link, host, "data for an allocation that is given back")
        link.client.close(now)
        while (data := link.client.poll_transmit()) is not None:
            self._port.send(data, link.way)

    def _drain(self, link: _Link) -> None:
        client = link.client
        while True:
            while (data := client.poll_transmit()) is not None:
                self._port.send(data, link.way)
            event = client.poll_event()
            if event is None:
                break
            self._handle(link, event)
        while (came := client.poll_data()) is not None:
            self._hand_up(link, came)
        deadline = client.deadline()
        if deadline is not None and deadline < self._wake_at_s:
            self._moved.set()
        if self._must_choose:
            self._must_choose = False
            self._choose()

    def _handle(self, link: _Link, event: ClientEvent) -> None:
        match event:
            case PermissionGranted(host):
                self._send_held(link, host, trio.current_time())
            case PermissionRefused(host):
                self._drop_held(link, host, "data for an address that the relay refuses")
            case AllocationFailed(code, reason):
                link.reason, link.is_awaited = reason, False
                self._must_choose = True
                if not code:
                    self.on_silent(link.server)
            case CredentialsRefused():
                link.reason, link.is_awaited = "the server refuses the credentials", False
                self._must_choose = True
                self.on_refused(link.server)
            case AllocationLost(reason):
                link.reason, link.is_awaited = reason, link.client.state is State.ASKING
                for host in list(link.held):
                    self._drop_held(link, host, "data for an allocation that is gone")
                self._must_choose = True
            case Allocated():
                link.reason, link.is_awaited = "", True
        link.way = link.way if link.way.remote == link.client.server else Path(link.client.server)
        self._update()

    def _update(self) -> None:
        """Make the tables say what the clients are; tell the owner if that is news."""
        allocations = []
        self._by_server.clear()
        self._by_base.clear()
        for link in self._links.values():
            client = link.client
            # Of two that were sent to one server the second hears nothing there, and gives up.
            self._by_server.setdefault(client.server, link)
            link.bases = {family: str(relayed) for family, relayed in client.relayed.items()}
            if client.state is State.ALLOCATED and client.mapped is not None:
                for _, relayed in sorted(client.relayed.items()):
                    self._by_base[str(relayed)] = link
                    allocations.append(Allocation(relayed, client.mapped, client.server))
        if tuple(allocations) != self._allocations:
            self._allocations = tuple(allocations)
            self.on_changed()

    def _sweep(self, now: float) -> None:
        for link in list(self._links.values()):
            link.client.forget_idle(IDLE_S, now)
            for host in list(link.held):
                if not link.client.wants(host):
                    self._drop_held(link, host, "data whose permission never came")
            self._drain(link)
        self._choose()
