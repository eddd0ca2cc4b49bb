"""The topic, third way to a recipient: anchors pass on messages, and acknowledgements back."""

import base64
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import base58
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2p import gossip as gossip_module
from p2p.anchors import AnchorServer
from p2p.envelopes import EnvelopeServer
from p2p.gossip import Gossip
from p2p.identity import peer_id_of
from p2p.section import check_peer_id
from p2p.streams import FrameStream, StreamClosedError
from p2p.topics import HOPS_MAX, TOPIC_PROTOCOL, make_publish, message_id, taken_id
from wice.errors import RemoteProtocolError, SignalingUnavailableError
from wice.events import EnvelopeDelivered
from wice.keys import BlindedKey, CommunitySecret, KeyHolder, blind, epoch_at
from wice.proto.overlay_pb2 import TopicMessage
from wice.signaling.envelope import open_envelope, seal
from wice.signaling.rate_limit import Rate

if TYPE_CHECKING:
    from p2p.backend import OverlayTransport
    from tests.p2p.conftest import Overlay, Sink

HARBOUR = CommunitySecret.from_name("harbour")

OpenAnchors = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_envelope_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every node resets the streams that the other ways need."""

    async def refuse(_server: EnvelopeServer, _stream: FrameStream) -> None:
        raise StreamClosedError("refused")

    monkeypatch.setattr(EnvelopeServer, "serve", refuse)


@pytest.fixture
def open_anchors(overlay: "Overlay", free_port: Callable[[], int]) -> OpenAnchors:
    """Opens so many anchors, all linked to each other."""

    @asynccontextmanager
    async def open_all(
        count: int, sink: "Sink | None" = None
    ) -> AsyncIterator[Sequence["OverlayTransport"]]:
        for number in range(count):
            overlay.place_bootstrap(f"anchor{number}", free_port())
        async with AsyncExitStack() as stack:
            anchors = [
                await stack.enter_async_context(
                    overlay.open_bootstrap(f"anchor{number}", sink=sink)
                )
                for number in range(count)
            ]
            for anchor in anchors:
                await overlay.eventually(
                    lambda anchor=anchor: len(anchor.status()["neighbours"]) == count - 1
                )
            yield anchors

    return open_all


def at(overlay: "Overlay", number: int) -> dict[str, Any]:
    """The configuration of a peer that is connected to one anchor only."""
    return {"bootstrap": [overlay.bootstrap[number]]}


def gossip_of(anchor: "OverlayTransport") -> Gossip:
    assert anchor._node is not None
    assert anchor._node.bootstrap is not None
    return anchor._node.bootstrap.gossip


def key_of(overlay: "Overlay", holder: KeyHolder) -> BlindedKey:
    return blind(holder.public_key, HARBOUR, epoch_at(overlay.platform.wall_time()))


def a_publish(key: BlindedKey, envelope: bytes = b"envelope", **fields: Any) -> TopicMessage:
    publish = make_publish(key, os.urandom(16), envelope, os.urandom(8))
    publish.MergeFrom(TopicMessage.Publish(**fields))
    return TopicMessage(publish=publish)


async def test_an_envelope_travels_between_the_anchors_of_both_sides(
    overlay: "Overlay", open_anchors: OpenAnchors, sink: "Sink"
) -> None:
    theirs = overlay.make_holder()
    async with (
        open_anchors(2),
        overlay.open_peer("a", sink=sink, **at(overlay, 0)) as a,
        overlay.open_peer("b", **at(overlay, 1)) as b,
        b.subscribe(theirs) as inbox,
    ):
        for number in range(3):
            await overlay.send(a, theirs.public_key, b"%d" % number)
            assert await inbox.receive() == b"%d" % number
        assert {event.as_json()["way"] for event in sink.of(EnvelopeDelivered)} == {"topic"}


async def test_one_anchor_serves_both_sides(
    overlay: "Overlay", open_anchors: OpenAnchors, sink: "Sink"
) -> None:
    theirs = overlay.make_holder()
    async with (
        open_anchors(1),
        overlay.open_peer("a", sink=sink) as a,
        overlay.open_peer("b") as b,
        b.subscribe(theirs) as inbox,
    ):
        await overlay.send(a, theirs.public_key, b"hello")
        assert await inbox.receive() == b"hello"
        assert sink.of(EnvelopeDelivered)[0].as_json()["way"] == "topic"


async def test_what_nobody_takes_is_not_said_to_be_taken(
    overlay: "Overlay",
    open_anchors: OpenAnchors,
    sink: "Sink",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is a stranger believed who says so."""
    monkeypatch.setattr("p2p.topics.ACKNOWLEDGED_TIMEOUT_S", 1.0)
    theirs = overlay.make_holder()
    async with (
        open_anchors(2, sink) as (first, _second),
        overlay.open_peer("a", **at(overlay, 0)) as a,
        overlay.open_peer("b", **at(overlay, 1)) as b,
        b.subscribe(theirs) as inbox,
        overlay.open_stranger(overlay.bootstrap[0]) as stranger,
    ):
        await overlay.send(a, theirs.public_key, b"taken")
        monkeypatch.setattr(b._state.inboxes, "deliver", lambda *_: False)
        before = set(gossip_of(first)._seen)
        forging = await stranger.open(TOPIC_PROTOCOL)

        async def forge() -> None:
            await overlay.eventually(lambda: bool(set(gossip_of(first)._seen) - before))
            (own_id,) = set(gossip_of(first)._seen) - before
            taken = TopicMessage(taken=TopicMessage.Taken(message_id=own_id))
            await forging.send(taken.SerializeToString())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(forge)
            with pytest.raises(SignalingUnavailableError):
                await a.send(theirs.public_key, b"refused")
        assert await inbox.receive() == b"taken"
        forged = "an acknowledgement from who is no anchor"
        await overlay.eventually(lambda: forged in sink.dropped)


