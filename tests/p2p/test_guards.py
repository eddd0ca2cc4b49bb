"""Each guard around py-libp2p: the stock library with its defect, then the guard.

Where a test of the stock library fails, upstream has mended it and the guard may go.
"""

import contextlib
import gc
import socket
import struct
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.exceptions import BaseLibp2pError
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network import auto_connector
from libp2p.network.config import ConnectionConfig
from libp2p.network.exceptions import SwarmException
from libp2p.peer.peerinfo import PeerInfo
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.stream_muxer.yamux.yamux import FLAG_SYN, TYPE_DATA, TYPE_PING, YAMUX_HEADER_FORMAT
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2p import guards
from p2p import host as host_module
from p2p.host import open_host
from p2p.identity import Identity
from p2p.section import TcpAddress

LOOPBACK = Multiaddr("/ip4/127.0.0.1/tcp/0")
MESHSUB = "/meshsub/1.1.0"
ECHO = "/echo/1"
PATIENCE_S = 30.0
"""What has not come to be after this time never will."""
SILENCE_S = 1.5
"""So long is waited for what shall not come to be."""

OpenHost = Callable[..., AbstractAsyncContextManager[IHost]]


@asynccontextmanager
async def stock(*, connections_max: int = 100, listen: bool = True) -> AsyncIterator[IHost]:
    """A host as the library makes it."""
    config = ConnectionConfig(
        max_connections=connections_max,
        high_watermark=connections_max,
        min_connections=0,
        low_watermark=0,
        grace_period=0.0,
    )
    host = new_host(key_pair=create_new_key_pair(), connection_config=config)
    async with host.run([LOOPBACK] if listen else []):
        yield host
        await host.close()  # or its sockets stay open


class Guarded:
    """Opens hosts behind the guards and keeps what these refused."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.valuable: set[str] = set()

    @asynccontextmanager
    async def __call__(self, *, connections_max: int = 100) -> AsyncIterator[IHost]:
        async with open_host(
            Identity.from_seed(bytes(range(32))),
            [TcpAddress("127.0.0.1", 0)],
            connections_max=connections_max,
            is_valuable=self.valuable.__contains__,
            count_fault=lambda reason: self.faults.update([reason]),
        ) as host:
            yield host.libp2p


@pytest.fixture(autouse=True)
def _leave_no_sockets() -> Iterator[None]:
    """A stock host that dies leaves its sockets to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Guarded:
    monkeypatch.setattr(host_module, "SLACK_CONNECTIONS", 1)
    return Guarded()


@asynccontextmanager
async def a_client_of(server: IHost) -> AsyncIterator[IHost]:
    async with stock(listen=False) as client:
        await connect(client, server)
        yield client


async def connect(client: IHost, server: IHost) -> None:
    info = PeerInfo(server.get_id(), server.get_transport_addrs())
    with trio.fail_after(PATIENCE_S):
        await client.connect(info)


async def is_serving(server: IHost) -> bool:
    """Whether a newcomer gets an answer."""
    answer = b""
    try:
        async with a_client_of(server) as client:
            stream = await client.new_stream(server.get_id(), [ECHO])
            await stream.write(b"?")
            with trio.fail_after(PATIENCE_S):
                answer = await stream.read(1)
    except* (BaseLibp2pError, trio.TooSlowError):
        pass
    return answer == b"?"


async def comes_to_be(condition: Callable[[], bool], wait_s: float) -> bool:
    """Whether it does, in that time, where the library announces nothing."""
    with trio.move_on_after(wait_s):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)
    return condition()


async def eventually(condition: Callable[[], bool]) -> None:
    assert await comes_to_be(condition, PATIENCE_S)


async def echo(stream: INetStream) -> None:
    await stream.write(await stream.read(1))


async def disturb(
    host: IHost, what: Callable[[IHost, INetStream], Awaitable[None]], on: str
) -> None:
    async with a_client_of(host) as client:
        stream = await client.new_stream(host.get_id(), [on])
        await what(client, stream)


async def ends_with(error: type[Exception], run: Callable[[], Awaitable[None]]) -> bool:
    """Whether ``run`` ends with an ``error`` somewhere in an exception group."""
    ended = False
    try:
        await run()
    except* error:
        ended = True
    return ended


