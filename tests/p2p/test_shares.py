"""One stranger does not lock the others out of what a bootstrap node holds for everybody."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from p2p import anchors as anchors_module
from p2p import guards
from p2p import host as host_module
from p2p import watches as watches_module
from p2p.anchors import SUBSCRIPTIONS_PER_STREAM_MAX, AnchorServer
from p2p.dht import KadServer
from p2p.identity import Identity
from p2p.kad import RecordStore, RoutingTable
from p2p.records import SUBSCRIPTION_LIFETIME_MAX_S, sign_subscription
from p2p.section import check_peer_id
from p2p.shares import Shares
from p2p.streams import FrameStream
from p2p.watches import WATCHES_PER_STREAM_MAX, WatchServer
from tests.p2p.test_clock import Pipe
from tests.p2p.test_kad import NOW, a_record
from tests.p2p.test_rendezvous import HARBOUR, VirtualPlatform, make_holder
from wice.keys import EPOCH_LENGTH_S, EpochSigner, epochs_to_publish
from wice.proto.overlay_pb2 import AnchorMessage, KadMessage, KadRecord, WatchRequest

ANCHOR = Identity.from_seed(bytes(32)).peer_id


def test_shares_follow_what_is_held() -> None:
    shares = Shares[str]()
    for key in "abc":
        shares.touch(key, "198.51.100.1")
    shares.touch("d", "198.51.100.2")
    shares.touch("a", "198.51.100.1")
    assert shares.victim() == "b"
    shares.remove("b")
    shares.touch("c", "198.51.100.2")
    assert (shares.count("198.51.100.1"), shares.count("198.51.100.2"), len(shares)) == (1, 2, 3)
    assert shares.victim() == "d"
    shares.remove("nobody's")
    for key in "acd":
        shares.remove(key)
    assert len(shares) == 0
    assert not shares._held


class Client:
    """A stream to a server that runs, and what it says."""

    def __init__(self, nursery: trio.Nursery, server: Any, peer_id: str) -> None:
        there, back = trio.open_memory_channel[bytes](4_096), trio.open_memory_channel[bytes](4_096)
        ours: Any = Pipe(back[1], there[0])
        theirs: Any = Pipe(there[1], back[0])
        self.stream = FrameStream(ours, ANCHOR)
        nursery.start_soon(server.serve, FrameStream(theirs, peer_id))

    async def subscribe(self, signer: EpochSigner, now_wall: float) -> AnchorMessage:
        expiry = int(now_wall) + SUBSCRIPTION_LIFETIME_MAX_S
        signed = sign_subscription(signer, check_peer_id(ANCHOR), expiry)
        await self.stream.send(AnchorMessage(subscribe=signed).SerializeToString())
        return AnchorMessage.FromString(await self.stream.receive())

    async def watch(self, *keys: bytes) -> None:
        watches = [WatchRequest.Watch(key=key, lifetime_s=600) for key in keys]
        await self.stream.send(WatchRequest(watches=watches).SerializeToString())
        await trio.testing.wait_all_tasks_blocked()


def make_signer(platform: VirtualPlatform) -> EpochSigner:
    (epoch, *_) = epochs_to_publish(platform.wall_time())
    return EpochSigner(make_holder(), HARBOUR, epoch, os.urandom)


def source_of(peer_id: str) -> str:
    """As the bootstrap node sees it: everything before the dash is one network."""
    return peer_id.partition("-")[0]


async def test_a_subscription_of_many_days_does_not_fill_its_stream(autojump_clock: Any) -> None:
    platform, holder = VirtualPlatform(), make_holder()
    server = AnchorServer(ANCHOR, platform, lambda _: None)
    days = 2 * SUBSCRIPTIONS_PER_STREAM_MAX
    async with trio.open_nursery() as nursery:
        client = Client(nursery, server, "peer")
        for _ in range(days):
            platform.start += EPOCH_LENGTH_S
            (epoch, *_) = epochs_to_publish(platform.wall_time())
            signer = EpochSigner(holder, HARBOUR, epoch, os.urandom)
            answer = await client.subscribe(signer, platform.wall_time())
            assert answer.HasField("subscribed")
        assert len(server) <= SUBSCRIPTIONS_PER_STREAM_MAX
        nursery.cancel_scope.cancel()


async def test_a_refused_subscription_is_told_why(autojump_clock: Any) -> None:
    platform, faults = VirtualPlatform(), list[str]()
    server = AnchorServer(ANCHOR, platform, faults.append)
    async with trio.open_nursery() as nursery:
        client = Client(nursery, server, "peer")
        too_long = platform.wall_time() + EPOCH_LENGTH_S
        answer = await client.subscribe(make_signer(platform), too_long)
        assert answer.refused.reason
        assert faults == [f"/wice/anchor/1: {answer.refused.reason}"]
        answer = await client.subscribe(make_signer(platform), platform.wall_time())
        assert answer.HasField("subscribed"), "the stream goes on"
        nursery.cancel_scope.cancel()


async def test_one_stranger_does_not_take_all_subscriptions(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchors_module, "SUBSCRIPTIONS_MAX", 20)
    monkeypatch.setattr(anchors_module, "SUBSCRIPTIONS_PER_SOURCE_MAX", 15)
    platform = VirtualPlatform()
    server = AnchorServer(ANCHOR, platform, lambda _: None, source_of)
    async with trio.open_nursery() as nursery:
        flood = [Client(nursery, server, f"flood-{number}") for number in range(5)]
        refused = 0
        for number in range(25):
            answer = await flood[number % 5].subscribe(make_signer(platform), platform.wall_time())
            refused += answer.HasField("refused")
        assert (len(server), refused) == (15, 10)
        signers = [make_signer(platform) for _ in range(10)]
        for number, signer in enumerate(signers):
            client = Client(nursery, server, f"peer{number}-0")
            assert (await client.subscribe(signer, platform.wall_time())).HasField("subscribed")
        assert len(server) == 20
        assert all(server.is_subscribed(signer.blinded_key) for signer in signers)
        platform.start += SUBSCRIPTION_LIFETIME_MAX_S
        server.drop_expired()
        assert len(server) == 0
        nursery.cancel_scope.cancel()


async def test_one_stranger_does_not_take_all_watches(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches_module, "WATCHES_MAX", 20)
    monkeypatch.setattr(watches_module, "WATCHES_PER_SOURCE_MAX", 15)
    platform: Any = VirtualPlatform()
    faults: list[str] = []
    server = WatchServer(RecordStore(), platform, faults.append, source_of)
    async with trio.open_nursery() as nursery:
        for number in range(5):
            await Client(nursery, server, f"flood-{number}").watch(
                *(b"/wice/%d-%d" % (number, key) for key in range(5))
            )
        assert (len(server), faults.count("too many watches")) == (15, 10)
        for number in range(10):
            client = Client(nursery, server, f"peer{number}-0")
            await client.watch(b"/wice/%d" % number)
        assert len(server) == 20
        assert all(b"/wice/%d" % number in server._watchers for number in range(10))
        await trio.sleep(watches_module.WATCH_LIFETIME_S)
        server.drop_expired()
        assert len(server) == 0
        nursery.cancel_scope.cancel()


def test_what_one_source_holds_is_a_part() -> None:
    assert SUBSCRIPTIONS_PER_STREAM_MAX < anchors_module.SUBSCRIPTIONS_PER_SOURCE_MAX
    assert anchors_module.SUBSCRIPTIONS_PER_SOURCE_MAX < anchors_module.SUBSCRIPTIONS_MAX
    assert WATCHES_PER_STREAM_MAX < watches_module.WATCHES_PER_SOURCE_MAX
    assert watches_module.WATCHES_PER_SOURCE_MAX < watches_module.WATCHES_MAX


# What counts as one source


class ConnectedFrom:
    """A host to which everybody is connected from the address that is its peer id."""

    def remote_hosts(self, peer_id: str) -> frozenset[str]:
        return frozenset({peer_id} if peer_id else ())


def test_a_source_is_an_address_or_what_one_has_in_ipv6() -> None:
    host: Any = ConnectedFrom()
    assert host_module.source_of(host, "198.51.100.7") == "198.51.100.7"
    assert host_module.source_of(host, "2001:db8:0:1::7") == "2001:db8:0:1::/64"
    assert host_module.source_of(host, "") == ""


def test_a_flood_from_one_ipv6_network_crowds_out_itself() -> None:
    host: Any = ConnectedFrom()
    platform: Any = type("At", (), {"wall_time": staticmethod(lambda: NOW)})
    store, table = RecordStore(records_max=8), RoutingTable(0)
    server = KadServer(host, table, store, platform, lambda *_: None, lambda _: None)

    def put(peer_id: str) -> bytes:
        key, record = a_record()
        put = KadMessage(type=KadMessage.PUT_VALUE, key=key)
        put.record.CopyFrom(KadRecord(key=key, value=record))
        server.answer(put, peer_id)
        return key

    honest = [put(f"198.51.100.{number}") for number in (1, 1, 2, 2)]
    for number in range(20):
        put(f"2001:db8:0:1::{number:x}")
    assert len(store) == 8
    assert all(store.get(key, NOW) for key in honest)


def test_connections_from_one_ipv6_network_count_as_one() -> None:
    def connection(*remote: Any) -> Any:
        muxed = SimpleNamespace(get_remote_address=lambda: remote or None)
        return SimpleNamespace(muxed_conn=muxed)

    one, two = connection("2001:db8:0:1::1", 1), connection("2001:db8:0:1::2", 1)
    assert guards._remote_network(one) == guards._remote_network(two) == "2001:db8:0:1::/64"
    assert guards._remote_network(connection()) == ""
