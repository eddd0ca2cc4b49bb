"""What strangers may try: it is refused and counted, and the node goes on serving others."""

import os
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest
import trio

from p2p import anchors as anchors_module
from p2p import watches as watches_module
from p2p.anchors import ANCHOR_PROTOCOL
from p2p.dht import KAD_PROTOCOL
from p2p.envelopes import ENVELOPE_PROTOCOL
from p2p.guards import STREAMS_PER_CONNECTION_MAX
from p2p.identity import Identity
from p2p.records import (
    SUBSCRIPTION_LIFETIME_MAX_S,
    Node,
    Presence,
    build_record,
    sign_subscription,
)
from p2p.section import check_peer_id
from p2p.streams import StreamClosedError
from p2p.watches import WATCH_PROTOCOL
from wice.errors import SignalingUnavailableError
from wice.keys import CommunitySecret, EpochSigner, KeyHolder, epoch_at
from wice.proto.overlay_pb2 import (
    AnchorMessage,
    EnvelopeMessage,
    KadMessage,
    KadRecord,
    WatchEvent,
    WatchRequest,
)

if TYPE_CHECKING:
    from p2p.backend import OverlayTransport
    from tests.p2p.conftest import Overlay, Sink

HARBOUR = CommunitySecret.from_name("harbour")


@pytest.fixture
async def bootstrap(
    overlay: "Overlay", free_port: Callable[[], int], sink: "Sink"
) -> AsyncIterator["OverlayTransport"]:
    overlay.place_bootstrap("bootstrap", free_port())
    async with overlay.open_bootstrap("bootstrap", sink=sink) as transport:
        yield transport


def make_signer(holder: KeyHolder, now_wall: float) -> EpochSigner:
    return EpochSigner(holder, HARBOUR, epoch_at(now_wall), os.urandom)


async def test_a_node_refuses_forged_expired_and_older_records(
    overlay: "Overlay", bootstrap: "OverlayTransport", sink: "Sink"
) -> None:
    now_wall = overlay.platform.wall_time()
    signer = make_signer(overlay.make_holder(), now_wall)
    key = signer.blinded_key.dht_key()
    presence = Presence(Node(check_peer_id(Identity.from_seed(bytes(32)).peer_id), ()))

    def record(at_wall: float, lifetime_s: float = 3_600.0) -> bytes:
        return build_record(
            signer, presence, now_wall=at_wall, random_bytes=os.urandom, lifetime_s=lifetime_s
        )

    good = record(now_wall)
    forged = bytes([*good[:-1], good[-1] ^ 1])
    expired = record(now_wall - 3 * 3_600, lifetime_s=1.0)
    older = record(now_wall - 60)
    async with overlay.open_stranger(overlay.bootstrap[0]) as stranger:

        async def put(under: bytes, value: bytes) -> KadMessage | None:
            message = KadMessage(
                type=KadMessage.PUT_VALUE, key=under, record=KadRecord(key=under, value=value)
            )
            answer = KadMessage()
            return answer if await stranger.ask(KAD_PROTOCOL, message, answer) else None

        assert await put(key, forged) is None
        assert await put(key, expired) is None
        assert await put(b"/wice/" + bytes(43), good) is None
        assert await put(b"/pk/" + key[6:], good) is None
        assert bootstrap.status()["records"] == 0
        stored = await put(key, good)
        assert stored is not None
        assert stored.record.value == good
        answer = await put(key, older)
        assert answer is not None
        assert answer.record.value == good, "the answer shows what is held instead"
        assert bootstrap._state.store.stored_bytes() == [(key, good)]
    assert "a record older than the one held" in sink.dropped


