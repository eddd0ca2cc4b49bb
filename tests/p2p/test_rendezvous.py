"""Publishing in time and remembering recipients, in virtual time without a network."""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p import rendezvous
from p2p.dht import Stored
from p2p.inboxes import ENVELOPE_IDS_MAX, INBOX_MAX, Inboxes
from p2p.records import Node, Presence, VerifiedRecord, build_record, verify_record
from p2p.rendezvous import Directory, Found, Publisher, Resolver
from wice.errors import LocalProtocolError, SignalingClosedError
from wice.events import Event, PeerFound, PresencePublished
from wice.keys import (
    EPOCH_LENGTH_S,
    CommunitySecret,
    EpochSigner,
    LocalKeyHolder,
    PrivateKey,
    epoch_at,
)

HARBOUR = CommunitySecret.from_name("harbour")
EPOCH = 20_000
HERE = Presence(Node(b"peer", ()), (Node(b"anchor", ("/ip4/192.0.2.1/tcp/4001",)),))


class VirtualPlatform:
    """Wall time that goes with trio's clock, from ``offset_s`` into an epoch."""

    def __init__(self, offset_s: float = 1_000.0) -> None:
        self.start = EPOCH * EPOCH_LENGTH_S + offset_s - trio.current_time()

    def wall_time(self) -> float:
        return self.start + trio.current_time()

    def random_bytes(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)

    def state_directory(self, path: Path) -> Path:
        return path

    def interfaces(self) -> list[Any]:
        return []

    @asynccontextmanager
    async def watch_network(self) -> AsyncIterator[None]:
        yield


class FakeDht:
    """Takes every record, or as many as it is told not to."""

    def __init__(self) -> None:
        self.puts: list[tuple[float, VerifiedRecord]] = []
        self.refuse = 0
        self.held_sequence = 0

    async def put(self, key: bytes, record: VerifiedRecord) -> Stored:
        await trio.sleep(0.05)
        assert record.blinded_key.dht_key() == key
        self.puts.append((trio.current_time(), record))
        if self.refuse:
            self.refuse -= 1
            return Stored(0, record.sequence)
        if record.sequence <= self.held_sequence:
            return Stored(0, self.held_sequence)
        return Stored(2, record.sequence)


class Events:
    def __init__(self) -> None:
        self.seen: list[Event] = []

    def emit(self, event: Event) -> None:
        self.seen.append(event)


def make_holder() -> LocalKeyHolder:
    return LocalKeyHolder(PrivateKey(os.urandom(32)), os.urandom)


@contextmanager
def publishing(
    platform: VirtualPlatform, dht: FakeDht, presence: list[Presence | None]
) -> Iterator[tuple[Publisher, Events]]:
    inboxes, events = Inboxes(HARBOUR, platform), Events()
    with inboxes.subscribe(make_holder()):
        yield (
            Publisher(inboxes, dht, lambda: presence[0], platform, events),  # type: ignore[arg-type]
            events,
        )


async def test_publishes_both_epochs_when_there_is_a_way_to_us(autojump_clock: Any) -> None:
    presence: list[Presence | None] = [None]
    dht = FakeDht()
    with publishing(VirtualPlatform(), dht, presence) as (publisher, events):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            await trio.sleep(10)
            assert dht.puts == []
            presence[0] = HERE
            publisher.due.notify()
            await trio.sleep(1)
            assert {record.epoch for _, record in dht.puts} == {EPOCH, EPOCH + 1}
            assert len(dht.puts) == 2
            replicas = [e.replicas for e in events.seen if isinstance(e, PresencePublished)]
            assert replicas == [2, 2]
            nursery.cancel_scope.cancel()


