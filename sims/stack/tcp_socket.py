"""Simulated TCP sockets: fresh, listening or connected."""

import errno
import os
import socket as stdlib_socket
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from sims.stack.host import Host
from sims.stack.interfaces import Route
from sims.stack.ports import WILDCARDS, Bindable
from sims.stack.socket_base import InternetSocket, raise_errno
from sims.stack.tcp import TcpConnection
from sims.stack.tcp_sender import Phase
from sims.stack.tun import SimulatedTun
from wice.datagram import Endpoint

if TYPE_CHECKING:
    from typing_extensions import Buffer

BACKLOG_MAX = 4_096
"""Linux's somaxconn."""


class TcpSocket(InternetSocket):
    def __init__(self, host: Host, family: int, kind: int, proto: int) -> None:
        super().__init__(host, family, kind, proto or stdlib_socket.IPPROTO_TCP)
        self._connection: TcpConnection | None = None
        self._is_read_shut = False
        self._backlog: int | None = None
        self._expected: dict[TcpConnection, None] = {}
        """Of a listener: those that are not open yet."""
        self._accepted: deque[TcpConnection] = deque()

    # What the TCP layer asks and gives

    @property
    def unread_bytes(self) -> int:
        return 0 if self._connection is None else self._connection.unread_bytes

    @property
    def is_listening(self) -> bool:
        return self._backlog is not None

    @property
    def has_room(self) -> bool:
        assert self._backlog is not None
        return len(self._expected) + len(self._accepted) <= self._backlog

    @property
    def buffers(self) -> dict[str, int]:
        """What of ``TcpConnection``'s buffers was asked for."""
        asked = {}
        for option, name in (
            (stdlib_socket.SO_RCVBUF, "receive_buffer_bytes"),
            (stdlib_socket.SO_SNDBUF, "send_buffer_bytes"),
        ):
            if (stdlib_socket.SOL_SOCKET, option) in self._options:
                asked[name] = self._option(stdlib_socket.SOL_SOCKET, option)
        return asked

    def may_share_with(self, other: Bindable) -> bool:
        """Reused addresses are for those that do not listen, or with SO_REUSEPORT (socket(7))."""
        assert isinstance(other, TcpSocket)
        if self.reuses_port and other.reuses_port:
            return True
        is_any_listening = self.is_listening or other.is_listening
        return self.reuses_address and other.reuses_address and not is_any_listening

    def expect(self, connection: TcpConnection) -> None:
        """A connection that will be accepted once it is open."""

        def opened() -> None:
            if connection in self._expected:
                del self._expected[connection]
                connection.on_readable = _nothing
                self._accepted.append(connection)
                self._readers.unpark()

        def gone() -> None:
            if connection.phase is Phase.CLOSED:
                self._expected.pop(connection, None)

        self._expected[connection] = None
        connection.on_open = opened
        connection.on_readable = gone

    # Addresses

    def _bind(self, endpoint: Endpoint) -> None:
        self._host.tcp.bind(self, endpoint)

    def getpeername(self) -> Any:
        self._check_open()
        return self._present(self._connected().remote)

    def getsockname(self) -> Any:
        self._check_open()
        if self._connection is not None:
            return self._present(self._connection.local)
        return super().getsockname()

    # Listening

    def listen(self, backlog: int = 128) -> None:
        self._check_open()
        if self._connection is not None:
            raise_errno(errno.EINVAL)
        if self.local is None:
            self._host.tcp.bind(self, Endpoint(self._wildcard(), 0))
        assert self.local is not None
        for other in self._host.tcp.ports.at(self.local.port):
            shares = other is self or (self.reuses_port and other.reuses_port)
            if other.is_listening and other.local == self.local and not shares:
                raise_errno(errno.EADDRINUSE)
        self._backlog = min(max(backlog, 0), BACKLOG_MAX)

    async def accept(self) -> tuple[trio.socket.SocketType, Any]:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if not self.is_listening:
            raise_errno(errno.EINVAL)
        waited = False
        while not self._accepted:
            await self._wait(self._readers)
            waited = True
        # The connection would be lost, were there no number for it.
        accepted = TcpSocket(self._host, self._family, self._kind, self._proto)
        connection = self._accepted.popleft()
        accepted._options = dict(self._options)
        accepted._attach(connection)
        if not waited:
            await self._complete()
        return accepted, accepted._present(connection.remote)

    # Connecting

    async def connect(self, address: Any) -> None:
        try:
            await self._connect(address)
        except trio.Cancelled:
            # As trio does: nobody could know what state it is in.
            self.close()
            raise

    async def _connect(self, address: Any) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        remote = await self._resolve(address)
        self._check_open()
        if self._connection is not None or self.is_listening:
            raise_errno(errno.EISCONN)
        route = self._route(remote)
        if remote.host in WILDCARDS:
            remote = Endpoint(route.source, remote.port)
        connection = self._host.tcp.connect(self._source(route, remote), remote, self.buffers)
        self._attach(connection)
        while connection.phase in (Phase.SYN_SENT, Phase.SYN_RECEIVED):
            await self._wait(self._writers)
        if connection.phase is Phase.CLOSED:
            self._connection = None
            error = connection.error or errno.ECONNABORTED
            raise OSError(error, f"Error connecting to {address!r}: {os.strerror(error)}")

    def _source(self, route: Route, remote: Endpoint) -> Endpoint:
        """Where the connection comes from; binds the socket where it is not."""
        if self.local is None:
            self._host.tcp.bind_to_connect(self, route.source, remote)
        assert self.local is not None
        if self.local.host in WILDCARDS:
            return Endpoint(route.source, self.local.port)
        if not self._host.is_local(self.local.host):
            raise_errno(errno.EADDRNOTAVAIL)
        return self.local

    def _route(self, remote: Endpoint) -> Route:
        route = super()._route(remote)
        if isinstance(route.interface, SimulatedTun):
            raise_errno(errno.ENETUNREACH)
        return route

    def _attach(self, connection: TcpConnection) -> None:
        self._connection = connection
        connection.on_readable = self._wake_readers
        connection.on_writable = self._wake_writers

    def _wake_readers(self) -> None:
        if self._readers:
            self._readers.unpark_all()

    def _wake_writers(self) -> None:
        if self._writers:
            self._writers.unpark_all()

    # The stream

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        connection = self._connected()
        if flags:
            raise_errno(errno.EOPNOTSUPP)
        waited = False
        while not (connection.can_read or self._is_read_shut):
            await self._wait(self._readers)
            waited = True
        data = self._read(connection, buflen)
        if not waited:
            await self._complete()
        return data

    async def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        return await self.recv(bufsize, flags), None

    def is_readable(self) -> bool:
        if self._connection is None:
            return bool(self._accepted)
        return self._connection.can_read

    async def send(self, data: "Buffer", flags: int = 0, /) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if flags:
            raise_errno(errno.EOPNOTSUPP)
        connection = self._connected()
        view = memoryview(data).cast("B")
        self._check_writable(connection)
        waited = False
        while not connection.room_bytes and len(view):
            await self._wait(self._writers)
            waited = True
            self._check_writable(connection)
        taken = connection.write(view)
        if not waited:
            await self._complete()
        return taken

    async def wait_writable(self) -> None:
        self._check_open()
        await trio.lowlevel.checkpoint()
        connection = self._connection
        while connection is not None and not connection.is_writable:
            await self._wait(self._writers)

    def shutdown(self, flag: int) -> None:
        self._check_open()
        connection = self._connected()
        if flag in (stdlib_socket.SHUT_RD, stdlib_socket.SHUT_RDWR):
            self._is_read_shut = True
            self._wake_readers()
        if flag in (stdlib_socket.SHUT_WR, stdlib_socket.SHUT_RDWR):
            self._is_write_shut = True
            connection.end()
            self._wake_writers()

    def _read(self, connection: TcpConnection, size_max_bytes: int) -> bytes:
        data = connection.read(size_max_bytes)
        # Linux tells of a reset after the stream's end to writers alone.
        if not data and connection.error is not None and not connection.is_over:
            self._raise_error(connection)
        return data

    def _check_writable(self, connection: TcpConnection) -> None:
        if connection.error is not None:
            self._raise_error(connection)
        if connection.phase is not Phase.OPEN or connection.is_ending:
            raise_errno(errno.EPIPE)

    def _raise_error(self, connection: TcpConnection) -> NoReturn:
        """Told once, as by Linux; then reading finds the end, and writing a broken pipe."""
        error, connection.error = connection.error, None
        assert error is not None
        raise_errno(error)

    def _connected(self) -> TcpConnection:
        connection = self._connection
        if connection is None or connection.phase in (Phase.SYN_SENT, Phase.SYN_RECEIVED):
            raise_errno(errno.ENOTCONN)
        return connection

    def _option(self, level: int, optname: int) -> int:
        if level == stdlib_socket.SOL_SOCKET:
            if optname == stdlib_socket.SO_ACCEPTCONN:
                return self.is_listening
            if optname == stdlib_socket.SO_ERROR and self._connection is not None:
                error, self._connection.error = self._connection.error, None
                return error or 0
        return super()._option(level, optname)

    def _release(self) -> None:
        self._host.tcp.ports.release(self)
        for waiting in (*self._expected, *self._accepted):
            waiting.abort()
        self._expected.clear()
        self._accepted.clear()
        if self._connection is not None:
            connection = self._connection
            connection.on_readable = connection.on_writable = _nothing
            connection.close()


def _nothing() -> None:
    pass