async def test_somebody_elses_subscription_is_refused(
    overlay: "Overlay", bootstrap: "OverlayTransport"
) -> None:
    now_wall = overlay.platform.wall_time()
    expiry = int(now_wall) + SUBSCRIPTION_LIFETIME_MAX_S
    victim = make_signer(overlay.make_holder(), now_wall)
    thief = make_signer(overlay.make_holder(), now_wall)
    anchor = check_peer_id(bootstrap.status()["peer_id"])
    elsewhere = check_peer_id(Identity.from_seed(bytes(32)).peer_id)
    genuine = sign_subscription(victim, anchor, expiry)
    stolen = sign_subscription(thief, anchor, expiry)
    size = len(bytes(victim.blinded_key))
    stolen = stolen[:1] + bytes(victim.blinded_key) + stolen[1 + size :]
    attempts = {
        "signed by another key": stolen,
        "meant for another anchor": sign_subscription(victim, elsewhere, expiry),
        "expired": sign_subscription(victim, anchor, int(now_wall) - 1),
        "for ever": sign_subscription(victim, anchor, expiry + 86_400),
        "altered": bytes([*genuine[:-1], genuine[-1] ^ 1]),
    }
    async with overlay.open_stranger(overlay.bootstrap[0]) as stranger:
        for reason, subscription in attempts.items():
            answer = AnchorMessage()
            await stranger.ask(ANCHOR_PROTOCOL, AnchorMessage(subscribe=subscription), answer)
            assert answer.refused.reason, reason
            assert bootstrap.status()["subscriptions"] == 0, reason
        answer = AnchorMessage()
        await stranger.ask(ANCHOR_PROTOCOL, AnchorMessage(subscribe=genuine), answer)
        assert answer.subscribed.blinded_key == bytes(victim.blinded_key)