async def test_messages_and_acknowledgements_pass_along_a_line_of_anchors(
    overlay: "Overlay", open_anchors: OpenAnchors, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = overlay.make_holder()
    async with open_anchors(4) as anchors:
        order = [anchor.status()["peer_id"] for anchor in anchors]
        links = Gossip._links

        def links_in_line(gossip: Gossip) -> dict[str, Any]:
            own = order.index(gossip._host.peer_id)
            return {
                peer_id: link
                for peer_id, link in links(gossip).items()
                if abs(order.index(peer_id) - own) == 1
            }

        monkeypatch.setattr(Gossip, "_links", links_in_line)
        async with (
            overlay.open_peer("a", **at(overlay, 0)) as a,
            overlay.open_peer("b", **at(overlay, 3)) as b,
            b.subscribe(theirs) as inbox,
        ):
            await overlay.send(a, theirs.public_key, b"a long way")
            assert await inbox.receive() == b"a long way"
            monkeypatch.setattr("p2p.topics.ACKNOWLEDGED_TIMEOUT_S", 0.5)
            monkeypatch.setattr("p2p.topics.HOPS_MAX", 2)
            with pytest.raises(SignalingUnavailableError):
                await a.send(theirs.public_key, b"too long")


async def test_each_anchor_passes_a_message_on_once(
    overlay: "Overlay", open_anchors: OpenAnchors, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_on: Counter[str] = Counter()
    delivered: list[bytes] = []
    pass_on, deliver = Gossip._pass_on, AnchorServer.deliver

    def spy(gossip: Gossip, *args: Any) -> None:
        passed_on[gossip._host.peer_id] += 1
        pass_on(gossip, *args)

    async def spy_delivery(server: AnchorServer, key: BlindedKey, *args: bytes) -> Any:
        delivered.append(args[-1])
        return await deliver(server, key, *args)

    monkeypatch.setattr(Gossip, "_pass_on", spy)
    monkeypatch.setattr(AnchorServer, "deliver", spy_delivery)
    theirs = overlay.make_holder()
    async with (
        open_anchors(3) as anchors,
        overlay.open_peer("b", **at(overlay, 1)) as b,
        b.subscribe(theirs) as inbox,
        overlay.open_stranger(overlay.bootstrap[0]) as stranger,
    ):
        await overlay.eventually(lambda: anchors[1].status()["subscriptions"] == 2)
        stream = await stranger.open(TOPIC_PROTOCOL)
        message = a_publish(key_of(overlay, theirs))
        for _ in range(3):
            await stream.send(message.SerializeToString())
        for _ in range(3):  # each copy is answered, whether the first was taken by then or not
            answer = TopicMessage.FromString(await stream.receive())
            assert answer.taken.message_id == message_id(message.publish)
        assert await inbox.receive() == b"envelope"
        assert delivered == [b"envelope"]
        assert set(passed_on.values()) == {1}
        assert anchors[1].status()["peer_id"] not in passed_on, "it was taken there"


async def test_gossip_names_nobody(
    overlay: "Overlay", open_anchors: OpenAnchors, sink: "Sink"
) -> None:
    """Every byte that two anchors write to each other, as it is before encryption."""
    ours, theirs = overlay.make_holder(), overlay.make_holder()
    community = {"community": "harbour-of-names"}
    wire = bytearray()

    def listen_in(anchor: "OverlayTransport", other: "OverlayTransport") -> None:
        assert anchor._node is not None
        connections = anchor._node.host._live(other.status()["peer_id"])
        assert connections
        for connection in connections:
            write = connection.muxed_conn._write_frame

            async def spy(data: bytes, write: Any = write) -> None:
                wire.extend(data)
                await write(data)

            connection.muxed_conn._write_frame = spy

    async with (
        open_anchors(2) as (first, second),
        overlay.open_peer("a", sink=sink, **community, **at(overlay, 0)) as a,
        overlay.open_peer("b", **community, **at(overlay, 1)) as b,
        a.subscribe(ours),
        b.subscribe(theirs) as inbox,
    ):
        await overlay.eventually(lambda: len(a.status()["published"]) == 2)
        await overlay.eventually(lambda: len(b.status()["published"]) == 2)
        listen_in(first, second)
        listen_in(second, first)
        envelope = seal(ours, theirs.public_key, b"a message", os.urandom)
        await overlay.send(a, theirs.public_key, envelope)
        assert open_envelope(theirs, await inbox.receive()).message == b"a message"
        assert sink.of(EnvelopeDelivered)[0].as_json()["way"] == "topic"
        peer_ids = [a.status()["peer_id"], b.status()["peer_id"]]
    epoch = epoch_at(overlay.platform.wall_time())
    named = CommunitySecret.from_name("harbour-of-names")
    assert envelope in wire, "it went this way"
    assert bytes(blind(theirs.public_key, named, epoch)) in wire
    assert bytes(blind(ours.public_key, named, epoch)) not in wire
    secrets = [b"harbour-of-names"]
    for key in (bytes(ours.public_key), bytes(theirs.public_key)):
        secrets += [key, base64.b64encode(key), base64.urlsafe_b64encode(key).rstrip(b"=")]
    for peer_id in peer_ids:
        raw = check_peer_id(peer_id)
        secrets += [peer_id.encode(), raw, raw[-32:], base58.b58encode(raw[-32:])]
    for secret in secrets:
        assert secret not in wire


async def test_an_anchor_that_comes_back_is_linked_again(
    overlay: "Overlay", open_anchors: OpenAnchors, free_port: Callable[[], int]
) -> None:
    theirs = overlay.make_holder()
    async with open_anchors(1) as (first,):
        overlay.place_bootstrap("other", free_port())
        async with overlay.open_peer("a", **at(overlay, 0)) as a:
            for _ in range(2):
                async with (
                    overlay.open_bootstrap("other"),
                    overlay.open_peer("b", **at(overlay, 1)) as b,
                    b.subscribe(theirs) as inbox,
                ):
                    await overlay.eventually(lambda: len(first.status()["neighbours"]) == 1)
                    await overlay.send(a, theirs.public_key, b"hello")
                    assert await inbox.receive() == b"hello"
                await overlay.eventually(lambda: not first.status()["neighbours"])


async def test_who_is_not_there_by_all_accounts_is_not_sought_by_gossip(
    overlay: "Overlay", open_anchors: OpenAnchors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # envelope streams are served here
    published: list[Any] = []
    monkeypatch.setattr(Gossip, "_hear", lambda *args: published.append(args))
    theirs = overlay.make_holder()
    async with open_anchors(1), overlay.open_peer("a") as a:
        async with overlay.open_peer("b") as b, b.subscribe(theirs):
            await overlay.send(a, theirs.public_key, b"hello")
        with pytest.raises(SignalingUnavailableError):
            await a.send(theirs.public_key, b"gone")
    assert not published


async def test_what_strangers_publish_is_bounded(
    overlay: "Overlay",
    open_anchors: OpenAnchors,
    sink: "Sink",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gossip_module, "PUBLISHER_RATE", Rate(burst=6, interval_s=3_600.0))
    monkeypatch.setattr(gossip_module, "RELAYED_RATE", Rate(burst=10, interval_s=3_600.0))
    monkeypatch.setattr(gossip_module, "SEEN_MAX", 4)
    read = 0
    wait_for_rate = Gossip._wait_for_rate

    async def count_read(gossip: Gossip, link: Any) -> None:
        nonlocal read
        read += 1
        await wait_for_rate(gossip, link)

    monkeypatch.setattr(Gossip, "_wait_for_rate", count_read)
    async with open_anchors(1, sink) as (anchor,):
        gossip = gossip_of(anchor)
        for waiting in (2, 4):  # coming back, and from one more stream, gains nothing
            async with overlay.open_stranger(overlay.bootstrap[0]) as stranger:
                streams = [await stranger.open(TOPIC_PROTOCOL) for _ in range(2)]
                for _ in range(5):
                    for stream in streams:
                        key = key_of(overlay, overlay.make_holder())
                        await stream.send(a_publish(key).SerializeToString())
                await overlay.eventually(lambda waiting=waiting: read >= 6 + waiting)
        assert len(gossip._seen) == 4
        limit = gossip._published_rate
        assert sum(limit.take(trio.current_time()) for _ in range(20)) == 4, "six were heard"


async def test_all_publishers_together_are_bounded(
    overlay: "Overlay",
    open_anchors: OpenAnchors,
    sink: "Sink",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gossip_module, "RELAYED_RATE", Rate(burst=3, interval_s=3_600.0))
    async with (
        open_anchors(1, sink) as (anchor,),
        overlay.open_stranger(overlay.bootstrap[0]) as stranger,
    ):
        stream = await stranger.open(TOPIC_PROTOCOL)
        for _ in range(9):
            message = a_publish(key_of(overlay, overlay.make_holder()))
            await stream.send(message.SerializeToString())
        refused = "more messages to topics than are passed on"
        await overlay.eventually(lambda: sink.dropped.count(refused) == 6)
        assert len(gossip_of(anchor)._seen) == 3


async def test_an_anchor_that_reads_nothing_costs_a_bounded_queue(
    overlay: "Overlay",
    open_anchors: OpenAnchors,
    sink: "Sink",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gossip_module, "QUEUE_SIZE_MAX_BYTES", 40_000)
    reading = trio.Event()
    listen = Gossip._listen

    async def listen_late(gossip: Gossip, link: Any) -> None:
        if gossip._host.peer_id == idle:
            await reading.wait()
        await listen(gossip, link)

    idle = ""
    monkeypatch.setattr(Gossip, "_listen", listen_late)
    async with open_anchors(1, sink) as (first,):
        idle = peer_id_of(overlay.directory / "idle")
        async with (
            overlay.open_bootstrap("idle"),
            overlay.open_stranger(overlay.bootstrap[0]) as stranger,
        ):
            await overlay.eventually(lambda: len(first.status()["neighbours"]) == 1)
            stream = await stranger.open(TOPIC_PROTOCOL)
            key = key_of(overlay, overlay.make_holder())
            for _ in range(40):  # beyond the window of the stream, the queue fills up
                await stream.send(a_publish(key, bytes(16_000)).SerializeToString())
            await overlay.eventually(lambda: "an anchor that takes no messages" in sink.dropped)
            (link,) = gossip_of(first)._links().values()
            assert link._size_bytes <= 40_000
            reading.set()


@given(
    key=st.binary(max_size=40),
    envelope_id=st.binary(max_size=20),
    nonce=st.binary(max_size=10),
    envelope=st.binary(max_size=64),
)
def test_only_whole_messages_have_an_id(
    key: bytes, envelope_id: bytes, nonce: bytes, envelope: bytes
) -> None:
    publish = TopicMessage.Publish(
        blinded_key=key, envelope_id=envelope_id, nonce=nonce, envelope=envelope
    )
    if (len(key), len(envelope_id), len(nonce)) == (32, 16, 8):
        assert len(message_id(publish)) == 32
    else:
        with pytest.raises(RemoteProtocolError):
            message_id(publish)


def test_the_id_of_a_message_is_that_of_its_content_and_not_of_its_way() -> None:
    fields = {
        "blinded_key": bytes(32),
        "envelope_id": bytes(16),
        "nonce": bytes(8),
        "envelope": b"envelope",
    }
    own_id = message_id(TopicMessage.Publish(**fields))
    assert message_id(TopicMessage.Publish(**fields, hops_left=HOPS_MAX)) == own_id
    for name, value in fields.items():
        changed = {**fields, name: value[:-1] + b"\x01"}
        assert message_id(TopicMessage.Publish(**changed)) != own_id
    with pytest.raises(RemoteProtocolError):
        message_id(TopicMessage.Publish(**{**fields, "envelope": bytes(16_385)}))
    with pytest.raises(RemoteProtocolError):
        taken_id(TopicMessage.Taken(message_id=bytes(31)))