# 1. Exceptions in handlers


async def raise_in_handler(open_any: OpenHost) -> bool:
    async def bad(stream: INetStream) -> None:
        await stream.read(1)
        raise ValueError("a bug, or bytes that do not parse")

    async def poke(_client: IHost, stream: INetStream) -> None:
        await stream.write(b"x")
        await trio.sleep(0.3)

    async with open_any() as host:
        host.set_stream_handler("/bad/1", bad)
        host.set_stream_handler(ECHO, echo)
        await disturb(host, poke, on="/bad/1")
        return await is_serving(host)


async def test_stock_dies_of_an_exception_in_a_stream_handler() -> None:
    async def run() -> None:
        await raise_in_handler(stock)

    assert await ends_with(ValueError, run)


async def test_guarded_survives_an_exception_in_a_stream_handler(guarded: Guarded) -> None:
    assert await raise_in_handler(guarded)
    assert guarded.faults == {"stream handler: ValueError": 1}


async def garbage_on_meshsub(open_any: OpenHost) -> bool:
    async def send_garbage(_client: IHost, stream: INetStream) -> None:
        await stream.write(bytes([4, 0xFF, 0xFF, 0xFF, 0xFF]))
        await trio.sleep(0.3)

    async with open_any() as host:
        gossip = GossipSub([MESHSUB], degree=3, degree_low=2, degree_high=4)
        pubsub = Pubsub(host, gossip)
        async with background_trio_service(pubsub), background_trio_service(gossip):
            host.set_stream_handler(ECHO, echo)
            await disturb(host, send_garbage, on=MESHSUB)
            return await is_serving(host)


async def test_stock_dies_of_garbage_on_meshsub() -> None:
    async def run() -> None:
        assert not await garbage_on_meshsub(stock)

    died_loudly = await ends_with(Exception, run)
    assert died_loudly


async def test_guarded_survives_garbage_on_meshsub(guarded: Guarded) -> None:
    assert await garbage_on_meshsub(guarded)
    assert guarded.faults["stream handler: DecodeError"] == 1


# 2. Slots of inbound connections


async def connections_in_turn(open_any: OpenHost, count: int) -> int:
    """How many of ``count`` clients, each gone before the next, were served."""
    async with open_any(connections_max=2) as host:
        host.set_stream_handler(ECHO, echo)
        served = 0
        for _ in range(count):
            served += await is_serving(host)
        return served


async def test_stock_accepts_only_so_many_connections_ever() -> None:
    assert await connections_in_turn(stock, 4) == 2


async def test_guarded_gives_slots_back(guarded: Guarded) -> None:
    assert await connections_in_turn(guarded, 5) == 5


async def test_guarded_forgets_peers_that_left(guarded: Guarded) -> None:
    async with guarded() as host:
        async with a_client_of(host) as client:
            peer_id = client.get_id()
            await eventually(lambda: peer_id in host.get_connected_peers())
            host.get_peerstore().add_protocols(peer_id, [ECHO])  # as whatever learns of a peer
        await eventually(lambda: peer_id not in host.get_peerstore().peer_ids())
        assert not host.get_network().auto_connector._recent_disconnects


# 3. Room for newcomers


async def hold_streams(host: IHost, client: IHost) -> None:
    """Do what gossip does: keep a stream open."""
    await client.new_stream(host.get_id(), ["/idle/1"])


async def idle(_stream: INetStream) -> None:
    await trio.sleep_forever()


async def newcomer_joins(open_any: OpenHost, prefer: Callable[[str], None] | None = None) -> bool:
    """With the host full of clients that hold streams: whether one more is served."""
    async with open_any(connections_max=2) as host:
        host.set_stream_handler("/idle/1", idle)
        host.set_stream_handler(ECHO, echo)
        async with a_client_of(host) as first, a_client_of(host) as second:
            for client in (first, second):
                await hold_streams(host, client)
                if prefer is not None and client is first:
                    prefer(str(client.get_id()))
            await trio.sleep(1.2)  # the stock pruner runs once a second
            served = await is_serving(host)
            if prefer is not None:
                assert first.get_id() in host.get_connected_peers()
                assert second.get_id() not in host.get_connected_peers()
            return served


