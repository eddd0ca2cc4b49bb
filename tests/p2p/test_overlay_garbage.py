"""Garbage on every layer and every protocol id a node speaks: nobody else notices.

Each attack runs against a bootstrap node that serves two peers. While it runs and after it, the
peers' envelopes arrive on the streams that they had before; when the attacker is gone, tasks,
connections, unread bytes and memory are what they were.
"""

import contextlib
import gc
import logging
import os
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from google.protobuf.message import Message
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.stream_muxer.yamux.yamux import (
    FLAG_SYN,
    TYPE_DATA,
    TYPE_GO_AWAY,
    TYPE_PING,
    TYPE_WINDOW_UPDATE,
    YAMUX_HEADER_FORMAT,
)

from p2p.anchors import ANCHOR_PROTOCOL
from p2p.dht import KAD_PROTOCOL
from p2p.envelopes import ENVELOPE_PROTOCOL
from p2p.frames import encode_frame
from p2p.guards import CONNECTION_BUFFER_MAX_BYTES
from p2p.records import sign_subscription
from p2p.relay_loans import RELAY_PROTOCOL, encode, hour_at
from p2p.section import NodeAddress, check_peer_id
from p2p.streams import FrameStream
from p2p.topics import TOPIC_PROTOCOL, make_publish
from p2p.watches import WATCH_PROTOCOL
from wice.errors import RemoteProtocolError, SignalingUnavailableError
from wice.keys import BlindedKey, CommunitySecret, EpochSigner, KeyHolder, blind, epoch_at
from wice.proto.overlay_pb2 import (
    AnchorMessage,
    EnvelopeMessage,
    KadMessage,
    KadRecord,
    RelayRequest,
    TopicMessage,
    WatchRequest,
)
from wice.signaling.transport import RelayLoan

if TYPE_CHECKING:
    from p2p.backend import OverlayTransport
    from tests.p2p.conftest import Overlay, Stranger

HARBOUR = CommunitySecret.from_name("harbour")
LIBRARY_PROTOCOLS = ("/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0")
OUR_PROTOCOLS = (
    KAD_PROTOCOL,
    WATCH_PROTOCOL,
    ANCHOR_PROTOCOL,
    ENVELOPE_PROTOCOL,
    TOPIC_PROTOCOL,
    RELAY_PROTOCOL,
)
MULTISTREAM = encode_frame(b"/multistream/1.0.0\n")
MEMORY_GROWTH_MAX_BYTES = 8 * 1024 * 1024
"""Of the whole process, attacker included, by an attack like one that ran before."""

FLOOD_S = 1.0

GONE = (
    BaseLibp2pError,
    SignalingUnavailableError,
    RemoteProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    KeyError,
    OSError,
)
"""What an attacker may meet, whose connection was closed on it."""

ROUNDS = [
    pytest.param(2, id="brief"),
    pytest.param(40, id="long", marks=pytest.mark.nightly),
]


class Scene:
    """A bootstrap node, two peers of it, and whoever attacks."""

    def __init__(
        self, overlay: "Overlay", node: "OverlayTransport", rounds: int, key: BlindedKey
    ) -> None:
        self.overlay = overlay
        self.node = node
        self.address = NodeAddress.parse(overlay.bootstrap[0])
        self.rounds = rounds
        self.key = key
        self.random = random.Random(rounds)

    def garbage(self) -> bytes:
        return self.random.randbytes(self.random.choice((1, 7, 64, 1_000, 20_000)))

    def mutate(self, valid: bytes) -> bytes:
        at = self.random.randrange(len(valid) + 1)
        cut = self.random.randrange(5)
        return valid[:at] + self.random.randbytes(self.random.randrange(5)) + valid[at + cut :]

    @asynccontextmanager
    async def tcp(self) -> AsyncIterator[trio.SocketStream]:
        stream = await trio.open_tcp_stream(self.address.address.host, self.address.address.port)
        async with stream:
            yield stream

    @asynccontextmanager
    async def stranger(self) -> AsyncIterator["Stranger"]:
        async with self.overlay.open_stranger(self.overlay.bootstrap[0]) as stranger:
            yield stranger


def muxed(stranger: "Stranger") -> Any:
    (connection,) = stranger.host._live(stranger.other)
    return connection.muxed_conn


