"""What py-libp2p does in vain: the stock library first, then with the guard."""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.peerinfo import PeerInfo
from libp2p.stream_muxer.yamux.yamux import (
    FLAG_ACK,
    TYPE_PING,
    TYPE_WINDOW_UPDATE,
    YAMUX_HEADER_FORMAT,
)
from multiaddr import Multiaddr

from p2p.cost_guards import (
    READ_SIZE_BYTES,
    RECEIVE_WINDOW_BYTES,
    BufferedConnection,
    notify_in_turn,
)
from p2p.host import open_host
from p2p.identity import Identity
from p2p.lock import PromptLock
from p2p.section import TcpAddress
from p2p.turns import PROMPT_STEPS_MAX

PATIENCE_S = 60.0
SINK = "/sink/1"
OpenHost = Callable[[], AbstractAsyncContextManager[IHost]]


@asynccontextmanager
async def stock() -> AsyncIterator[IHost]:
    host = new_host(key_pair=create_new_key_pair())
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host
        await host.close()


@asynccontextmanager
async def guarded() -> AsyncIterator[IHost]:
    async with open_host(
        Identity.from_seed(bytes(range(32))),
        [TcpAddress("127.0.0.1", 0)],
        connections_max=10,
        is_valuable=lambda _peer_id: False,
        count_fault=lambda reason: pytest.fail(reason),
    ) as host:
        yield host.libp2p


class Cost:
    """What one host did for the messages it received."""

    def __init__(self) -> None:
        self.window_updates = 0
        self.reads = 0
        self.window_bytes = 0


async def receive(open_any: OpenHost, messages: int, size_bytes: int) -> Cost:
    """Send messages one after the other, each when the last was read and noticed."""
    cost = Cost()
    got = trio.Event()

    async def sink(stream: INetStream) -> None:
        nonlocal got
        count(cost, stream)
        for _ in range(messages):
            left_bytes = size_bytes
            while left_bytes:
                left_bytes -= len(await stream.read(left_bytes))
            got.set()
        muxed: Any = stream
        cost.window_bytes = muxed.muxed_stream.target_recv_window

    with trio.fail_after(PATIENCE_S):
        async with open_any() as server, stock() as client:
            server.set_stream_handler(SINK, sink)
            await client.connect(PeerInfo(server.get_id(), server.get_transport_addrs()))
            stream = await client.new_stream(server.get_id(), [SINK])
            for _ in range(messages):
                await stream.write(bytes(size_bytes))
                await got.wait()
                got = trio.Event()
            await trio.testing.wait_all_tasks_blocked(0.01)
    return cost


def count(cost: Cost, stream: Any) -> None:
    connection = stream.muxed_conn
    write_frame = connection._write_frame

    async def count_frame(data: bytes) -> None:
        cost.window_updates += data[1] == TYPE_WINDOW_UPDATE
        await write_frame(data)

    connection._write_frame = count_frame
    raw = connection.secured_conn.conn.read_writer.read_write_closer.stream
    tcp = getattr(raw, "_stream", raw)
    read = tcp.read

    async def count_read(size_bytes: int | None = None) -> bytes:
        cost.reads += 1
        data: bytes = await read(size_bytes)
        return data

    tcp.read = count_read


async def test_stock_answers_every_message_with_a_window_update() -> None:
    cost = await receive(stock, 20, 500)
    assert cost.window_updates >= 20
    assert cost.window_bytes > 10 * RECEIVE_WINDOW_BYTES


async def test_guarded_leaves_the_window_alone_until_half_of_it_was_read() -> None:
    cost = await receive(guarded, 20, 500)
    assert cost.window_updates == 0
    assert cost.window_bytes == RECEIVE_WINDOW_BYTES


