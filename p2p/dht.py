"""The DHT on libp2p streams: a server's answers and a client's lookups (``/wice/kad/1``).

The messages are those of libp2p's kad-dht; why the library's own DHT is not used is in
docs/adr/0007-own-dht-on-libp2p-streams.md. Two additions ride on fields the specification leaves
free: an answer to PUT_VALUE names nearer nodes too, so that one walk both looks up and stores, and
a node in server role says so in ``server``.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import trio

from p2p.frames import parse
from p2p.host import Host, source_of
from p2p.kad import (
    NODE_ADDRESSES_MAX,
    REPLICAS,
    Lookup,
    RecordStore,
    RoutingTable,
    ServerNode,
    position,
)
from p2p.reach import may_name
from p2p.records import VerifiedRecord, is_newer, verify_record
from p2p.requests import REQUESTS_IN_FLIGHT_MAX, RequestPool
from p2p.section import TcpAddress, check_peer_id, peer_id_text
from p2p.streams import FrameStream
from wice.errors import RemoteProtocolError, SignalingUnavailableError
from wice.platform import Platform
from wice.proto.overlay_pb2 import KadMessage, KadRecord

KAD_PROTOCOL = "/wice/kad/1"
KEY_SIZE_MAX_BYTES = 64
QUERY_TIMEOUT_S = 3.0
"""For one node to answer, its dialling included."""
REDIAL_AFTER_S = 30.0
"""A node that could not be dialled is not dialled again for a lookup before."""
UNREACHABLE_MAX = 1_024
DIALS_FAILED_MAX = 8
"""Dials of one lookup, to nodes that were named in its answers, that may have been in vain when
another is made."""
DIALS_FAILED_PER_NODE_MAX = 3
"""The same, to nodes that were first named by one node."""
CANDIDATES_MAX = 16
"""Nodes that ask to be known as servers and wait to be dialled back."""

CountFault = Callable[[str], None]


class KadServer:
    """Answers on a node in server role. ``on_stored`` hears of every record that is taken."""

    def __init__(
        self,
        host: Host,
        table: RoutingTable,
        store: RecordStore,
        platform: Platform,
        on_stored: Callable[[bytes, VerifiedRecord], None],
        count_fault: CountFault,
    ) -> None:
        self._host = host
        self._table = table
        self._store = store
        self._platform = platform
        self._on_stored = on_stored
        self._count_fault = count_fault
        self._candidates_in, self._candidates = trio.open_memory_channel[ServerNode](CANDIDATES_MAX)

    async def serve(self, stream: FrameStream) -> None:
        while True:
            message = KadMessage()
            parse(message, await stream.receive())
            if message.HasField("server"):
                self._consider(message.server, stream.peer_id)
            await stream.send(self.answer(message, stream.peer_id).SerializeToString())

    def answer(self, message: KadMessage, peer_id: str) -> KadMessage:
        """What we say to ``message`` from ``peer_id``; raise RemoteProtocolError."""
        if len(message.key) > KEY_SIZE_MAX_BYTES:
            raise RemoteProtocolError("a key that is too long")
        answer = KadMessage(type=message.type, key=message.key)
        held: VerifiedRecord | None = None
        now_wall = self._platform.wall_time()
        if message.type == KadMessage.PUT_VALUE:
            held = self._put(message, peer_id, now_wall)
        elif message.type == KadMessage.GET_VALUE:
            held = self._store.get(message.key, now_wall)
        if held is not None:
            answer.record.CopyFrom(KadRecord(key=message.key, value=held.raw))
        if message.type != KadMessage.PING:
            answer.closer_peers.extend(
                _to_peer(node)
                for node in self._table.nearest(position(message.key))
                if node.peer_id != peer_id
            )
        return answer

    def _put(self, message: KadMessage, peer_id: str, now_wall: float) -> VerifiedRecord:
        key, offered = message.key, message.record.value
        if message.record.key != key:
            raise RemoteProtocolError("a record under another key")
        source = source_of(self._host, peer_id)
        try:
            stored = self._store.put(key, offered, source, now_wall)
        except RemoteProtocolError:
            held = self._store.get(key, now_wall)
            if held is None or not is_newer(held, verify_record(key, offered, now_wall)):
                raise
            # Genuine but older: its owner learns the sequence it has to get above.
            self._count_fault("a record older than the one held")
            return held
        self._on_stored(key, stored)
        return stored

    def _consider(self, server: KadMessage.Peer, peer_id: str) -> None:
        """Queue a node to be dialled back, only ever where it is itself connected from."""
        if peer_id in self._table:
            return
        node = _to_node(server)
        if node is None or node.peer_id != peer_id:
            raise RemoteProtocolError("a node that announces another")
        remote_hosts = self._host.remote_hosts(peer_id)
        addresses = tuple(address for address in node.addresses if address.host in remote_hosts)
        if addresses:
            try:
                self._candidates_in.send_nowait(ServerNode(peer_id, node.position, addresses))
            except trio.WouldBlock:
                self._count_fault("too many nodes ask to be servers")

    async def run(self) -> None:
        """Dial back the nodes that ask to be known as servers, one after the other."""
        async for node in self._candidates:
            if node.peer_id in self._table:
                continue
            for address in node.addresses:
                if await self._host.verify_address(node.peer_id, address):
                    self._table.add(node)
                    break


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a record went. ``newest`` is the highest sequence met, ours or another's."""

    replicas: int
    newest: int


