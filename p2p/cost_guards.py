"""Guards around what py-libp2p 0.8.1 does in vain (docs/explanation/py-libp2p.md).

A message of ours passes four layers of the library. Each takes locks for single statements, and
every ``trio.Lock`` lets all other tasks run before it is had; each reads a length, then what
follows it, from the socket. None of that is wrong; together it was half of a node's work.

1. ``pass_locks_at_once``, ``pass_stream_locks_at_once``: locks as of p2p/lock.py.
2. ``BufferedConnection``: reads from the socket what is there.
3. ``let_others_run``: what is at hand at once, a flood keeps at hand; without those locks nobody
   else would run in between.
4. ``grant_half_windows``: a yamux stream answers every read with a window update, and grows its
   window with each up to 16 MiB.
5. ``notify_in_turn``: three tasks are made each time that a connection or a stream begins or
   ends, to tell two listeners that have nothing to wait for.
6. ``read_bodies_at_once``: the body of every frame is read under a timeout of its own, though it
   mostly came with the header.

Like p2p/guards.py they reach into private parts of the library.
"""

from typing import Any, Final

from libp2p.io.abc import ReadWriteCloser
from libp2p.io.utils import read_exactly

from p2p.lock import PromptLock
from p2p.prompt import finish_within
from p2p.turns import Turns

READ_SIZE_BYTES: Final = 16 * 1024
"""What is read from a socket at once."""
BODY_TIMEOUT_S: Final = 60.0
"""For the rest of a frame after its header: the library's own."""
RECEIVE_WINDOW_BYTES: Final = 256 * 1024
"""Of every yamux stream, as the specification says; ours do not need more."""


class BufferedConnection(ReadWriteCloser):  # type: ignore[misc]  # mypy does not follow libp2p.
    """A byte stream, read in large pieces by one reader and handed out in small ones."""

    def __init__(self, stream: Any) -> None:
        """stream: a ``libp2p.io.trio.TrioTCPStream``."""
        stream.read_lock = PromptLock()
        stream.write_lock = PromptLock()
        self._stream = stream
        self._unread = memoryview(b"")

    async def read(self, n: int | None = None) -> bytes:
        if n == 0:
            return b""
        if not self._unread:
            self._unread = memoryview(await self._stream.read(READ_SIZE_BYTES))
        size_bytes = len(self._unread) if n is None else n
        taken, self._unread = self._unread[:size_bytes], self._unread[size_bytes:]
        return bytes(taken)

    async def write(self, data: bytes) -> None:
        await self._stream.write(data)

    async def close(self) -> None:
        await self._stream.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        address: tuple[str, int] | None = self._stream.get_remote_address()
        return address


async def notify_in_turn(swarm: Any, method: str, *args: Any) -> None:
    """Tell the notifees of ``swarm``, whatever one of them raises."""
    for notifee in tuple(swarm.notifees):
        try:
            await getattr(notifee, method)(swarm, *args)
        except Exception:  # noqa: BLE001 - the library logs it, and nobody reads that
            swarm._count_fault(f"a notifee's {method}")


def pass_locks_at_once(connection: Any) -> None:
    """Take the locks out of the way of a yamux ``connection``'s tasks."""
    connection.streams_lock = PromptLock()
    connection._write_lock = PromptLock()


def let_others_run(connection: Any) -> None:
    """Bound the frames of a yamux ``connection`` that are handled before others get their turn.

    One Noise message holds 5,459 empty ones, and some need no lock: stock, 30 ms of them.
    """
    read = connection.secured_conn.read
    turns = Turns()

    async def read_in_turn(n: int | None = None) -> bytes:
        await turns.step()
        data: bytes = await read(n)
        return data

    connection.secured_conn.read = read_in_turn


def pass_stream_locks_at_once(stream: Any) -> None:
    """The same for a ``NetStream`` that was opened or accepted just now."""
    stream._state_lock = PromptLock()
    muxed = stream.muxed_stream
    muxed.window_lock = PromptLock()
    muxed.close_lock = PromptLock()
    muxed.rw_lock = _WriteLock()


def read_bodies_at_once(connection: Any) -> None:
    """Set a timeout for the body of a yamux ``connection``'s frame only where it is awaited."""

    async def read_body(size_bytes: int) -> bytes:
        body = read_exactly(connection.secured_conn, size_bytes)
        data: bytes = await finish_within(BODY_TIMEOUT_S, body)
        return data

    connection._read_data_body = read_body


class _WriteLock:
    """The half of the library's ReadWriteLock that it uses."""

    def __init__(self) -> None:
        self._lock = PromptLock()

    def write_lock(self) -> PromptLock:
        return self._lock


def grant_half_windows(stream: Any) -> None:
    """Let the remote send on when half of a yamux ``stream``'s window was read, as yamux says."""

    async def grant(*, bytes_read: int = 0) -> None:
        stream._pending_recv_release += bytes_read
        read_bytes = stream._pending_recv_release
        if read_bytes >= RECEIVE_WINDOW_BYTES // 2:
            stream._pending_recv_release = 0
            stream.recv_window += read_bytes
            await stream.send_window_update(read_bytes)

    stream._auto_tune_and_send_window_update = grant