def yamux(kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> bytes:
    return struct.pack(YAMUX_HEADER_FORMAT, 0, kind, flags, stream_id, length) + body


async def drain(stream: FrameStream, seconds: float) -> None:
    with trio.move_on_after(seconds), contextlib.suppress(*GONE):
        while True:
            await stream.receive()


def valid_messages(scene: Scene) -> dict[str, Message | bytes]:
    """What a well-behaved node says on each protocol."""
    now_wall = scene.overlay.platform.wall_time()
    signer = EpochSigner(scene.overlay.make_holder(), HARBOUR, epoch_at(now_wall), os.urandom)
    anchor = check_peer_id(scene.address.peer_id)
    subscription = sign_subscription(signer, anchor, int(now_wall) + 600)
    key = scene.key.dht_key()
    stranger = blind(scene.overlay.make_holder().public_key, HARBOUR, epoch_at(now_wall))
    return {
        KAD_PROTOCOL: KadMessage(
            type=KadMessage.PUT_VALUE, key=key, record=KadRecord(key=key, value=bytes(1_300))
        ),
        WATCH_PROTOCOL: WatchRequest(watches=[WatchRequest.Watch(key=key, lifetime_s=600)]),
        ANCHOR_PROTOCOL: AnchorMessage(subscribe=subscription),
        ENVELOPE_PROTOCOL: EnvelopeMessage(
            send=EnvelopeMessage.Send(
                id=1, blinded_key=stranger.raw, envelope_id=bytes(16), envelope=bytes(400)
            )
        ),
        TOPIC_PROTOCOL: TopicMessage(
            publish=make_publish(stranger, bytes(16), bytes(400), bytes(8))
        ),
        RELAY_PROTOCOL: encode_frame(
            encode(RelayRequest(hour=hour_at(now_wall), proof=os.urandom(32)))
        ),
        "/ipfs/id/1.0.0": b"",
        "/ipfs/id/push/1.0.0": encode_frame(b"\x0a\x04\x08\x01\x12\x00"),
        "/ipfs/ping/1.0.0": bytes(32),
        "/meshsub/1.1.0": encode_frame(bytes(64)),  # the library's gossip is not served
    }


def lend_relay(member: str) -> RelayLoan:
    return RelayLoan(3_478, member, "password", 3_600.0)


# Attacks, each on one layer


async def raw_garbage(scene: Scene) -> None:
    """Instead of, or in the middle of, the negotiation of multistream and the Noise handshake."""
    noise = MULTISTREAM + encode_frame(b"/noise\n")
    starts = (b"", MULTISTREAM, noise, noise + b"\xff\xff", b"\x16\x03\x01\x02\x00\x01", b"GET / ")
    for _ in range(scene.rounds):
        for start in starts:
            with contextlib.suppress(*GONE):
                async with scene.tcp() as stream:
                    await stream.send_all(start + scene.garbage())
                    with trio.move_on_after(0.02):
                        while await stream.receive_some(4_096):
                            pass


async def half_open_connections(scene: Scene) -> None:
    """Connections that say nothing, or half of a line, or a byte now and then."""
    async with contextlib.AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(scene.tcp()) for _ in range(min(50 * scene.rounds, 400))
        ]
        for at in range(10):
            for stream in streams[::2]:
                with contextlib.suppress(*GONE):
                    await stream.send_all(MULTISTREAM[at : at + 1])
            await trio.sleep(0.02)


async def yamux_garbage(scene: Scene) -> None:
    """Behind Noise: frames of no kind, of unknown streams, of impossible lengths."""
    frames = (
        scene.garbage,
        lambda: yamux(9, 0xFFFF, 1, 0),
        lambda: yamux(TYPE_DATA, 0, 99, 4, b"what"),
        lambda: yamux(TYPE_DATA, FLAG_SYN, 2, 0xFFFFFFFF),
        lambda: yamux(TYPE_WINDOW_UPDATE, 0, 1, 0xFFFFFFFF),
        lambda: yamux(TYPE_GO_AWAY, 0, 0, 7),
        lambda: b"\xff" * 12,
    )
    for _ in range(scene.rounds):
        for frame in frames:
            async with scene.stranger() as stranger:
                with contextlib.suppress(*GONE):
                    await muxed(stranger)._write_frame(frame())
                    await trio.sleep(0.01)


async def yamux_floods(scene: Scene) -> None:
    """More streams, pings and window updates than anybody needs."""
    async with scene.stranger() as stranger:
        connection = muxed(stranger)
        with trio.move_on_after(FLOOD_S), contextlib.suppress(*GONE):
            for number in range(1_000 * scene.rounds):
                await connection._write_frame(yamux(TYPE_PING, FLAG_SYN, 0, number))
                await connection._write_frame(
                    yamux(TYPE_WINDOW_UPDATE, FLAG_SYN, 1_001 + 2 * number, 0)
                )
        await trio.sleep(0.1)


async def multistream_garbage(scene: Scene) -> None:
    """On streams: no negotiation, a wrong one, half a line."""
    starts = (b"", MULTISTREAM, MULTISTREAM[:7], MULTISTREAM + b"\xff\xff\x7f", b"\xff" * 20)
    for _ in range(scene.rounds):
        async with scene.stranger() as stranger:
            for start in starts:
                with contextlib.suppress(*GONE):
                    stream = await stranger.host._swarm.new_stream(ID.from_base58(stranger.other))
                    await stream.write(start + scene.garbage())
                    idle = await stranger.host._swarm.new_stream(ID.from_base58(stranger.other))
                    await idle.write(start or b"\x13")
            await trio.sleep(0.02)


