"""Kademlia without I/O: who is near a key, whom to ask next, and what a node stores.

After libp2p's specification kad-dht: the distance of two keys is the XOR of their SHA-256. Only
nodes in server role are in tables, in answers and in lookups; a client is in none of them.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from p2p.records import RECORD_SIZE_MAX_BYTES, VerifiedRecord, accept_record
from p2p.section import TcpAddress

REPLICAS = 5
"""Nodes nearest to a key that hold its record."""
BUCKET_SIZE = 20
"""Nodes of one distance in a table, and in one answer: the specification's k."""
QUERIES_PARALLEL = 4
QUERIES_MAX = 32
"""Nodes that one lookup asks at most."""
LOOKUP_NODES_MAX = 128
"""Nodes that one lookup remembers at most, whatever the answers name."""
FAILURES_MAX = 3
"""Failures in a row after which a node may be replaced in a table."""
NODE_ADDRESSES_MAX = 4

RECORDS_MAX = 50_000
STORE_SIZE_MAX_BYTES = 128 * 1024 * 1024
RECORDS_MAX_BY_SIZE = STORE_SIZE_MAX_BYTES // RECORD_SIZE_MAX_BYTES


def position(key: bytes) -> int:
    """Where a DHT key, or the bytes of a peer id, stands in the key space."""
    return int.from_bytes(hashlib.sha256(key).digest(), "big")


@dataclass(frozen=True, slots=True)
class ServerNode:
    """A node in server role: its base58 peer id, where it stands, where it can be dialled."""

    peer_id: str
    position: int
    addresses: tuple[TcpAddress, ...]


class RoutingTable:
    """The server nodes we know, at most ``BUCKET_SIZE`` for each bit of distance from us."""

    def __init__(self, own_position: int) -> None:
        self._own_position = own_position
        self._nodes: dict[str, ServerNode] = {}
        self._failures: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, peer_id: str) -> bool:
        return peer_id in self._nodes

    def get(self, peer_id: str) -> ServerNode | None:
        return self._nodes.get(peer_id)

    def nodes(self) -> list[ServerNode]:
        return list(self._nodes.values())

    def add(self, node: ServerNode) -> bool:
        """Know ``node``; False where its bucket is full of nodes that answer."""
        if node.position == self._own_position:
            return False
        if node.peer_id not in self._nodes:
            bucket = self._bucket(node)
            if len(bucket) >= BUCKET_SIZE:
                worst = max(bucket, key=lambda other: self._failures[other.peer_id])
                if self._failures[worst.peer_id] < FAILURES_MAX:
                    return False
                self.remove(worst.peer_id)
        self._nodes[node.peer_id] = node
        return True

    def remove(self, peer_id: str) -> None:
        self._nodes.pop(peer_id, None)
        self._failures.pop(peer_id, None)

    def succeeded(self, peer_id: str) -> None:
        self._failures.pop(peer_id, None)

    def failed(self, peer_id: str) -> None:
        if peer_id in self._nodes:
            self._failures[peer_id] += 1

    def nearest(self, target: int, count: int = BUCKET_SIZE) -> list[ServerNode]:
        return sorted(self._nodes.values(), key=lambda node: node.position ^ target)[:count]

    def _bucket(self, node: ServerNode) -> list[ServerNode]:
        bits = (node.position ^ self._own_position).bit_length()
        return [
            other
            for other in self._nodes.values()
            if (other.position ^ self._own_position).bit_length() == bits
        ]


class Lookup:
    """One iterative lookup: ask the nearest nodes known, learn nearer ones, until none is nearer.

    ``next_queries`` names whom to ask now; each of them then ends in ``answered`` or ``failed``.
    """

    def __init__(self, target: int, seeds: Iterable[ServerNode], count: int = REPLICAS) -> None:
        self._target = target
        self._count = count
        self._known: dict[str, ServerNode] = {}
        self._asking: set[str] = set()
        self._answered: set[str] = set()
        self._failed: set[str] = set()
        self._learn(seeds)

    def next_queries(self) -> list[ServerNode]:
        """Whom to ask now, already counted as being asked."""
        asked = len(self._asking) + len(self._answered) + len(self._failed)
        room = min(QUERIES_PARALLEL - len(self._asking), QUERIES_MAX - asked)
        queries = [
            node
            for node in self._nearest_alive()
            if node.peer_id not in self._asking and node.peer_id not in self._answered
        ][: max(room, 0)]
        self._asking.update(node.peer_id for node in queries)
        return queries

    def answered(self, peer_id: str, nearer: Iterable[ServerNode] = ()) -> None:
        self._asking.discard(peer_id)
        self._answered.add(peer_id)
        self._learn(nearer)

    def failed(self, peer_id: str) -> None:
        self._asking.discard(peer_id)
        self._failed.add(peer_id)

    def nearest_answered(self) -> list[ServerNode]:
        """The nodes that hold, or should hold, the record: the nearest that answered."""
        return [node for node in self._nearest_alive() if node.peer_id in self._answered]

    def _nearest_alive(self) -> list[ServerNode]:
        alive = (node for node in self._known.values() if node.peer_id not in self._failed)
        return sorted(alive, key=lambda node: node.position ^ self._target)[: self._count]

    def _learn(self, nodes: Iterable[ServerNode]) -> None:
        for node in nodes:
            if len(self._known) >= LOOKUP_NODES_MAX:
                return
            self._known.setdefault(node.peer_id, node)


@dataclass(slots=True)
class _Entry:
    record: VerifiedRecord
    source: str


@dataclass(slots=True)
class RecordStore:
    """The records that a server node holds, all verified.

    When it is full, the source (an IPv4 address, or the /64 of an IPv6 address) that fills it most
    gives up its record that expires first: a flood from one place crowds out itself.
    """

    records_max: int = min(RECORDS_MAX, RECORDS_MAX_BY_SIZE)
    _entries: dict[bytes, _Entry] = field(default_factory=dict)
    _per_source: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now_wall: float) -> VerifiedRecord | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.record.expiry <= now_wall:
            self._remove(key)
            return None
        return entry.record

    def put(self, key: bytes, offered: bytes, source: str, now_wall: float) -> VerifiedRecord:
        """Hold ``offered`` if it is genuine, alive and not older; raise RemoteProtocolError."""
        record = accept_record(key, offered, self.get(key, now_wall), now_wall)
        self._remove(key)
        if len(self._entries) >= self.records_max:
            self.drop_expired(now_wall)
        if len(self._entries) >= self.records_max:
            self._remove(self._victim())
        self._entries[key] = _Entry(record, source)
        self._per_source[source] += 1
        return record

    def drop_expired(self, now_wall: float) -> None:
        expired = [k for k, entry in self._entries.items() if entry.record.expiry <= now_wall]
        for key in expired:
            self._remove(key)

    def stored_bytes(self) -> Sequence[tuple[bytes, bytes]]:
        """Every key with its record, as the network and this node's memory show them."""
        return [(key, entry.record.raw) for key, entry in self._entries.items()]

    def _victim(self) -> bytes:
        (source, _), *_ = self._per_source.most_common(1)
        return min(
            (key for key, entry in self._entries.items() if entry.source == source),
            key=lambda key: self._entries[key].record.expiry,
        )

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._per_source[entry.source] -= 1
            if not self._per_source[entry.source]:
                del self._per_source[entry.source]
