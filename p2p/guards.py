"""Guards around py-libp2p 0.8.1 (docs/explanation/py-libp2p.md).

Each guard answers one defect that a remote can trigger, and has a test in tests/p2p that runs the
stock library to see the defect, then the guard: when upstream mends it, the first half fails and
the guard can go. They reach into private parts of the library, which is why it is pinned exactly
and why they all live here.

1. ``guarded_stream_handler``: an exception in a stream handler ends the whole host.
2. ``GuardedSwarm.upgrade_inbound_raw_conn``: an inbound connection keeps its slot and its task
   until the swarm ends, so a node accepts only so many connections ever.
3. ``GuardedSwarm.enforce_budget``: the pruner never closes a connection that has a stream, so at
   the cap newcomers are refused for ever.
4. ``limit_receive_buffers``: the receive window of a stream is only logged when exceeded, so a
   remote fills the memory.
5. ``write_whole_frames``: a task that is cancelled while it writes leaves the connection's Noise
   counters out of step, and the whole connection dies with the next message. And where a write
   fails because the remote is gone, the connection lives on: every frame that it had received is
   answered in vain first, at 10 ms each, while its streams and its slot are kept.
6. ``GuardedSwarm._schedule_auto_connect``: the swarm dials whoever it has an address of, up to
   half its limit of connections, whenever a connection ends.
7. ``GuardedSwarm._admit``: connections that say nothing hold all inbound slots for the time an
   upgrade may take, and nobody else is let in.
8. ``GuardedSwarm.release``: a swarm that dies leaves its sockets open, the listening ones too.

The fourth of the field's showstoppers, DHT clients that end up in routing tables, is not guarded:
the DHT is our own (docs/adr/0007-own-dht-on-libp2p-streams.md).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import Any
from weakref import WeakSet

import trio
from libp2p.abc import IMuxedConn, INetConn, INetStream, IRawConnection
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2p.cost_guards import (
    BufferedConnection,
    grant_half_windows,
    let_others_run,
    notify_in_turn,
    pass_locks_at_once,
    pass_stream_locks_at_once,
    read_bodies_at_once,
)
from p2p.prompt import finish_within

STREAMS_PER_CONNECTION_MAX = 64
"""Streams that a remote may hold open on one connection."""
CONNECTION_BUFFER_MAX_BYTES = 2 * 1024 * 1024
"""Bytes received on all streams of one connection and not yet read by anybody."""
WRITE_TIMEOUT_S = 5.0
"""How long a remote may refuse to take the bytes of one frame."""
CLOSE_TIMEOUT_S = 1.0
UPGRADES_PER_HOST_MAX = 64
"""Inbound connections from one address (IPv6: one /64) that are not yet secured and muxed."""

StreamHandler = Callable[[INetStream], Awaitable[None]]
CountFault = Callable[[str], None]
"""Told the reason, a short text without secrets, each time a guard refuses something."""


def guarded_stream_handler(handler: StreamHandler, count_fault: CountFault) -> StreamHandler:
    """Keep what ``handler`` raises, and streams beyond the limit, from the rest of the host.

    Stock: the exception climbs through the connection's nursery into the swarm's service and
    cancels it. The library's own handlers (identify, ping, gossip) raise on bytes they cannot
    parse, so there is no list of exceptions to name.
    """
    streams: Counter[int] = Counter()

    async def guarded(stream: INetStream) -> None:
        connection = id(stream.muxed_conn)
        if streams[connection] >= STREAMS_PER_CONNECTION_MAX:
            count_fault("more streams than one connection may have")
            await _reset(stream)
            return
        streams[connection] += 1
        try:
            await handler(stream)
        except Exception as error:  # noqa: BLE001 — whatever gets past here ends the whole swarm
            count_fault(f"stream handler: {type(error).__name__}")
            await _reset(stream)
        finally:
            streams[connection] -= 1
            if not streams[connection]:
                del streams[connection]

    return guarded


async def _reset(stream: INetStream) -> None:
    try:
        await stream.reset()
    except Exception:  # noqa: BLE001 — the connection under it may be in any state of ruin
        return


def limit_receive_buffers(connection: Any, count_fault: CountFault) -> None:
    """Close a yamux ``connection`` whose remote ignores the receive windows.

    Stock: every frame is appended to its stream's buffer; a window that is exceeded is logged.
    """
    read_body = connection._read_data_body

    async def read_limited(size_bytes: int) -> bytes:
        held = sum(len(buffer) for buffer in connection.stream_buffers.values())
        if held + size_bytes > CONNECTION_BUFFER_MAX_BYTES:
            count_fault("more unread bytes than one connection may hold")
            # The one error on which Yamux.handle_incoming closes the connection at once.
            raise trio.TooSlowError
        body: bytes = await read_body(size_bytes)
        return body

    connection._read_data_body = read_limited


def write_whole_frames(connection: Any, count_fault: CountFault) -> None:
    """Let no cancelled task leave a yamux ``connection`` with a frame half written.

    Stock: Noise counts a message as sent when it encrypts it, before the socket is asked. The
    bound in time is for a remote that takes no bytes: then the connection is closed. What fails
    fails as RawConnError, on which Yamux.handle_incoming ends the connection.
    """

    async def write(data: bytes) -> None:
        async with connection._write_lock:
            await connection.secured_conn.write(data)

    async def write_whole(data: bytes) -> None:
        try:
            await finish_within(WRITE_TIMEOUT_S, write(data), is_shielded=True)
        except ConnectionClosedError as error:
            raise RawConnError("the remote is gone") from error
        except trio.TooSlowError:
            pass
        else:
            return
        count_fault("a connection that takes no bytes")
        with trio.move_on_after(CLOSE_TIMEOUT_S) as scope:
            scope.shield = True
            await connection.secured_conn.close()
        raise RawConnError("the remote takes no bytes")

    connection._write_frame = write_whole


class GuardedSwarm(Swarm):  # type: ignore[misc]  # mypy does not follow libp2p.
    """The library's swarm with every guard on.

    connections_max: the connections this node keeps; at that number the least valuable go.
    is_valuable: whether a peer's connections are in use and go last.
    """

    def __init__(
        self,
        *args: Any,
        connections_max: int,
        is_valuable: Callable[[ID], bool],
        count_fault: CountFault,
        **kwargs: Any,
    ) -> None:
        self._count_fault = count_fault
        self._connections_max = connections_max
        self._is_valuable = is_valuable
        self._dialled: WeakSet[IRawConnection] = WeakSet()
        self._upgrading: Counter[str] = Counter()
        super().__init__(*args, **kwargs)

    def set_stream_handler(self, stream_handler: StreamHandler) -> None:
        super().set_stream_handler(guarded_stream_handler(stream_handler, self._count_fault))

    async def upgrade_inbound_raw_conn(
        self, raw_conn: IRawConnection, maddr: Multiaddr
    ) -> IMuxedConn:
        """Upgrade, and stay for as long as the connection lives.

        Stock: the caller holds a slot of the inbound limiter and then sleeps until the swarm
        ends; it gives the slot back when this method raises.
        """
        with self._admit(raw_conn):
            _buffer_reads(raw_conn)
            connection = await super().upgrade_inbound_raw_conn(raw_conn, maddr)
        await connection.event_closed.wait()
        raise SwarmException("connection closed")

    @contextmanager
    def _admit(self, raw_conn: IRawConnection) -> Iterator[None]:
        """Count a connection that is being upgraded; raise SwarmException beyond the limit."""
        remote = raw_conn.get_remote_address()
        host = network_of(remote[0]) if remote else ""
        if self._upgrading[host] >= UPGRADES_PER_HOST_MAX:
            self._count_fault("more half-open connections than one address may have")
            raise SwarmException("too many connections are being upgraded")
        self._upgrading[host] += 1
        try:
            yield
        finally:
            self._upgrading[host] -= 1
            if not self._upgrading[host]:
                del self._upgrading[host]

    async def upgrade_outbound_raw_conn(
        self, raw_conn: IRawConnection, peer_id: ID, pre_scope: Any = None
    ) -> SwarmConn:
        self._dialled.add(raw_conn)
        _buffer_reads(raw_conn)
        return await super().upgrade_outbound_raw_conn(raw_conn, peer_id, pre_scope)

    async def release(self) -> None:
        """Close whatever is still open, however the swarm ended.

        Stock, closing a connection or a listener of a swarm that is cancelled is itself
        cancelled, and listeners go on in system tasks. Theirs are the accepted connections.
        """
        for listener in list(self.listeners.values()):
            await listener.close()
        for connection in list(self._dialled):
            await connection.close()

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        pass_locks_at_once(muxed_conn)
        let_others_run(muxed_conn)
        read_bodies_at_once(muxed_conn)
        limit_receive_buffers(muxed_conn, self._count_fault)
        write_whole_frames(muxed_conn, self._count_fault)
        connection = await super().add_conn(muxed_conn, direction)
        self.enforce_budget(newest=connection)
        return connection

    async def notify_opened_stream(self, stream: INetStream) -> None:
        pass_stream_locks_at_once(stream)
        grant_half_windows(stream.muxed_stream)
        await super().notify_opened_stream(stream)

    async def notify_disconnected(self, conn: INetConn) -> None:
        await super().notify_disconnected(conn)
        # Stock remembers every peer it ever met.
        peer_id = conn.muxed_conn.peer_id
        if not self.get_connections(peer_id):
            self.auto_connector._recent_disconnects.pop(peer_id, None)
            if self.peerstore.has_peer(peer_id):
                self.peerstore.clear_peerdata(peer_id)

    async def _notify(self, method: str, *args: Any) -> None:
        await notify_in_turn(self, method, *args)

    def _schedule_auto_connect(self) -> None:
        """Dial nobody: whom to be connected to is decided in p2p/connections.py."""

    def enforce_budget(self, newest: INetConn | None = None) -> None:
        """Close the least valuable connections beyond ``connections_max``.

        Those in use go last; among the rest, first those whose network holds most connections,
        then the oldest. The newest is spared: it must have the chance to show its value.
        """
        live = [connection for connection in self.get_connections() if not connection.is_closed]
        excess = len(live) - self._connections_max
        if excess <= 0:
            return
        per_network = Counter(_remote_network(connection) for connection in live)
        candidates = [connection for connection in live if connection is not newest]
        candidates.sort(
            key=lambda connection: (
                self._is_valuable(connection.muxed_conn.peer_id),
                -per_network[_remote_network(connection)],
                connection._created_at,
            )
        )
        for connection in candidates[:excess]:
            self._count_fault("closed a connection to make room")
            self.manager.run_task(self._close_connection_async, connection)


def _buffer_reads(connection: Any) -> None:
    if not isinstance(connection.stream, BufferedConnection):
        connection.stream = BufferedConnection(connection.stream)


def network_of(host: str) -> str:
    """What counts as one remote: an IPv4 address, or the /64 of an IPv6 address."""
    address = ip_address(host.partition("%")[0])
    return host if address.version == 4 else str(ip_network((address, 64), strict=False))


def _remote_network(connection: INetConn) -> str:
    remote = connection.muxed_conn.get_remote_address()
    return network_of(str(remote[0])) if remote else ""
