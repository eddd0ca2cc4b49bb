"""Finding and being found: presence records out, recipients' records in (DESIGN D7, D10)."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from p2p.clock import wait_due
from p2p.dht import KadClient
from p2p.inboxes import Inboxes
from p2p.records import (
    Presence,
    VerifiedRecord,
    build_record,
    is_newer,
    open_record,
    verify_record,
)
from p2p.signal import Signal
from p2p.streams import StreamClosedError
from p2p.watches import WatchClient
from wice.errors import RemoteProtocolError
from wice.events import EventSink, PeerFound, PresencePublished
from wice.keys import (
    EPOCH_LENGTH_S,
    BlindedKey,
    CommunitySecret,
    EpochSigner,
    PublicKey,
    blind,
    epoch_at,
    epochs_to_read,
)
from wice.platform import Platform

REFRESH_S = 3_600.0
"""Records live for six hours: a publisher may miss five of these."""
PUBLISH_GAP_S = 0.2
"""Between two publications: anchors that come one after the other make one record."""
RETRY_MIN_S = 1.0
RETRY_MAX_S = 60.0
"""Between attempts to store a record that no node took."""
SEQUENCES_REMEMBERED_MAX = 256

PEERS_MAX = 16_384
"""Recipients that are remembered, above the peers that an interface may have; the one not written
to for longest gives way."""
INTEREST_S = 3_600.0
"""A recipient not written to for that long is no longer watched."""
WATCH_CHECK_S = 60.0
FOUND_AGAIN_S = 1.0
"""A peer's records of two epochs and from several nodes are one piece of news."""


class Publisher:
    """Keeps our records in the DHT: when anchors or keys change, each epoch, each hour."""

    def __init__(
        self,
        inboxes: Inboxes,
        dht: KadClient,
        presence: Callable[[], Presence | None],
        platform: Platform,
        events: EventSink,
    ) -> None:
        """presence: what to say of ourselves; None while there is no way to reach us."""
        self.due = Signal()
        self._inboxes = inboxes
        self._dht = dht
        self._presence = presence
        self._platform = platform
        self._events = events
        self._sequences: OrderedDict[BlindedKey, int] = OrderedDict()
        self.published: dict[int, int] = {}

    async def run(self) -> None:
        """Publish whenever ``due`` is notified, and in time."""
        retry_s = RETRY_MIN_S
        while True:
            seen = self.due.count
            is_complete = await self._publish_all()
            retry_s = RETRY_MIN_S if is_complete else min(retry_s * 2, RETRY_MAX_S)
            wait_s = min(REFRESH_S, self._until_next_epoch_s()) if is_complete else retry_s
            if self.published:
                await trio.sleep(PUBLISH_GAP_S)
            await wait_due(self._platform, wait_s, self.due, seen)

    async def _publish_all(self) -> bool:
        """Whether every record of ours is held by somebody."""
        self.published = {}
        presence = self._presence()
        if presence is None:
            return True  # nothing to say; whatever changes that makes us due
        complete: list[bool] = []

        async def publish(signer: EpochSigner) -> None:
            complete.append(await self._publish(signer, presence))

        async with trio.open_nursery() as nursery:
            for signer in self._inboxes.signers_to_publish():
                nursery.start_soon(publish, signer)
        return all(complete)

    async def _publish(self, signer: EpochSigner, presence: Presence) -> bool:
        key = signer.blinded_key
        now_wall = self._platform.wall_time()
        raw = build_record(
            signer,
            presence,
            now_wall=now_wall,
            random_bytes=self._platform.random_bytes,
            previous_sequence=self._sequences.pop(key, 0),
        )
        record = verify_record(key.dht_key(), raw, now_wall)
        stored = await self._dht.put(key.dht_key(), record)
        # If our clock went back, a node tells the sequence we had; the next record is above it.
        self._sequences[key] = stored.newest
        if len(self._sequences) > SEQUENCES_REMEMBERED_MAX:
            self._sequences.popitem(last=False)
        self.published[signer.epoch] = stored.replicas
        if stored.replicas:
            self._events.emit(PresencePublished(epoch=signer.epoch, replicas=stored.replicas))
        return stored.replicas > 0

    def _until_next_epoch_s(self) -> float:
        now_wall = self._platform.wall_time()
        return max((epoch_at(now_wall) + 1) * EPOCH_LENGTH_S - now_wall, 1.0)