async def test_stock_lets_no_newcomer_in_once_full() -> None:
    assert not await newcomer_joins(stock)


async def test_guarded_makes_room_and_spares_the_valuable(guarded: Guarded) -> None:
    assert await newcomer_joins(guarded, prefer=guarded.valuable.add)
    assert guarded.faults["closed a connection to make room"] == 1


# 4. Receive windows


async def flood_a_stream(open_any: OpenHost) -> int:
    """Send 4 MiB on a stream that nobody reads, against the window; the bytes the host kept."""
    async with open_any() as host:
        host.set_stream_handler("/idle/1", idle)
        async with a_client_of(host) as client:
            stream: Any = await client.new_stream(host.get_id(), ["/idle/1"])
            (connection,) = host.get_network().get_connections(client.get_id())
            buffers = connection.muxed_conn.stream_buffers
            raw = stream.muxed_stream
            chunk = bytes(60_000)
            header = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_DATA, 0, raw.stream_id, len(chunk))
            kept = sent = 0
            for _ in range(70):
                if connection.is_closed:
                    break
                try:
                    await raw.conn._write_frame(header + chunk)
                except Exception:  # noqa: BLE001 — closed on us, of which there are many forms
                    break
                sent += len(chunk)
                kept = max(kept, sum(len(buffer) for buffer in buffers.values()))
            with trio.fail_after(PATIENCE_S):
                while kept < sent and not connection.is_closed:
                    kept = max(kept, sum(len(buffer) for buffer in buffers.values()))
                    await trio.sleep(0.01)
            return kept


async def test_stock_keeps_whatever_is_sent_against_the_window() -> None:
    assert await flood_a_stream(stock) > 3_000_000


async def test_guarded_closes_a_connection_that_ignores_the_window(guarded: Guarded) -> None:
    assert await flood_a_stream(guarded) <= guards.CONNECTION_BUFFER_MAX_BYTES
    assert guarded.faults["more unread bytes than one connection may hold"] == 1


# 5. Cancelled writers


async def survives_cancelled_writers(server: IHost, client: IHost) -> bool:
    """Cancel a task at each step of a write in turn; whether the connection still works."""
    stream = await client.new_stream(server.get_id(), ["/sink/1"])

    async def write() -> None:
        await stream.write(b"x")

    answer = b""
    try:
        for steps in range(12):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                for _ in range(steps):
                    await trio.lowlevel.cancel_shielded_checkpoint()
                nursery.cancel_scope.cancel()
        with trio.move_on_after(PATIENCE_S):
            probe = await client.new_stream(server.get_id(), [ECHO])
            await probe.write(b"?")
            answer = await probe.read(1)
    except* BaseLibp2pError:
        pass
    return answer == b"?"


async def sink_bytes(stream: INetStream) -> None:
    while await stream.read(64):
        pass


async def test_stock_loses_the_connection_with_a_cancelled_writer() -> None:
    async with stock() as server, a_client_of(server) as client:
        server.set_stream_handler("/sink/1", sink_bytes)
        server.set_stream_handler(ECHO, echo)
        assert not await survives_cancelled_writers(server, client)


async def test_guarded_writes_whole_frames(guarded: Guarded) -> None:
    async with stock() as server:
        server.set_stream_handler("/sink/1", sink_bytes)
        server.set_stream_handler(ECHO, echo)
        async with guarded() as client:
            await connect(client, server)
            assert await survives_cancelled_writers(server, client)


# 6. Dials that nobody asked for


async def dials_on_its_own(open_any: OpenHost, wait_s: float) -> bool:
    """Whether a host that loses one peer dials another whose address it happens to know."""
    async with stock() as other, open_any() as host:
        addresses = other.get_transport_addrs()
        host.get_peerstore().add_addrs(other.get_id(), addresses, ttl=1_000)
        async with stock() as first:
            await connect(host, first)
        return await comes_to_be(lambda: other.get_id() in host.get_connected_peers(), wait_s)


async def test_stock_dials_whoever_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_connector, "_addr_is_routable", lambda _addr: True)
    assert await dials_on_its_own(stock, PATIENCE_S)