async def test_an_anchor_that_loses_envelopes_is_no_delivery(
    overlay: "Overlay", bootstrap: "OverlayTransport", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the recipient's acknowledgement counts, not the anchor's goodwill."""
    theirs = overlay.make_holder()
    async with overlay.open_peer("a") as a, overlay.open_peer("b") as b, b.subscribe(theirs):
        monkeypatch.setattr(b._state.inboxes, "deliver", lambda *_: False)
        await overlay.eventually(lambda: bool(b.status()["published"]))
        with pytest.raises(SignalingUnavailableError):
            await a.send(theirs.public_key, b"hello")


async def test_the_same_envelope_twice_is_delivered_once(
    overlay: "Overlay", bootstrap: "OverlayTransport"
) -> None:
    theirs = overlay.make_holder()
    async with overlay.open_peer("b") as b, b.subscribe(theirs) as inbox:
        await overlay.eventually(lambda: bootstrap.status()["subscriptions"] == 2)
        (signer, _) = b._state.inboxes.signers_to_publish()
        async with overlay.open_stranger(overlay.bootstrap[0]) as stranger:

            async def hand_over(envelope_id: bytes, blinded_key: bytes) -> int | None:
                send = EnvelopeMessage.Send(
                    id=7, blinded_key=blinded_key, envelope_id=envelope_id, envelope=b"hello"
                )
                answer = EnvelopeMessage()
                await stranger.ask(ENVELOPE_PROTOCOL, EnvelopeMessage(send=send), answer)
                return answer.result.status

            key = bytes(signer.blinded_key)
            assert await hand_over(bytes(16), key) == EnvelopeMessage.TAKEN
            assert await hand_over(bytes(16), key) == EnvelopeMessage.TAKEN
            assert await hand_over(b"\1" * 16, key) == EnvelopeMessage.TAKEN
            assert await hand_over(bytes(16), bytes(32)) == EnvelopeMessage.NOT_HERE
        assert [inbox.receive_nowait(), inbox.receive_nowait()] == [b"hello", b"hello"]
        with pytest.raises(trio.WouldBlock):
            inbox.receive_nowait()


async def test_a_watch_tells_what_is_there_and_what_comes(
    overlay: "Overlay", bootstrap: "OverlayTransport"
) -> None:
    now_wall = overlay.platform.wall_time()
    signer = make_signer(overlay.make_holder(), now_wall)
    key = signer.blinded_key.dht_key()
    presence = Presence(Node(b"peer", ()))
    records = [
        build_record(signer, presence, now_wall=now_wall + i, random_bytes=os.urandom)
        for i in range(3)
    ]

    def put(record: bytes) -> KadMessage:
        value = KadRecord(key=key, value=record)
        return KadMessage(type=KadMessage.PUT_VALUE, key=key, record=value)

    async with overlay.open_stranger(overlay.bootstrap[0]) as stranger:
        await stranger.ask(KAD_PROTOCOL, put(records[0]), KadMessage())
        stream = await stranger.open(WATCH_PROTOCOL)
        watch = WatchRequest.Watch(key=key, lifetime_s=60)
        await stream.send(WatchRequest(watches=[watch]).SerializeToString())
        with trio.fail_after(30):
            event = WatchEvent.FromString(await stream.receive())
        assert event.record.value == records[0]
        await stranger.ask(KAD_PROTOCOL, put(records[1]), KadMessage())
        with trio.fail_after(30):
            event = WatchEvent.FromString(await stream.receive())
        assert event.record.value == records[1]
        watch.lifetime_s = 0
        await stream.send(WatchRequest(watches=[watch]).SerializeToString())
        await overlay.eventually(lambda: bootstrap.status()["watches"] == 0)


async def test_what_is_held_for_strangers_is_bounded(
    overlay: "Overlay",
    bootstrap: "OverlayTransport",
    sink: "Sink",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watches_module, "WATCHES_PER_STREAM_MAX", 3)
    monkeypatch.setattr(anchors_module, "SUBSCRIPTIONS_PER_STREAM_MAX", 2)
    now_wall = overlay.platform.wall_time()
    anchor = check_peer_id(bootstrap.status()["peer_id"])
    async with overlay.open_stranger(overlay.bootstrap[0]) as stranger:
        watches = [WatchRequest.Watch(key=b"/wice/%d" % i, lifetime_s=60) for i in range(9)]
        watching = await stranger.open(WATCH_PROTOCOL)
        await watching.send(WatchRequest(watches=watches).SerializeToString())
        stream = await stranger.open(ANCHOR_PROTOCOL)
        refusals = 0
        for _ in range(4):
            signer = make_signer(overlay.make_holder(), now_wall)
            subscription = sign_subscription(signer, anchor, int(now_wall) + 600)
            await stream.send(AnchorMessage(subscribe=subscription).SerializeToString())
            answer = AnchorMessage.FromString(await stream.receive())
            refusals += answer.WhichOneof("kind") == "refused"
        assert refusals == 2
        assert bootstrap.status()["subscriptions"] == 2
        assert bootstrap.status()["watches"] == 3
        idle = [await stranger.open(KAD_PROTOCOL) for _ in range(STREAMS_PER_CONNECTION_MAX)]
        with pytest.raises(StreamClosedError):
            await idle[-1].receive()
    await overlay.eventually(lambda: not bootstrap.status()["watches"])
    await overlay.eventually(lambda: not bootstrap.status()["subscriptions"])
    assert "too many watches" in sink.dropped
    assert "more streams than one connection may have" in sink.dropped


async def test_news_that_nobody_asked_for_is_dropped(
    overlay: "Overlay", bootstrap: "OverlayTransport", sink: "Sink"
) -> None:
    """A storing node that sends records of other keys ends its stream, and nothing more."""
    ours = overlay.make_sink()
    async with overlay.open_peer("a", sink=ours) as a:
        theirs = overlay.make_holder()
        with pytest.raises(SignalingUnavailableError):
            await a.send(theirs.public_key, b"watch them")
        await overlay.eventually(lambda: bool(bootstrap.status()["watches"]))
        assert bootstrap._node is not None
        assert bootstrap._node.bootstrap is not None
        (watcher, *_) = next(iter(bootstrap._node.bootstrap.watches._watchers.values()))
        lie = WatchEvent(record=KadRecord(key=b"/wice/other", value=b"x"))
        watcher.news[b"/wice/other"] = type("Lie", (), {"raw": lie.record.value})()
        watcher.has_news.set()
        await overlay.eventually(lambda: bool(ours.dropped))
        assert "news that nobody asked for" in ours.dropped[0]
        assert a.status()["joined"]