class KadClient:
    """Looks up and stores. ``announced``: our addresses if we are in server role ourselves."""

    def __init__(
        self,
        host: Host,
        table: RoutingTable,
        requests: RequestPool,
        platform: Platform,
        *,
        announced: Sequence[TcpAddress],
        is_kept: Callable[[str], bool],
        count_fault: CountFault,
    ) -> None:
        """is_kept: whether somebody else keeps up the connection to a peer and dials it."""
        self._host = host
        self._table = table
        self._requests = requests
        self._platform = platform
        self._is_kept = is_kept
        self._count_fault = count_fault
        self._unreachable: dict[str, float] = {}
        self._queues: dict[str, trio.CapacityLimiter] = {}
        self._own: KadMessage.Peer | None = None
        if announced:
            self._own = _to_peer(
                ServerNode(host.peer_id, position(check_peer_id(host.peer_id)), tuple(announced))
            )

    async def put(self, key: bytes, record: VerifiedRecord) -> Stored:
        """Store ``record`` on the nodes nearest to ``key``, walking nearer as they tell."""
        message = KadMessage(
            type=KadMessage.PUT_VALUE, key=key, record=KadRecord(key=key, value=record.raw)
        )
        holders: set[str] = set()
        newest = record.sequence

        def on_answer(node: ServerNode, answer: KadMessage) -> bool:
            nonlocal newest
            held = self._verified(key, answer)
            if held is not None and held.raw == record.raw:
                holders.add(node.peer_id)
            elif held is not None:
                newest = max(newest, held.sequence)
            return False

        nearest = await self._walk(key, message, on_answer)
        return Stored(sum(node.peer_id in holders for node in nearest), newest)

    async def get(self, key: bytes, *, thorough: bool = False) -> VerifiedRecord | None:
        """The record under ``key``: the first genuine one found.

        If ``thorough``, the newest that any of the nearest nodes has.
        """
        found: VerifiedRecord | None = None

        def on_answer(_node: ServerNode, answer: KadMessage) -> bool:
            nonlocal found
            record = self._verified(key, answer)
            if record is not None and (found is None or is_newer(record, found)):
                found = record
            return found is not None and not thorough

        await self._walk(key, KadMessage(type=KadMessage.GET_VALUE, key=key), on_answer)
        return found

    def nearest_connected(self, key: bytes) -> list[str]:
        """Those of the nodes that should hold ``key`` that we are connected to."""
        nearest = self._table.nearest(position(key), REPLICAS)
        return [node.peer_id for node in nearest if self._host.is_connected(node.peer_id)]

    async def refresh(self) -> None:
        """Get to know the servers near us, and be known to them if we are one."""
        own_key = check_peer_id(self._host.peer_id)
        message = KadMessage(type=KadMessage.FIND_NODE, key=own_key)
        await self._walk(own_key, message, lambda _node, _answer: False)

    async def _walk(
        self,
        key: bytes,
        message: KadMessage,
        on_answer: Callable[[ServerNode, KadMessage], bool],
    ) -> list[ServerNode]:
        """Send ``message`` ever nearer to ``key``; ends early where ``on_answer`` says True."""
        lookup = Lookup(position(key), self._table.nearest(position(key)), REPLICAS)
        if self._own is not None:
            message.server.CopyFrom(self._own)
        payload = message.SerializeToString()
        vain = _VainDials()
        async with trio.open_nursery() as nursery:

            def ask_next() -> None:
                for node in lookup.next_queries():
                    nursery.start_soon(ask, node)

            async def ask(node: ServerNode) -> None:
                try:
                    with vain.count(
                        node.peer_id, is_dial=not self._host.is_connected(node.peer_id)
                    ):
                        answer = await self._query(node, payload)
                except SignalingUnavailableError:
                    lookup.failed(node.peer_id)
                    self._table.failed(node.peer_id)
                else:
                    nearer = self._named(node.peer_id, answer.closer_peers)
                    vain.named(node.peer_id, nearer)
                    lookup.answered(node.peer_id, nearer)
                    self._table.add(node)
                    self._table.succeeded(node.peer_id)
                    if on_answer(node, answer):
                        nursery.cancel_scope.cancel()
                ask_next()

            ask_next()
        return lookup.nearest_answered()

    def _named(self, teller: str, peers: Iterable[KadMessage.Peer]) -> list[ServerNode]:
        """Those of the nodes that ``teller`` names that are to be dialled on its word."""
        told_from = self._host.remote_hosts(teller)
        nodes = []
        for peer in peers:
            node = _to_node(peer, lambda address: may_name(told_from, address.host))
            if node is not None and node.peer_id != self._host.peer_id:
                nodes.append(node)
        return nodes

    async def _query(self, node: ServerNode, payload: bytes) -> KadMessage:
        """Ask one node; raise SignalingUnavailableError."""
        frame = b""
        # First, as whoever is being dialled is asked about by every lookup meanwhile.
        self._check_connectable(node)
        async with self._turn(node.peer_id):
            with trio.move_on_after(QUERY_TIMEOUT_S) as scope:
                await self.connect(node)
                frame = await self._requests.request(node.peer_id, payload)
            if scope.cancelled_caught:
                await self._requests.drop(node.peer_id)
                raise SignalingUnavailableError(f"{node.peer_id} did not answer")
        answer = KadMessage()
        try:
            parse(answer, frame)
        except RemoteProtocolError as error:
            self._count_fault(f"{KAD_PROTOCOL}: {error}")
            raise SignalingUnavailableError(str(error)) from error
        return answer

    @asynccontextmanager
    async def _turn(self, peer_id: str) -> AsyncIterator[None]:
        """Wait until a node has room for a query, so that waiting is not held against it."""
        queue = self._queues.setdefault(peer_id, trio.CapacityLimiter(REQUESTS_IN_FLIGHT_MAX))
        try:
            queue.acquire_nowait()
        except trio.WouldBlock:
            await queue.acquire()
        try:
            yield
        finally:
            queue.release()
            if not queue.borrowed_tokens and not queue.statistics().tasks_waiting:
                self._queues.pop(peer_id, None)

    async def connect(self, node: ServerNode) -> None:
        """Be connected to a server, not dialling again what did not answer lately.

        Raise SignalingUnavailableError.
        """
        if self._check_connectable(node):
            return
        self._unreachable.pop(node.peer_id, None)
        if len(self._unreachable) >= UNREACHABLE_MAX:
            del self._unreachable[next(iter(self._unreachable))]
        # Until proven otherwise, so that a dial cut short by the query's timeout counts as well.
        self._unreachable[node.peer_id] = trio.current_time() + REDIAL_AFTER_S
        await self._host.connect(node.peer_id, node.addresses)
        del self._unreachable[node.peer_id]

    def _check_connectable(self, node: ServerNode) -> bool:
        """Whether a server is connected; raise SignalingUnavailableError where it is not and is
        not to be dialled either.
        """
        if self._host.is_connected(node.peer_id):
            return True
        unreachable_until_s = self._unreachable.get(node.peer_id, 0.0)
        if self._is_kept(node.peer_id) or unreachable_until_s > trio.current_time():
            raise SignalingUnavailableError(f"{node.peer_id} is not connected")
        return False

    def _verified(self, key: bytes, answer: KadMessage) -> VerifiedRecord | None:
        if not answer.HasField("record"):
            return None
        try:
            return verify_record(key, answer.record.value, self._platform.wall_time())
        except RemoteProtocolError as error:
            self._count_fault(f"{KAD_PROTOCOL}: {error}")
            return None