async def test_changes_that_come_together_are_one_publication(autojump_clock: Any) -> None:
    dht = FakeDht()
    with publishing(VirtualPlatform(), dht, [HERE]) as (publisher, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            await trio.sleep(0.1)
            for _ in range(5):
                publisher.due.notify()
                await trio.sleep(0.01)
            await trio.sleep(5)
            assert len(dht.puts) == 4
            nursery.cancel_scope.cancel()


async def test_publishes_again_each_hour_with_a_higher_sequence(autojump_clock: Any) -> None:
    dht = FakeDht()
    with publishing(VirtualPlatform(), dht, [HERE]) as (publisher, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            await trio.sleep(5 * 3_600 + 60)
            nursery.cancel_scope.cancel()
    ours = [record for _, record in dht.puts if record.epoch == EPOCH]
    assert len(ours) == 6
    assert all(a.sequence < b.sequence for a, b in itertools.pairwise(ours))


async def test_the_next_epoch_is_published_when_one_begins(autojump_clock: Any) -> None:
    dht = FakeDht()
    platform = VirtualPlatform(offset_s=EPOCH_LENGTH_S - 100.0)
    with publishing(platform, dht, [HERE]) as (publisher, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            await trio.sleep(110)
            assert epoch_at(platform.wall_time()) == EPOCH + 1
            assert {record.epoch for _, record in dht.puts} == {EPOCH, EPOCH + 1, EPOCH + 2}
            nursery.cancel_scope.cancel()


async def test_what_nobody_took_is_offered_again(autojump_clock: Any) -> None:
    dht = FakeDht()
    dht.refuse = 3
    with publishing(VirtualPlatform(), dht, [HERE]) as (publisher, events):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            await trio.sleep(30)
            assert {e.epoch for e in events.seen if isinstance(e, PresencePublished)} == {
                EPOCH,
                EPOCH + 1,
            }
            assert len(dht.puts) == 6
            nursery.cancel_scope.cancel()


async def test_a_clock_that_went_back_is_overtaken(autojump_clock: Any) -> None:
    """A node that holds a higher sequence says so, and the next record is above it."""
    dht = FakeDht()
    platform = VirtualPlatform()
    inboxes, events = Inboxes(HARBOUR, platform), Events()
    with inboxes.subscribe(make_holder()):
        (signer, _) = inboxes.signers_to_publish()
        future = build_record(
            signer, HERE, now_wall=platform.wall_time() + 500.0, random_bytes=os.urandom
        )
        key = signer.blinded_key.dht_key()
        dht.held_sequence = verify_record(key, future, platform.wall_time()).sequence
        publisher = Publisher(inboxes, dht, lambda: HERE, platform, events)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
    assert any(
        record.sequence > dht.held_sequence for _, record in dht.puts if record.epoch == EPOCH
    )
    assert EPOCH in {e.epoch for e in events.seen if isinstance(e, PresencePublished)}


# Directory


def record_of(
    holder: LocalKeyHolder, platform: VirtualPlatform, epoch: int, presence: Presence = HERE
) -> tuple[bytes, VerifiedRecord]:
    signer = EpochSigner(holder, HARBOUR, epoch, os.urandom)
    now_wall = platform.wall_time()
    raw = build_record(signer, presence, now_wall=now_wall, random_bytes=os.urandom)
    key = signer.blinded_key.dht_key()
    return key, verify_record(key, raw, now_wall)


async def test_finds_who_is_wanted_in_any_epoch_that_counts(autojump_clock: Any) -> None:
    platform, events = VirtualPlatform(), Events()
    directory = Directory(HARBOUR, platform, events)
    holder = make_holder()
    peer = holder.public_key
    directory.want(peer)
    keys = directory.keys(peer)
    assert len(keys) == 3
    assert directory.found(peer) is None
    for epoch in (EPOCH + 1, EPOCH):
        key, record = record_of(holder, platform, epoch)
        assert key in keys
        directory.learn(key, record)
        found = directory.found(peer)
        assert found is not None
        assert (found.blinded_key, found.presence) == (record.blinded_key, HERE)
    assert [event.peer for event in events.seen if isinstance(event, PeerFound)] == [peer]


async def test_tells_of_changes_and_of_repetitions_now_and_then(autojump_clock: Any) -> None:
    platform, events = VirtualPlatform(), Events()
    directory = Directory(HARBOUR, platform, events)
    holder = make_holder()
    directory.want(holder.public_key)
    directory.keys(holder.public_key)
    key, old = record_of(holder, platform, EPOCH)
    await trio.sleep(0.1)
    _, moved = record_of(holder, platform, EPOCH, Presence(Node(b"elsewhere", ())))
    directory.learn(key, old)
    directory.learn(key, moved)
    directory.learn(key, old)  # older than what is known
    assert len(events.seen) == 2
    await trio.sleep(10)
    _, again = record_of(holder, platform, EPOCH, Presence(Node(b"elsewhere", ())))
    directory.learn(key, again)
    assert len(events.seen) == 3


async def test_records_of_strangers_are_nothing_to_us(autojump_clock: Any) -> None:
    platform, events = VirtualPlatform(), Events()
    directory = Directory(HARBOUR, platform, events)
    holder = make_holder()
    directory.learn(*record_of(holder, platform, EPOCH))
    assert directory.found(holder.public_key) is None
    assert events.seen == []


async def test_keys_follow_the_epochs(autojump_clock: Any) -> None:
    platform = VirtualPlatform()
    directory = Directory(HARBOUR, platform, Events())
    holder = make_holder()
    directory.want(holder.public_key)
    now, following, before = directory.keys(holder.public_key)
    directory.learn(*record_of(holder, platform, EPOCH))
    await trio.sleep(EPOCH_LENGTH_S)
    assert directory.keys(holder.public_key)[0] == following
    assert directory.keys(holder.public_key)[2] == now
    assert before not in directory._owners
    assert directory.found(holder.public_key) is None, "the record has expired long ago"


async def test_who_is_not_written_to_is_forgotten(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "PEERS_MAX", 3)
    directory = Directory(HARBOUR, VirtualPlatform(), Events())
    peers = [make_holder().public_key for _ in range(4)]
    for peer in peers:
        directory.want(peer)
        directory.keys(peer)
    assert directory.wanted() == peers[1:]
    assert len(directory._owners) == 9
    await trio.sleep(rendezvous.INTEREST_S / 2)
    directory.want(peers[2])
    await trio.sleep(rendezvous.INTEREST_S * 0.6)
    assert directory.wanted() == [peers[2]]


# Inboxes


async def test_an_inbox_takes_each_envelope_once_and_so_many(autojump_clock: Any) -> None:
    inboxes = Inboxes(HARBOUR, VirtualPlatform())
    with inboxes.subscribe(make_holder()) as inbox:
        key = inboxes.signers_to_publish()[0].blinded_key
        for number in range(INBOX_MAX):
            assert inboxes.deliver(key, number.to_bytes(16, "big"), b"x")
        assert inboxes.deliver(key, bytes(16), b"x") is True, "a second copy was taken before"
        late = INBOX_MAX.to_bytes(16, "big")
        assert inboxes.deliver(key, late, b"x") is False
        inbox.receive_nowait()
        assert inboxes.deliver(key, late, b"x") is True
        assert len(inboxes._seen) <= ENVELOPE_IDS_MAX
    assert inboxes.deliver(key, late, b"x") is None, "no longer ours"


async def test_an_inbox_answers_to_three_epochs_once_it_was_there(autojump_clock: Any) -> None:
    platform = VirtualPlatform()
    inboxes = Inboxes(HARBOUR, platform)
    with inboxes.subscribe(make_holder()):
        assert [signer.epoch for signer in inboxes.signers_to_receive()] == [EPOCH, EPOCH + 1]
        await trio.sleep(EPOCH_LENGTH_S)
        received = [signer.epoch for signer in inboxes.signers_to_receive()]
        assert received == [EPOCH, EPOCH + 1, EPOCH + 2]
        published = [signer.epoch for signer in inboxes.signers_to_publish()]
        assert published == [EPOCH + 1, EPOCH + 2]
        await trio.sleep(EPOCH_LENGTH_S)
        assert EPOCH not in [signer.epoch for signer in inboxes.signers_to_receive()]


async def test_inboxes_are_bounded_and_close(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p.inboxes.KEYS_MAX", 1)
    inboxes = Inboxes(HARBOUR, VirtualPlatform())
    with inboxes.subscribe(make_holder()) as inbox:
        with pytest.raises(LocalProtocolError), inboxes.subscribe(make_holder()):
            pass
        inboxes.close()
        with pytest.raises(trio.EndOfChannel):
            inbox.receive_nowait()
        with pytest.raises(SignalingClosedError), inboxes.subscribe(make_holder()):
            pass


class SlowDht(FakeDht):
    """Knows nothing, and takes a second to say so."""

    async def get(self, _key: bytes, **_options: bool) -> None:
        await trio.sleep(1)

    def nearest_connected(self, _key: bytes) -> list[str]:
        return []


async def test_a_lookup_outlives_the_interest_in_its_peer(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "PEERS_MAX", 3)
    directory = Directory(HARBOUR, VirtualPlatform(), Events())
    dht, watches = SlowDht(), None
    resolver = Resolver(directory, dht, watches, lambda _: None)  # type: ignore[arg-type]
    found: list[Found | None] = []

    async def resolve() -> None:
        found.append(await resolver.resolve(make_holder().public_key))

    async with trio.open_nursery() as nursery:
        for _ in range(rendezvous.PEERS_MAX + 1):
            nursery.start_soon(resolve)
    assert found == 4 * [None]
    assert len(directory) == 3


def test_every_peer_that_an_interface_may_have_is_remembered() -> None:
    assert rendezvous.PEERS_MAX >= 10_000