async def test_guarded_goes_on_receiving_beyond_the_first_window() -> None:
    cost = await receive(guarded, 4 * RECEIVE_WINDOW_BYTES // 30_000, 30_000)
    assert 6 <= cost.window_updates <= 8


async def test_stock_reads_twice_for_each_message() -> None:
    assert (await receive(stock, 50, 500)).reads >= 100


async def test_guarded_reads_once_for_each_message() -> None:
    assert (await receive(guarded, 50, 500)).reads <= 70


# Floods

AT_ONCE_MAX = 2 * PROMPT_STEPS_MAX
"""Twice, since trio shuffles: another may run first in one pass, and last in the next."""


class Beside:
    """Another task, and how much was done in its stead between two of its turns."""

    def __init__(self) -> None:
        self.longest = 0
        self.steps = 0
        self._done = 0

    async def run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.steps += 1
            self._done = 0

    def count(self) -> None:
        self._done += 1
        self.longest = max(self.longest, self._done)


async def flood(open_any: OpenHost, kind: int, flags: int) -> int:
    """Frames handled at once of those that fill one Noise message, 12 bytes each."""
    beside = Beside()
    frames, handled = 5_400, trio.Event()
    async with open_any() as server, stock() as client, trio.open_nursery() as nursery:
        await client.connect(PeerInfo(server.get_id(), server.get_transport_addrs()))
        await trio.testing.wait_all_tasks_blocked(0.01)
        (receiving,) = muxed_connections(server)
        (sending,) = muxed_connections(client)
        read, left = receiving.secured_conn.read, frames

        async def count_read(size_bytes: int | None = None) -> bytes:
            nonlocal left
            data: bytes = await read(size_bytes)
            beside.count()
            left -= 1
            if not left:
                handled.set()
            return data

        receiving.secured_conn.read = count_read
        nursery.start_soon(beside.run)
        await sending.secured_conn.write(
            struct.pack(YAMUX_HEADER_FORMAT, 0, kind, flags, 999, 0) * frames
        )
        with trio.fail_after(PATIENCE_S):
            await handled.wait()
        nursery.cancel_scope.cancel()
    return beside.longest


def muxed_connections(host: IHost) -> list[Any]:
    network: Any = host.get_network()
    return [connection.muxed_conn for connection in network.get_connections()]


async def test_stock_handles_thousands_of_frames_before_others_run() -> None:
    assert await flood(stock, TYPE_PING, FLAG_ACK) >= 5_000


@pytest.mark.parametrize(("kind", "flags"), [(TYPE_PING, FLAG_ACK), (TYPE_WINDOW_UPDATE, 0)])
async def test_guarded_lets_others_run_between_frames_of_a_flood(kind: int, flags: int) -> None:
    assert await flood(guarded, kind, flags) <= AT_ONCE_MAX


async def test_guarded_lets_others_run_while_a_full_buffer_is_read_in_small_pieces() -> None:
    beside = Beside()
    size_bytes, read_all = 5_000, trio.Event()

    async def sink(stream: INetStream) -> None:
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beside.run)
            for _ in range(size_bytes):
                await stream.read(1)
                beside.count()
            nursery.cancel_scope.cancel()
        read_all.set()

    async with guarded() as server, stock() as client:
        server.set_stream_handler(SINK, sink)
        await client.connect(PeerInfo(server.get_id(), server.get_transport_addrs()))
        stream = await client.new_stream(server.get_id(), [SINK])
        await stream.write(bytes(size_bytes))
        with trio.fail_after(PATIENCE_S):
            await read_all.wait()
    assert beside.longest <= AT_ONCE_MAX


# The locks


ACQUISITIONS = 10 * PROMPT_STEPS_MAX


async def steps(acquire: Callable[[], Awaitable[None]], release: Callable[[], None]) -> int:
    """How often another task runs while a lock is taken ``ACQUISITIONS`` times."""
    others = 0

    async def run_beside() -> None:
        nonlocal others
        while True:
            others += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_beside)
        await trio.lowlevel.checkpoint()
        before = others
        for _ in range(ACQUISITIONS):
            await acquire()
            release()
        during = others - before
        nursery.cancel_scope.cancel()
    return during


async def test_a_lock_of_trio_lets_others_run_first() -> None:
    lock = trio.Lock()
    assert await steps(lock.acquire, lock.release) >= ACQUISITIONS - 10


async def test_a_free_lock_is_had_at_once_but_for_every_so_many_times() -> None:
    lock = PromptLock()
    assert await steps(lock.acquire, lock.release) in range(9, 12)


async def test_one_task_holds_the_lock_and_others_follow_in_turn() -> None:
    lock = PromptLock()
    inside: list[int] = []
    order: list[int] = []

    async def work(number: int) -> None:
        async with lock:
            inside.append(number)
            await trio.testing.wait_all_tasks_blocked()
            assert inside == [number]
            order.append(inside.pop())

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(work, number)
            await trio.testing.wait_all_tasks_blocked()
    assert order == [0, 1, 2, 3]


