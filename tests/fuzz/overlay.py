"""What nodes of the overlay say to each other: each handler as it stands, on a stream of bytes."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import trio
import trio.testing

from p2p.anchors import AnchorClient, AnchorServer
from p2p.dht import KadClient, KadServer
from p2p.envelopes import EnvelopeClient, EnvelopeServer
from p2p.frames import FrameDecoder, encode_frame
from p2p.gossip import Gossip
from p2p.inboxes import Inboxes
from p2p.kad import RecordStore, RoutingTable, ServerNode, position
from p2p.records import sign_subscription, verify_record
from p2p.relay_grants import Borrower, RelayGrants
from p2p.relay_loans import VERSION, LoanServer, MembershipProof, hour_at
from p2p.requests import RequestPool
from p2p.section import TcpAddress, check_peer_id, peer_id_text
from p2p.streams import FRAME_SIZE_MAX_BYTES, FrameStream, StreamClosedError
from p2p.topics import TopicClient, make_publish, message_id
from p2p.watches import WatchClient, WatchServer
from tests.fuzz.mutation import PROTOBUF
from tests.fuzz.records import DHT_KEY, HARBOUR, HOLDER, NOW, RANDOM, RECORD, SIGNER
from tests.fuzz.target import Case, Target, nothing_to_check
from wice.errors import RemoteProtocolError, SignalingUnavailableError
from wice.proto.overlay_pb2 import (
    AnchorMessage,
    EnvelopeMessage,
    KadMessage,
    KadRecord,
    RelayAnswer,
    RelayRequest,
    TopicMessage,
    WatchEvent,
    WatchRequest,
)
from wice.signaling.transport import ENVELOPE_SIZE_MAX_BYTES, RelayLoan
from wice.stun import LongTermCredentials

OUR_ID, THEIR_ID, OTHER_ID = (
    peer_id_text(bytes.fromhex("002408011220") + bytes((number,)) * 32) for number in (1, 2, 3)
)
ADDRESS = TcpAddress("192.0.2.7", 4001)
BLINDED_KEY = SIGNER.blinded_key
ENVELOPE_ID = bytes(16)
A_PUBLISH = make_publish(BLINDED_KEY, ENVELOPE_ID, b"sealed", bytes(8))
PROTOCOL = b"/wice/fuzz/1\n"
MULTISTREAM = b"/multistream/1.0.0\n"


class FakePlatform:
    def wall_time(self) -> float:
        return NOW

    def random_bytes(self, size_bytes: int) -> bytes:
        return RANDOM.randbytes(size_bytes)


PLATFORM: Any = FakePlatform()


class FakeStream:
    """A libp2p stream that brings ``data`` in pieces, then ends.

    is_ours: we opened it, so the other side speaks when we have spoken.
    """

    def __init__(self, data: bytes, is_ours: bool = False) -> None:
        self._data = data
        self._may_speak = trio.Event()
        if not is_ours:
            self._may_speak.set()

    async def read(self, _size_bytes: int) -> bytes:
        await self._may_speak.wait()
        piece, self._data = self._data[:16_000], self._data[16_000:]
        return piece

    async def write(self, _data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._may_speak.set()

    async def reset(self) -> None:
        self._data = b""


class FakeHost:
    """Opens streams on which the other side says ``data``."""

    peer_id = OUR_ID

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    async def open_stream(self, peer_id: str, _protocol: str) -> FrameStream:
        return stream_of(self._data, peer_id, is_ours=True)

    def remote_hosts(self, _peer_id: str) -> set[str]:
        return {ADDRESS.host}

    def is_connected(self, peer_id: str) -> bool:
        return peer_id == THEIR_ID


def fake_host(data: bytes = b"") -> Any:
    return FakeHost(data)


def stream_of(data: bytes, peer_id: str = THEIR_ID, is_ours: bool = False) -> FrameStream:
    stream: Any = FakeStream(data, is_ours)
    return FrameStream(stream, peer_id)


Faults = list[str]
"""What a handler that owns its stream counts instead of raising."""


def case_of(
    messages: Sequence[Any],
    handle: Callable[[bytes, Faults], Awaitable[None]],
    check: Callable[[], None] = nothing_to_check,
    head: bytes = b"",
) -> Case:
    """Mutated messages, each behind ``head`` in a frame that fits it, to ``handle``."""

    async def run(frame: bytes) -> None:
        faults: Faults = []
        with suppress(StreamClosedError):
            await handle(encode_frame((head + frame)[:FRAME_SIZE_MAX_BYTES]), faults)
        if faults:
            raise RemoteProtocolError(faults[0])

    return Case(
        [message.SerializeToString() for message in messages],
        # Virtual time: a handler that waits out a timeout of seconds does so at once.
        lambda data: trio.run(run, data, clock=trio.testing.MockClock(autojump_threshold=0)),
        check,
    )


def frames(_: Path) -> Case:
    def read(data: bytes) -> None:
        decoder = FrameDecoder(300)
        for at in range(0, len(data), 7):
            decoder.feed(data[at : at + 7])
            assert all(len(frame) <= 300 for frame in decoder)
            assert len(decoder._buffer) <= 310

    return Case([b"".join(map(encode_frame, (b"", b"abc", bytes(200)))), encode_frame(b"x")], read)


def negotiation(_: Path) -> Case:
    """What comes back on a stream of ours before the first message does."""

    async def receive(data: bytes) -> None:
        raw: Any = FakeStream(data)
        stream = FrameStream(raw, THEIR_ID, negotiation=(MULTISTREAM, PROTOCOL))
        try:
            while True:
                assert len(await stream.receive()) <= FRAME_SIZE_MAX_BYTES
        except StreamClosedError:
            return

    accepted = b"".join(map(encode_frame, (MULTISTREAM, PROTOCOL, b"message")))
    refused = b"".join(map(encode_frame, (MULTISTREAM, b"na\n")))
    return Case([accepted, refused], lambda data: trio.run(receive, data))


def a_peer(peer_id: str = OTHER_ID) -> KadMessage.Peer:
    return KadMessage.Peer(id=check_peer_id(peer_id), addrs=[ADDRESS.to_bytes()] * 2)


def a_record() -> KadRecord:
    return KadRecord(key=DHT_KEY, value=RECORD)


def kad_server(_: Path) -> Case:
    table, store = RoutingTable(position(b"us")), RecordStore()
    table.add(ServerNode(OTHER_ID, position(check_peer_id(OTHER_ID)), (ADDRESS,)))

    async def handle(data: bytes, faults: Faults) -> None:
        server = KadServer(
            fake_host(), table, store, PLATFORM, lambda _key, _record: None, faults.append
        )
        await server.serve(stream_of(data))

    messages = [
        KadMessage(type=KadMessage.PUT_VALUE, key=DHT_KEY, record=a_record()),
        KadMessage(type=KadMessage.GET_VALUE, key=DHT_KEY, server=a_peer(THEIR_ID)),
        KadMessage(type=KadMessage.FIND_NODE, key=check_peer_id(OTHER_ID)),
        KadMessage(type=KadMessage.PING),
    ]

    def check() -> None:
        assert len(store) <= 1 and len(table) == 1

    return case_of(messages, handle, check)


def kad_client(_: Path) -> Case:
    """A lookup and a store whose first node answers whatever it likes."""
    table = RoutingTable(position(b"us"))
    table.add(ServerNode(THEIR_ID, position(check_peer_id(THEIR_ID)), (ADDRESS,)))
    ours = verify_record(DHT_KEY, RECORD, NOW)

    async def handle(data: bytes, faults: Faults) -> None:
        host = fake_host(data)
        async with trio.open_nursery() as nursery:
            client = KadClient(
                host,
                table,
                RequestPool(host, "/wice/kad/1", nursery, faults.append),
                PLATFORM,
                announced=(),
                is_kept=lambda _: True,
                count_fault=faults.append,
            )
            await client.get(DHT_KEY)
            await client.put(DHT_KEY, ours)
            nursery.cancel_scope.cancel()

    def check() -> None:
        assert len(table) <= 20

    answers = [
        KadMessage(type=KadMessage.GET_VALUE, key=DHT_KEY, record=a_record()),
        KadMessage(type=KadMessage.GET_VALUE, key=DHT_KEY, closer_peers=[a_peer()] * 3),
    ]
    return case_of(answers, handle, check)


def watch_server(_: Path) -> Case:
    store = RecordStore()
    store.put(DHT_KEY, RECORD, "", NOW)
    servers: list[WatchServer] = []

    async def handle(data: bytes, faults: Faults) -> None:
        server = WatchServer(store, PLATFORM, faults.append)
        servers[:] = [server]
        await server.serve(stream_of(data))
        assert len(server) == 0

    watches = [
        WatchRequest.Watch(key=DHT_KEY, lifetime_s=600),
        WatchRequest.Watch(key=b"/wice/other", lifetime_s=0),
    ]
    return case_of([WatchRequest(watches=watches)], handle)


def watch_client(_: Path) -> Case:
    async def handle(data: bytes, faults: Faults) -> None:
        async with trio.open_nursery() as nursery:
            client = WatchClient(
                fake_host(data), nursery, PLATFORM, lambda _key, _record: None, faults.append
            )
            await client.watch(THEIR_ID, [DHT_KEY])

    return case_of([WatchEvent(record=a_record())], handle)


class Inbox:
    """Our one key is subscribed to, by somebody who reads."""

    def __init__(self) -> None:
        self.inboxes = Inboxes(HARBOUR, PLATFORM)
        self._subscription = self.inboxes.subscribe(HOLDER)
        self._channel = self._subscription.__enter__()

    def empty(self) -> None:
        with suppress(trio.WouldBlock):
            while True:
                assert len(self._channel.receive_nowait()) <= ENVELOPE_SIZE_MAX_BYTES


def anchor_server(_: Path) -> Case:
    subscription = sign_subscription(SIGNER, check_peer_id(OUR_ID), int(NOW) + 600)
    server = AnchorServer(OUR_ID, PLATFORM, lambda _: None)

    async def handle(data: bytes, _faults: Faults) -> None:
        await server.serve(stream_of(data))

    def check() -> None:
        assert len(server) == 0 and not server.has_subscriber(THEIR_ID)

    messages = [
        AnchorMessage(subscribe=subscription),
        AnchorMessage(acknowledge=AnchorMessage.Acknowledge(id=1, taken=True)),
        AnchorMessage(ping=AnchorMessage.Ping(id=7)),
    ]
    return case_of(messages, handle, check)


def anchor_client(_: Path) -> Case:
    inbox = Inbox()

    async def handle(data: bytes, faults: Faults) -> None:
        client = AnchorClient(fake_host(data), inbox.inboxes, PLATFORM, faults.append)
        try:
            await client.run(THEIR_ID)
        finally:
            assert not client.anchors
            inbox.empty()

    deliver = AnchorMessage.Deliver(
        id=1, blinded_key=bytes(BLINDED_KEY), envelope_id=ENVELOPE_ID, envelope=b"sealed"
    )
    messages = [
        AnchorMessage(deliver=deliver),
        AnchorMessage(ping=AnchorMessage.Ping(id=1, answer=True)),
        AnchorMessage(subscribed=AnchorMessage.Subscribed(blinded_key=bytes(32), lifetime_s=9)),
    ]
    return case_of(messages, handle)


def envelope_server(_: Path) -> Case:
    inbox = Inbox()

    async def handle(data: bytes, faults: Faults) -> None:
        anchor = AnchorServer(OUR_ID, PLATFORM, faults.append)
        await EnvelopeServer(inbox.inboxes, anchor, faults.append).serve(stream_of(data))
        inbox.empty()

    send = EnvelopeMessage.Send(
        id=1, blinded_key=bytes(BLINDED_KEY), envelope_id=ENVELOPE_ID, envelope=b"sealed"
    )
    return case_of([EnvelopeMessage(send=send)], handle)


def envelope_client(_: Path) -> Case:
    async def handle(data: bytes, faults: Faults) -> None:
        async with trio.open_nursery() as nursery:
            client = EnvelopeClient(fake_host(data), nursery, faults.append)
            with suppress(StreamClosedError):
                status = await client.send(THEIR_ID, BLINDED_KEY, ENVELOPE_ID, b"sealed")
                assert isinstance(status, int)

    result = EnvelopeMessage.Result(id=1, status=EnvelopeMessage.TAKEN)
    return case_of([EnvelopeMessage(result=result)], handle)


def topic_message(_: Path) -> Case:
    """As an anchor hears it, from another anchor that it knows."""
    table = RoutingTable(position(b"us"))
    table.add(ServerNode(THEIR_ID, position(check_peer_id(THEIR_ID)), (ADDRESS,)))

    async def handle(data: bytes, faults: Faults) -> None:
        dht: Any = None
        anchor = AnchorServer(OUR_ID, PLATFORM, faults.append)
        async with trio.open_nursery() as nursery:
            gossip = Gossip(fake_host(), table, dht, anchor, nursery, Random(1), faults.append)
            try:
                await gossip.serve(stream_of(data))
            except StreamClosedError:
                assert not gossip.neighbours
            except RemoteProtocolError as error:
                faults.append(str(error))
            nursery.cancel_scope.cancel()

    taken = TopicMessage.Taken(message_id=message_id(A_PUBLISH))
    return case_of([TopicMessage(publish=A_PUBLISH), TopicMessage(taken=taken)], handle)


def topic_answer(_: Path) -> Case:
    async def handle(data: bytes, faults: Faults) -> None:
        async with trio.open_nursery() as nursery:
            client = TopicClient(fake_host(data), nursery, faults.append)
            with suppress(StreamClosedError):
                await client.publish(THEIR_ID, A_PUBLISH)

    taken = TopicMessage.Taken(message_id=message_id(A_PUBLISH))
    return case_of([TopicMessage(taken=taken)], handle)


def relay_request(_: Path) -> Case:
    def lend_relay(member: str) -> RelayLoan:
        assert member == THEIR_ID
        return RelayLoan(3_478, member, "password", 3_600.0)

    async def handle(data: bytes, faults: Faults) -> None:
        server = LoanServer(
            OUR_ID, HARBOUR, lend_relay, PLATFORM, faults.append, lambda _: ADDRESS.host
        )
        try:
            await server.serve(stream_of(data))
        finally:
            assert len(server) <= 1

    proof = MembershipProof(HARBOUR).make(OUR_ID, THEIR_ID, hour_at(NOW))
    request = RelayRequest(hour=hour_at(NOW), proof=proof)
    return case_of([request], handle, head=bytes([VERSION]))


def relay_answer(_: Path) -> Case:
    async def handle(data: bytes, faults: Faults) -> None:
        grants = RelayGrants([THEIR_ID], PLATFORM)
        connections: Any = None
        borrower = Borrower(
            fake_host(data),
            connections,
            {THEIR_ID: [ADDRESS]},
            grants,
            HARBOUR,
            PLATFORM,
            faults.append,
        )
        await borrower._borrow(THEIR_ID)
        for grant in grants.current():
            assert 0 < grant.server.port < 65_536
            LongTermCredentials(grant.username, grant.password)

    loan = RelayAnswer.Loan(port=3_478, username="1:u", password="p", lifetime_s=3_600)
    return case_of([RelayAnswer(loan=loan)], handle, head=bytes([VERSION]))


TARGETS = (
    Target("stream frames", frames),
    Target("stream negotiation", negotiation),
    Target("kad request", kad_server, changes=PROTOBUF),
    Target(
        "kad answer",
        kad_client,
        errors=(RemoteProtocolError, SignalingUnavailableError),
        changes=PROTOBUF,
    ),
    Target("watch request", watch_server, changes=PROTOBUF),
    Target("watch event", watch_client, changes=PROTOBUF),
    Target("anchor message, to the anchor", anchor_server, changes=PROTOBUF),
    Target("anchor message, from the anchor", anchor_client, changes=PROTOBUF),
    Target("envelope message, request", envelope_server, changes=PROTOBUF),
    Target("envelope message, result", envelope_client, changes=PROTOBUF),
    Target("topic message", topic_message, changes=PROTOBUF),
    Target("topic message, taken", topic_answer, changes=PROTOBUF),
    Target("relay request", relay_request, changes=PROTOBUF),
    Target("relay answer", relay_answer, changes=PROTOBUF),
)
