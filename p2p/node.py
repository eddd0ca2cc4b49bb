"""One life of a node: a host and everything that runs on it. What outlives it is ``State``."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from random import Random

import trio

from p2p.anchors import AnchorClient, Status
from p2p.bootstrap import BootstrapRole
from p2p.clock import wait_jump
from p2p.connections import Connections
from p2p.dht import KAD_PROTOCOL, KadClient
from p2p.envelopes import ENVELOPE_PROTOCOL, EnvelopeClient, EnvelopeServer
from p2p.host import Host, open_host
from p2p.identity import Identity
from p2p.inboxes import Inboxes
from p2p.kad import RecordStore, RoutingTable, ServerNode, position
from p2p.records import ANCHORS_MAX, Node, Presence
from p2p.relay_grants import Borrower, RelayGrants
from p2p.rendezvous import Directory, Found, Publisher, Resolver
from p2p.requests import RequestPool
from p2p.section import Section, TcpAddress, check_peer_id, peer_id_text
from p2p.signal import Signal
from p2p.topics import NONCE_SIZE_BYTES, TopicClient, make_publish
from p2p.watches import WatchClient
from wice.errors import SignalingUnavailableError
from wice.events import Dropped, EventSink
from wice.keys import CommunitySecret
from wice.platform import Platform
from wice.signaling.transport import RelayLender

PEER_CONNECTIONS_MAX = 32
"""Connections of an ordinary node."""
BOOTSTRAP_CONNECTIONS_MAX = 1_024
"""Connections of a public node."""
ANNOUNCED_MAX = 4
DROP_REASONS_MAX = 64
"""Different reasons that are counted apart; a remote may be inventive."""
WAY_STAGGER_S = 0.5
"""After which the next way to a recipient is tried beside the one that has not answered."""
WAY_TIMEOUT_S = 8.0
TOPIC_STAGGER_S = 1.5
"""After which the topic is tried beside ways that have not answered."""
PUBLISHERS_MAX = 2
"""Anchors of ours that publish one message."""

ROOM = "p2p"


@dataclass(slots=True)
class State:
    """What a node keeps when its host has to be started again."""

    section: Section
    identity: Identity
    platform: Platform
    events: EventSink
    is_bootstrap: bool
    lend_relay: RelayLender | None
    community: CommunitySecret
    inboxes: Inboxes
    directory: Directory
    grants: RelayGrants
    random: Random
    store: RecordStore = field(default_factory=RecordStore)
    dropped: Counter[str] = field(default_factory=Counter)

    def count_fault(self, reason: str) -> None:
        """Count and report something from the network that was refused."""
        if reason not in self.dropped and len(self.dropped) >= DROP_REASONS_MAX:
            reason = "other"
        self.dropped[reason] += 1
        self.events.emit(Dropped(room=ROOM, reason=reason))


class OverlayNode:
    """The parts that run on one host, wired together."""

    def __init__(self, state: State, host: Host, nursery: trio.Nursery) -> None:
        section, platform, fault = state.section, state.platform, state.count_fault
        self.host = host
        self._state = state
        self._table = RoutingTable(position(check_peer_id(host.peer_id)))
        self._configured = section.bootstrap_addresses()
        for peer_id, addresses in self._configured.items():
            self._table.add(ServerNode(peer_id, position(check_peer_id(peer_id)), addresses))
        self.listening = reachable_addresses(state, host)
        self.anchors = AnchorClient(host, state.inboxes, platform, fault)
        self.connections = Connections(
            host,
            section.bootstrap,
            state.events,
            state.random,
            use=host.wait_disconnected if state.is_bootstrap else self.anchors.run,
        )
        self.dht = KadClient(
            host,
            self._table,
            RequestPool(host, KAD_PROTOCOL, nursery, fault),
            platform,
            announced=self.listening if state.is_bootstrap else (),
            is_kept=self.connections.is_kept,
            count_fault=fault,
        )
        self._watches = WatchClient(
            host, nursery, platform, lambda key, record: self.resolver.learn(key, record), fault
        )
        self.resolver = Resolver(state.directory, self.dht, self._watches, fault)
        self.publisher = Publisher(state.inboxes, self.dht, self._presence, platform, state.events)
        self._borrower = Borrower(
            host,
            self.connections,
            self._configured,
            state.grants,
            state.community,
            platform,
            fault,
        )
        self.bootstrap: BootstrapRole | None = None
        if state.is_bootstrap:
            self.bootstrap = BootstrapRole(
                host,
                self._table,
                state.store,
                self.dht,
                platform,
                nursery,
                state.random,
                fault,
                state.community,
                state.lend_relay,
            )
        anchor = self.bootstrap.anchor if self.bootstrap else None
        host.serve(ENVELOPE_PROTOCOL, EnvelopeServer(state.inboxes, anchor, fault).serve)
        self._envelopes = EnvelopeClient(host, nursery, fault)
        self._topics = TopicClient(host, nursery, fault)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.connections.run)
            nursery.start_soon(self._watch_network)
            nursery.start_soon(self._watch_clock)
            if self.bootstrap is not None:
                nursery.start_soon(self.bootstrap.run, self.connections.changed)
            else:
                nursery.start_soon(self.publisher.run)
                nursery.start_soon(self.resolver.run, self.connections.changed)
                nursery.start_soon(self._borrower.run)
                nursery.start_soon(_forward, self.anchors.changed, self.publisher.due)
                nursery.start_soon(_forward, self._state.inboxes.changed, self.publisher.due)

    def is_valuable(self, peer_id: str) -> bool:
        """Whether connections to a peer are in use and are the last to be closed."""
        if self.connections.is_kept(peer_id):
            return True
        return self.bootstrap is not None and self.bootstrap.is_valuable(peer_id)

    async def deliver(self, found: Found, envelope_id: bytes, envelope: bytes) -> str | None:
        """Try the ways to a recipient until it acknowledges; the way's name, None if none did.

        They are tried in order, each a little after the one before or as soon as that failed;
        the recipient knows the second copy of an envelope when it sees it. Its topic is the last,
        and not tried where everybody who takes its envelopes has answered that it is not there.
        """
        taken_by: list[str] = []
        answers: list[Status] = []

        async def attempt(
            way: str, send: Callable[[], Awaitable["Status"]], ended: trio.Event
        ) -> None:
            with trio.move_on_after(WAY_TIMEOUT_S):
                try:
                    answers.append(await send())
                except SignalingUnavailableError:
                    pass
                else:
                    if answers[-1] == Status.TAKEN:
                        taken_by.append(way)
                        nursery.cancel_scope.cancel()
            ended.set()

        async def start(way: str, send: Callable[[], Awaitable["Status"]]) -> trio.Event:
            ended = trio.Event()
            nursery.start_soon(attempt, way, send, ended)
            with trio.move_on_after(WAY_STAGGER_S):
                await ended.wait()
            return ended

        async with trio.open_nursery() as nursery:
            ways = [
                await start(way, partial(self._send, node, found, envelope_id, envelope))
                for way, node in self._ways(found.presence)
            ]
            with trio.move_on_after(TOPIC_STAGGER_S):
                for ended in ways:
                    await ended.wait()
            if len(answers) < len(ways):
                nonce = self._state.platform.random_bytes(NONCE_SIZE_BYTES)
                publish = make_publish(found.blinded_key, envelope_id, envelope, nonce)
                for peer_id in self.connections.connected[:PUBLISHERS_MAX]:
                    await start("topic", partial(self._topics.publish, peer_id, publish))
        return taken_by[0] if taken_by else None

    async def _send(
        self, node: Node, found: Found, envelope_id: bytes, envelope: bytes
    ) -> "Status":
        """Over a stream to the recipient or one of its anchors."""
        peer_id = await self._connect(node)
        return await self._envelopes.send(peer_id, found.blinded_key, envelope_id, envelope)

    def _ways(self, presence: Presence) -> list[tuple[str, Node]]:
        ways = []
        if presence.node.addresses or self.host.is_connected(_text(presence.node)):
            ways.append(("stream", presence.node))
        # Stable: among those alike, the recipient's own order counts.
        anchors = sorted(
            presence.anchors, key=lambda anchor: not self.host.is_connected(_text(anchor))
        )
        return ways + [("anchor", anchor) for anchor in anchors]

    async def _connect(self, node: Node) -> str:
        peer_id = _text(node)
        if not self.host.is_connected(peer_id):
            if self.connections.is_kept(peer_id):
                raise SignalingUnavailableError(f"{peer_id} is being dialled")
            await self.host.connect(peer_id, _addresses(node))
        return peer_id

    def _presence(self) -> Presence | None:
        """What our record says: public addresses if we have any, and who takes our envelopes."""
        own = Node(
            check_peer_id(self.host.peer_id),
            tuple(str(address) for address in self._state.section.announce[:ANNOUNCED_MAX]),
        )
        anchors = tuple(
            Node(
                check_peer_id(peer_id),
                tuple(str(address) for address in self._configured[peer_id][:ANNOUNCED_MAX]),
            )
            for peer_id in self.anchors.anchors[:ANCHORS_MAX]
        )
        if not anchors and not own.addresses:
            return None
        return Presence(own, anchors)

    async def _watch_network(self) -> None:
        async with self._state.platform.watch_network() as changes:
            async for _ in changes:
                self._network_changed()

    async def _watch_clock(self) -> None:
        while True:
            await wait_jump(self._state.platform)
            # The host has slept: whoever we were connected to may long have given us up.
            self._watches.renew()
            self._network_changed()

    def _network_changed(self) -> None:
        self.connections.hurry()
        self.anchors.probe()
        self._borrower.hurry()


async def run_node(
    state: State, use: Callable[[OverlayNode], None], own_errors: list[BaseException]
) -> None:
    """Run one host until it dies. ``own_errors`` gets what our own tasks raised, unwrapped."""
    nodes: list[OverlayNode] = []
    async with open_host(
        state.identity,
        state.section.listen,
        connections_max=BOOTSTRAP_CONNECTIONS_MAX if state.is_bootstrap else PEER_CONNECTIONS_MAX,
        is_valuable=lambda peer_id: any(node.is_valuable(peer_id) for node in nodes),
        count_fault=state.count_fault,
    ) as host:
        try:
            async with trio.open_nursery() as nursery:
                node = OverlayNode(state, host, nursery)
                nodes.append(node)
                use(node)
                await node.run()
        except BaseExceptionGroup as group:
            # Tasks that are only cancelled, because the host under them died, have no fault.
            _, own = group.split(trio.Cancelled)
            if own is not None:
                own_errors.append(own)
            raise


def reachable_addresses(state: State, host: Host) -> tuple[TcpAddress, ...]:
    """Where others may reach this node: as announced, or as it listens.

    A wildcard address stands for the host's addresses, of loopback only if there are no others.
    """
    if state.section.announce:
        return state.section.announce[:ANNOUNCED_MAX]
    found: dict[TcpAddress, None] = {}
    for text in host.addresses():
        address = TcpAddress.parse(text.partition("/p2p/")[0])
        if address.is_specific:
            found[address] = None
        else:
            found.update(dict.fromkeys(_expand(address, state.platform)))
    return tuple(found)


def _expand(wildcard: TcpAddress, platform: Platform) -> list[TcpAddress]:
    version = ip_address(wildcard.host).version
    hosts = [
        interface.ip
        for device in platform.interfaces()
        if device.is_up
        for interface in device.addresses
        if interface.version == version and not interface.ip.is_link_local
    ]
    outside = [host for host in hosts if not host.is_loopback]
    return [TcpAddress(str(host), wildcard.port) for host in outside or hosts]


def _text(node: Node) -> str:
    return peer_id_text(node.peer_id)


def _addresses(node: Node) -> list[TcpAddress]:
    addresses = []
    for text in node.addresses:
        try:
            address = TcpAddress.parse(text)
        except ValueError:
            continue  # of a kind we do not know, perhaps of a later version
        if address.is_specific:
            addresses.append(address)
    return addresses


async def _forward(source: Signal, target: Signal) -> None:
    seen = source.count
    while True:
        seen = await source.wait_beyond(seen)
        target.notify()