async def test_guarded_dials_whom_it_is_told_to(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_connector, "_addr_is_routable", lambda _addr: True)
    assert not await dials_on_its_own(guarded, SILENCE_S)


# 7. Connections that say nothing


async def serves_beside_silent_connections(open_any: OpenHost, server_max: int) -> bool:
    """With all its slots taken by connections that say nothing: whether a newcomer is served."""
    async with open_any(connections_max=server_max) as host, trio.open_nursery() as nursery:
        host.set_stream_handler(ECHO, echo)
        port = int(host.get_transport_addrs()[0].value_for_protocol("tcp"))

        async def be_silent(*, task_status: trio.TaskStatus[None]) -> None:
            with trio.socket.socket() as client:
                await client.bind(("127.0.0.2", 0))
                await client.connect(("127.0.0.1", port))
                task_status.started()
                with contextlib.suppress(ConnectionResetError):
                    await client.recv(1_000)
                    await trio.sleep_forever()

        for _ in range(server_max + 2):
            await nursery.start(be_silent)
        await trio.sleep(0.2)
        served = await is_serving(host)
        nursery.cancel_scope.cancel()
    return served


async def test_stock_is_closed_by_silent_connections() -> None:
    assert not await serves_beside_silent_connections(stock, 4)


async def test_guarded_has_room_beside_silent_connections(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "UPGRADES_PER_HOST_MAX", 3)
    assert await serves_beside_silent_connections(guarded, 4)
    assert guarded.faults["more half-open connections than one address may have"] == 3


# 8. Connections that end with much to answer


async def forgets_a_connection_that_is_gone(open_any: OpenHost, wait_s: float) -> bool:
    async with open_any() as host, stock(listen=False) as client:
        await connect(client, host)
        (ours,) = host.get_network().get_connections(client.get_id())
        (theirs,) = client.get_network().get_connections(host.get_id())
        for number in range(1_000):
            ping = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, number)
            await theirs.muxed_conn._write_frame(ping)
        stream: Any = theirs.muxed_conn
        while not isinstance(stream, trio.SocketStream):
            names = ("secured_conn", "conn", "read_writer", "read_write_closer", "stream")
            stream = next(getattr(stream, name) for name in names if hasattr(stream, name))
        linger = struct.pack("ii", 1, 0)  # closing sends RST
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        stream.socket.close()
        return await comes_to_be(lambda: bool(ours.is_closed), wait_s)


async def test_stock_keeps_a_connection_that_is_gone() -> None:
    assert not await forgets_a_connection_that_is_gone(stock, SILENCE_S)


async def test_guarded_forgets_a_connection_that_is_gone(guarded: Guarded) -> None:
    assert await forgets_a_connection_that_is_gone(guarded, PATIENCE_S)


# The DHT's clients in routing tables, and what else is ours to settle


async def test_stock_dht_puts_clients_into_its_table() -> None:
    async with (
        stock() as server,
        stock() as client,  # it listens, as a node at home does on an address nobody reaches
        background_trio_service(KadDHT(server, DHTMode.SERVER)) as served,
        background_trio_service(KadDHT(client, DHTMode.CLIENT)) as asked,
    ):
        table, asking = served._service.routing_table, asked._service
        await connect(client, server)
        await asking.routing_table.add_peer(PeerInfo(server.get_id(), server.get_transport_addrs()))
        with trio.move_on_after(PATIENCE_S):
            await asking.get_value("/wice/nothing-here")
        await eventually(lambda: table.peer_in_table(client.get_id()))


async def plaintext_connects(open_any: OpenHost) -> bool:
    key_pair = create_new_key_pair()
    client = new_host(
        key_pair=key_pair,
        sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(key_pair, peerstore=None)},
    )
    async with open_any() as host, client.run([]):
        try:
            await connect(client, host)
        except (SwarmException, trio.TooSlowError):
            return False
        return True


async def test_stock_talks_plaintext_to_whoever_asks() -> None:
    assert await plaintext_connects(stock)


async def test_guarded_talks_noise_alone(guarded: Guarded) -> None:
    assert not await plaintext_connects(guarded)