def _to_peer(node: ServerNode) -> KadMessage.Peer:
    return KadMessage.Peer(
        id=check_peer_id(node.peer_id),
        addrs=[address.to_bytes() for address in node.addresses],
        connection=KadMessage.CAN_CONNECT,
    )


class _VainDials:
    """Bounds the dials of one lookup that are in vain. Nodes known before are not counted."""

    def __init__(self) -> None:
        self._tellers: dict[str, str] = {}
        self._vain: Counter[str] = Counter()

    def named(self, teller: str, nodes: Iterable[ServerNode]) -> None:
        for node in nodes:
            self._tellers.setdefault(node.peer_id, teller)

    @contextmanager
    def count(self, peer_id: str, *, is_dial: bool) -> Iterator[None]:
        """Around a query; raise SignalingUnavailableError where it would be one dial too many."""
        teller = self._tellers.get(peer_id)
        if teller is None or not is_dial:
            yield
            return
        if (
            self._vain.total() >= DIALS_FAILED_MAX
            or self._vain[teller] >= DIALS_FAILED_PER_NODE_MAX
        ):
            raise SignalingUnavailableError(f"{teller} named nodes that do not answer")
        try:
            yield
        except SignalingUnavailableError:
            self._vain[teller] += 1
            raise


def _to_node(
    peer: KadMessage.Peer, may_dial: Callable[[TcpAddress], bool] = lambda _: True
) -> ServerNode | None:
    """None for a peer that nobody could dial."""
    addresses = []
    for raw in peer.addrs[:NODE_ADDRESSES_MAX]:
        try:
            address = TcpAddress.from_bytes(raw)
        except ValueError:
            continue  # of a kind we do not know, perhaps of a later version
        if address.is_specific and may_dial(address):
            addresses.append(address)
    try:
        peer_id = peer_id_text(peer.id)
    except ValueError:
        return None
    return ServerNode(peer_id, position(peer.id), tuple(addresses)) if addresses else None