async def test_a_lock_that_was_handed_over_is_not_free_for_who_comes_then() -> None:
    lock = PromptLock()
    order: list[str] = []

    async def work(name: str) -> None:
        async with lock:
            order.append(name)
            await trio.testing.wait_all_tasks_blocked()
            order.append(name)

    async with trio.open_nursery() as nursery:
        await lock.acquire()
        nursery.start_soon(work, "first")
        await trio.testing.wait_all_tasks_blocked()
        lock.release()
        await work("second")
    assert order == ["first", "first", "second", "second"]


async def test_who_is_cancelled_while_waiting_gets_no_lock() -> None:
    lock = PromptLock()
    await lock.acquire()
    with trio.move_on_after(0):
        await lock.acquire()
    lock.release()
    assert await is_free(lock)


async def is_free(lock: PromptLock) -> bool:
    with trio.move_on_after(0.01) as scope:
        async with lock:
            pass
    return not scope.cancelled_caught


async def test_a_lock_is_free_again_when_its_holder_is_cancelled() -> None:
    lock = PromptLock()
    with trio.move_on_after(0):
        async with lock:
            await trio.sleep_forever()
    assert await is_free(lock)


async def test_who_waits_is_cancelled_and_the_next_one_gets_the_lock() -> None:
    lock = PromptLock()
    scopes = [trio.CancelScope() for _ in range(3)]
    had: list[int] = []

    async def work(number: int) -> None:
        with scopes[number]:
            async with lock:
                had.append(number)

    async with trio.open_nursery() as nursery, lock:
        for number in range(3):
            nursery.start_soon(work, number)
            await trio.testing.wait_all_tasks_blocked()
        scopes[0].cancel()
        await trio.testing.wait_all_tasks_blocked()
    assert had == [1, 2]
    assert await is_free(lock)


async def test_who_is_cancelled_when_the_lock_was_just_handed_over_gives_it_back() -> None:
    lock = PromptLock()
    scope = trio.CancelScope()
    had = []

    async def work() -> None:
        with scope:
            async with lock:
                had.append("the lock")
                await trio.lowlevel.checkpoint()
                had.append("more than one step")

    async with trio.open_nursery() as nursery:
        async with lock:
            nursery.start_soon(work)
            await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
    assert had == ["the lock"]
    assert await is_free(lock)


async def test_who_is_cancelled_where_others_get_their_turn_has_no_lock() -> None:
    lock = PromptLock()
    with trio.CancelScope() as scope:
        scope.cancel()
        for _ in range(PROMPT_STEPS_MAX):
            async with lock:
                pass
    assert scope.cancelled_caught
    assert await is_free(lock)


# Reading what is there


class Socket:
    """Has ``pieces`` to read, one at a time; then it is at its end."""

    def __init__(self, *pieces: bytes) -> None:
        self.asked: list[int | None] = []
        self._pieces = [*pieces]

    async def read(self, size_bytes: int | None) -> bytes:
        self.asked.append(size_bytes)
        return self._pieces.pop(0) if self._pieces else b""


async def test_a_buffered_connection_hands_out_what_was_read() -> None:
    socket = Socket(b"abcdef", b"gh")
    connection = BufferedConnection(socket)
    taken = [await connection.read(size_bytes) for size_bytes in (2, 0, 3, 5, None, 5)]
    assert taken == [b"ab", b"", b"cde", b"f", b"gh", b""]
    assert socket.asked == [READ_SIZE_BYTES] * 3


# Listeners


class Notifee:
    def __init__(self, told: list[str], name: str, error: Exception | None = None) -> None:
        self._told, self._name, self._error = told, name, error

    async def opened_stream(self, _network: object, stream: object) -> None:
        self._told.append(f"{self._name}: {stream}")
        if self._error is not None:
            raise self._error


class NotifyingSwarm:
    def __init__(self, *notifees: Notifee) -> None:
        self.notifees = notifees
        self.faults: list[str] = []
        self._count_fault = self.faults.append


async def test_all_notifees_are_told_whatever_one_of_them_raises() -> None:
    told: list[str] = []
    first, second = Notifee(told, "first", ValueError("broken")), Notifee(told, "second")
    swarm = NotifyingSwarm(first, second)
    began = trio.lowlevel.current_statistics().tasks_living
    await notify_in_turn(swarm, "opened_stream", "a stream")
    assert told == ["first: a stream", "second: a stream"]
    assert swarm.faults == ["a notifee's opened_stream"]
    assert trio.lowlevel.current_statistics().tasks_living == began