def on_protocol(protocol: str) -> Callable[[Scene], Awaitable[None]]:
    """Garbage, mutated messages, half frames, silence, and a flood whose answers nobody reads."""

    async def attack(scene: Scene) -> None:
        valid = valid_messages(scene)[protocol]
        frame = valid if isinstance(valid, bytes) else encode_frame(valid.SerializeToString())
        for _ in range(scene.rounds):
            async with scene.stranger() as stranger:
                for payload in (
                    scene.garbage(),
                    encode_frame(scene.garbage()[:20_000]),
                    frame + scene.mutate(frame),
                    encode_frame(scene.mutate(frame)[:20_000]),
                    b"\xff\xff\xff\x7f",
                ):
                    with contextlib.suppress(*GONE):
                        stream = await stranger.open(protocol)
                        await stream.send_raw(payload)
                        await drain(stream, 0.02)
                with contextlib.suppress(*GONE):
                    await stranger.open(protocol)  # nothing follows
                    slow = await stranger.open(protocol)
                    for byte in frame[:5]:  # the rest never comes
                        await slow.send_raw(bytes([byte]))
                        await trio.sleep(0.005)
        async with scene.stranger() as stranger:
            flood = await stranger.open(protocol)
            with trio.move_on_after(FLOOD_S), contextlib.suppress(*GONE):
                for _ in range(1_000 * scene.rounds):
                    await flood.send_raw(frame or b"\x00")
                await trio.sleep(0.1)

    attack.__name__ = protocol.strip("/").replace("/", "-")
    return attack


ATTACKS = (
    raw_garbage,
    half_open_connections,
    yamux_garbage,
    yamux_floods,
    multistream_garbage,
    *map(on_protocol, (*OUR_PROTOCOLS, *LIBRARY_PROTOCOLS, "/meshsub/1.1.0")),
)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def unread_bytes(node: "OverlayTransport") -> int:
    assert node._node is not None
    connections = node._node.host._swarm.get_connections()
    return sum(
        len(buffer)
        for connection in connections
        for buffer in connection.muxed_conn.stream_buffers.values()
    )


@pytest.fixture
def _no_log() -> Iterator[None]:
    """What the library logs of an attack, pytest would keep in memory."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("_no_log")
@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_garbage_hurts_nobody_else(
    overlay: "Overlay",
    free_port: Callable[[], int],
    attack: Callable[[Scene], Awaitable[None]],
    rounds: int,
) -> None:
    overlay.place_bootstrap("bootstrap", free_port())
    theirs: KeyHolder = overlay.make_holder()
    async with (
        overlay.open_bootstrap("bootstrap", lend_relay=lend_relay) as node,
        overlay.open_peer("a") as a,
        overlay.open_peer("b") as b,
        b.subscribe(theirs) as inbox,
    ):
        await overlay.send(a, theirs.public_key, b"before")
        assert await inbox.receive() == b"before"
        assert node._node is not None
        assert node._node.bootstrap is not None
        life, swarm, anchor = node._node, node._node.host._swarm, node._node.bootstrap.anchor
        connections = list(swarm.get_connections())
        subscribers = {subscriber for subscriber, _ in anchor._subscriptions.values()}
        key = blind(theirs.public_key, HARBOUR, epoch_at(overlay.platform.wall_time()))
        scene = Scene(overlay, node, rounds, key)

        async def is_as_before() -> None:
            """The attacker is gone, and with it everything that was held for it."""
            await overlay.eventually(lambda: set(swarm.get_connections()) == set(connections))
            await overlay.eventually(lambda: not swarm._upgrading)
            await overlay.eventually(
                lambda: trio.lowlevel.current_statistics().tasks_living <= tasks
            )

        await trio.sleep(0.1)
        tasks = trio.lowlevel.current_statistics().tasks_living
        await attack(scene)  # once, for what is allocated once
        await is_as_before()
        memory = resident_bytes()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attack, scene)
            for number in range(5):
                await a.send(theirs.public_key, b"%d" % number)
                assert await inbox.receive() == b"%d" % number
                assert unread_bytes(node) <= CONNECTION_BUFFER_MAX_BYTES
                await trio.sleep(0.02)
        await is_as_before()
        assert resident_bytes() - memory < MEMORY_GROWTH_MAX_BYTES
        assert node.restarts == 0
        assert node._node is life
        assert not any(connection.is_closed for connection in connections)
        assert {s for s, _ in anchor._subscriptions.values()} == subscribers
        assert unread_bytes(node) == 0
        await a.send(theirs.public_key, b"after")
        assert await inbox.receive() == b"after"