@dataclass(slots=True)
class _Peer:
    """What we know of one recipient: its DHT keys, its newest records, what these say, by epoch."""

    wanted_at: float
    keys: dict[int, bytes] = field(default_factory=dict)
    records: dict[int, VerifiedRecord] = field(default_factory=dict)
    presences: dict[int, Presence] = field(default_factory=dict)
    told: Presence | None = None
    told_at: float = float("-inf")
    attempts: list["_Attempt"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """Where a recipient can be reached, under which key, by its record of which sequence."""

    blinded_key: BlindedKey
    presence: Presence
    sequence: int


@dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """To reach a recipient where it was found."""

    found: Found
    scope: trio.CancelScope


class Directory:
    """The recipients we write to and their newest records. It outlives a host."""

    def __init__(self, community: CommunitySecret, platform: Platform, events: EventSink) -> None:
        self._community = community
        self._platform = platform
        self._events = events
        self._peers: OrderedDict[PublicKey, _Peer] = OrderedDict()
        self._owners: dict[bytes, tuple[PublicKey, int]] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def want(self, peer: PublicKey) -> None:
        """Note that somebody writes to ``peer``."""
        now = trio.current_time()
        known = self._peers.setdefault(peer, _Peer(now))
        known.wanted_at = now
        self._peers.move_to_end(peer)
        if len(self._peers) > PEERS_MAX:
            self._forget(next(iter(self._peers)))

    def keys(self, peer: PublicKey) -> list[bytes]:
        """The DHT keys under which a wanted ``peer`` may be now, the likeliest first."""
        known = self._peers[peer]
        epochs = epochs_to_read(self._platform.wall_time())
        for epoch in set(known.keys) - set(epochs):
            del self._owners[known.keys.pop(epoch)]
            known.records.pop(epoch, None)
            known.presences.pop(epoch, None)
        for epoch in epochs:
            if epoch not in known.keys:
                key = blind(peer, self._community, epoch).dht_key()
                known.keys[epoch] = key
                self._owners[key] = (peer, epoch)
        return [known.keys[epoch] for epoch in epochs]

    def wanted(self) -> list[PublicKey]:
        """Who is written to, without those that have not been for long."""
        oldest = trio.current_time() - INTEREST_S
        for peer in [peer for peer, known in self._peers.items() if known.wanted_at < oldest]:
            self._forget(peer)
        return list(self._peers)

    def found(self, peer: PublicKey) -> Found | None:
        """Where ``peer`` is by the records we have, the newest epoch that counts now."""
        known = self._peers.get(peer)
        if known is None:
            return None
        now_wall = self._platform.wall_time()
        for epoch in epochs_to_read(now_wall):
            record = known.records.get(epoch)
            if record is not None and record.expiry > now_wall:
                return Found(record.blinded_key, known.presences[epoch], record.sequence)
        return None

    @contextmanager
    def until_found_anew(self, peer: PublicKey, found: Found) -> Iterator[None]:
        """End the block as soon as ``peer`` is found by another record than ``found``."""
        known = self._peers.get(peer)
        if known is None:  # forgotten, and not to be heard of
            yield
            return
        with trio.CancelScope() as scope:
            attempt = _Attempt(found, scope)
            known.attempts.append(attempt)
            try:
                yield
            finally:
                known.attempts.remove(attempt)

    def learn(self, key: bytes, record: VerifiedRecord) -> None:
        """Take a genuine record that was found; raise RemoteProtocolError if it does not open."""
        owner = self._owners.get(key)
        if owner is None:
            return  # of somebody we no longer write to
        peer, epoch = owner
        known = self._peers[peer]
        held = known.records.get(epoch)
        if held is not None and not is_newer(record, held):
            return
        presence = open_record(record, peer, self._community)
        known.records[epoch], known.presences[epoch] = record, presence
        if known.attempts:
            found = self.found(peer)
            for attempt in known.attempts:
                if attempt.found != found:
                    attempt.scope.cancel()
        now = trio.current_time()
        if presence != known.told or now - known.told_at >= FOUND_AGAIN_S:
            known.told, known.told_at = presence, now
            self._events.emit(PeerFound(peer=peer))

    def _forget(self, peer: PublicKey) -> None:
        for key in self._peers.pop(peer).keys.values():
            del self._owners[key]


class Resolver:
    """Looks recipients up, and has them watched so that news comes by itself."""

    def __init__(
        self,
        directory: Directory,
        dht: KadClient,
        watches: WatchClient,
        count_fault: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._dht = dht
        self._watches = watches
        self._count_fault = count_fault

    async def resolve(self, peer: PublicKey, *, afresh: bool = False) -> Found | None:
        """Where ``peer`` is: as known, or else, or if ``afresh``, from the DHT."""
        self._directory.want(peer)
        if not afresh and (found := self._directory.found(peer)) is not None:
            return found
        await self.look_up(peer, thorough=afresh)
        return self._directory.found(peer)

    async def look_up(self, peer: PublicKey, *, thorough: bool = False) -> None:
        """Ask for every epoch's key at once; leave watches with the nodes that should know."""
        keys = self._directory.keys(peer)  # once: the peer may be forgotten while we ask
        async with trio.open_nursery() as nursery:
            for key in keys:
                nursery.start_soon(self._look_up_key, key, thorough)
        await self._watch(keys)

    async def run(self, connected: Signal) -> None:
        """Keep the watches up: in time, and with nodes that have come back.

        A new watch is answered with the record that is there, so nothing is looked up here.
        """
        while True:
            seen = connected.count
            await self._watch(
                [key for peer in self._directory.wanted() for key in self._directory.keys(peer)]
            )
            with trio.move_on_after(WATCH_CHECK_S):
                await connected.wait_beyond(seen)

    def learn(self, key: bytes, record: VerifiedRecord) -> None:
        """Take a genuine record; what does not open is counted and dropped."""
        try:
            self._directory.learn(key, record)
        except RemoteProtocolError as error:
            self._count_fault(f"presence record: {error}")

    async def _look_up_key(self, key: bytes, thorough: bool) -> None:
        record = await self._dht.get(key, thorough=thorough)
        if record is not None:
            self.learn(key, record)

    async def _watch(self, keys: Sequence[bytes]) -> None:
        """Watch each key with those of its nearest nodes that we are connected to."""
        by_node: dict[str, list[bytes]] = {}
        for key in keys:
            for peer_id in self._dht.nearest_connected(key):
                by_node.setdefault(peer_id, []).append(key)
        for peer_id, node_keys in by_node.items():
            try:
                await self._watches.watch(peer_id, node_keys)
            except StreamClosedError:
                continue  # it is asked again when it is connected again
