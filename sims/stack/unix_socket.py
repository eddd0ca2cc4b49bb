"""Simulated AF_UNIX streams, between tasks of one host (unix(7)).

The path gets a real socket's inode, for programs look at it; nobody outside can connect to it.
"""

import errno
import os
import socket as stdlib_socket
import stat
import struct
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from sims.stack.host import Host
from sims.stack.socket_base import SimulatedSocket, raise_errno

if TYPE_CHECKING:
    from typing_extensions import Buffer

BACKLOG_MAX = 4_096


class UnixSocket(SimulatedSocket):
    def __init__(self, host: Host, family: int, kind: int, proto: int) -> None:
        super().__init__(host, family, kind, proto)
        self._path = ""
        self._inode: tuple[int, int] | None = None
        self._real: stdlib_socket.socket | None = None
        self._backlog: int | None = None
        self._accepted: deque[UnixSocket] = deque()
        self._peer: UnixSocket | None = None
        self._peer_path = ""
        self._received = bytearray()
        self._is_over = False
        """The other end writes no more."""
        self._is_reset = False

    @property
    def unread_bytes(self) -> int:
        return len(self._received)

    # Addresses

    async def bind(self, address: Any) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if self._real is not None:
            raise_errno(errno.EINVAL)
        path = _path(address)
        # Held open, so that nobody else's socket gets the same inode.
        real = stdlib_socket.socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
        try:
            real.bind(path)
        except OSError:
            real.close()
            raise
        status = Path(path).stat()
        self._real, self._path = real, path
        self._inode = (status.st_dev, status.st_ino)
        await self._complete()

    def getsockname(self) -> str:
        self._check_open()
        return self._path

    def getpeername(self) -> str:
        self._check_open()
        if not self._is_connected:
            raise_errno(errno.ENOTCONN)
        return self._peer_path

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        if (level, optname) == (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_PEERCRED):
            self._check_open()
            credentials = struct.pack("3i", os.getpid(), os.geteuid(), os.getegid())
            return credentials[: buflen or 4]
        return super().getsockopt(level, optname, buflen)

    # Listening and connecting

    def listen(self, backlog: int = 128) -> None:
        self._check_open()
        if self._inode is None:
            raise_errno(errno.EINVAL)
        self._backlog = min(max(backlog, 0), BACKLOG_MAX)
        self._host.unix[self._inode] = self

    async def accept(self) -> tuple[trio.socket.SocketType, Any]:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if self._backlog is None:
            raise_errno(errno.EINVAL)
        waited = False
        while not self._accepted:
            await self._wait(self._readers)
            waited = True
        accepted = self._accepted.popleft()
        self._writers.unpark()
        if not waited:
            await self._complete()
        return accepted, accepted._peer_path

    async def connect(self, address: Any) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if self._is_connected:
            raise_errno(errno.EISCONN)
        status = Path(_path(address)).stat()
        listener = None
        if stat.S_ISSOCK(status.st_mode):
            listener = self._host.unix.get((status.st_dev, status.st_ino))
        while listener is not None and listener._is_full:
            try:
                await listener._wait(listener._writers)
            except trio.ClosedResourceError:
                listener = None
            self._check_open()
        if listener is None:
            raise_errno(errno.ECONNREFUSED)
        other = UnixSocket(self._host, self._family, self._kind, self._proto)
        self._join(other, listener._path)
        other._join(self, self._path)
        other._path = listener._path
        listener._accepted.append(other)
        listener._readers.unpark()
        await self._complete()

    @property
    def _is_full(self) -> bool:
        return self._backlog is not None and len(self._accepted) > self._backlog

    @property
    def _is_connected(self) -> bool:
        return self._peer is not None or self._is_over

    def _join(self, peer: "UnixSocket", peer_path: str) -> None:
        self._peer = peer
        self._peer_path = peer_path

    # The stream

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if not self._is_connected:
            raise_errno(errno.EINVAL)
        if flags:
            raise_errno(errno.EOPNOTSUPP)
        waited = False
        while not self.is_readable():
            await self._wait(self._readers)
            waited = True
        data = bytes(self._received[:buflen])
        del self._received[:buflen]
        if not data and self._is_reset:
            self._is_reset = False
            raise_errno(errno.ECONNRESET)
        if self._peer is not None and self._peer._writers:
            self._peer._writers.unpark_all()
        if not waited:
            await self._complete()
        return data

    def is_readable(self) -> bool:
        return bool(self._received or self._is_over or self._accepted)

    async def send(self, data: "Buffer", flags: int = 0, /) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if flags:
            raise_errno(errno.EOPNOTSUPP)
        if not self._is_connected:
            raise_errno(errno.ENOTCONN)
        view = memoryview(data).cast("B")
        waited = False
        while self._room_bytes() == 0 and len(view):
            await self._wait(self._writers)
            waited = True
        peer = self._writable_peer()
        taken = view[: self._room_bytes()]
        peer._received += taken
        peer._readers.unpark_all()
        if not waited:
            await self._complete()
        return len(taken)

    async def wait_writable(self) -> None:
        self._check_open()
        await trio.lowlevel.checkpoint()
        while self._is_connected and self._peer is not None and self._room_bytes() == 0:
            await self._wait(self._writers)

    def shutdown(self, flag: int) -> None:
        self._check_open()
        if not self._is_connected:
            raise_errno(errno.ENOTCONN)
        if flag in (stdlib_socket.SHUT_WR, stdlib_socket.SHUT_RDWR):
            self._is_write_shut = True
            if self._peer is not None:
                self._peer._take_end()
        if flag in (stdlib_socket.SHUT_RD, stdlib_socket.SHUT_RDWR):
            self._take_end()

    def vanish(self) -> None:
        """The path stays, and nobody answers there, as after any program that was killed."""
        super().vanish()
        self._close_real()

    def _writable_peer(self) -> "UnixSocket":
        if self._is_write_shut or self._peer is None:
            raise_errno(errno.EPIPE)
        return self._peer

    def _room_bytes(self) -> int:
        peer = self._writable_peer()
        capacity_bytes = self._option(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF)
        return max(0, capacity_bytes - len(peer._received))

    def _take_end(self) -> None:
        self._is_over = True
        self._readers.unpark_all()

    def _option(self, level: int, optname: int) -> int:
        if (level, optname) == (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN):
            return self._backlog is not None
        return super()._option(level, optname)

    def _close_real(self) -> None:
        if self._real is not None:
            self._real.close()
            self._real = None

    def _release(self) -> None:
        if self._inode is not None and self._host.unix.get(self._inode) is self:
            del self._host.unix[self._inode]
        for waiting in self._accepted:
            waiting.close()
        self._accepted.clear()
        self._close_real()
        peer, self._peer = self._peer, None
        if peer is not None:
            # Linux tells whose words were never read.
            peer._is_reset = bool(self._received)
            peer._peer = None
            peer._take_end()
            peer._writers.unpark_all()


def _path(address: Any) -> str:
    path = os.fspath(address)
    return path if isinstance(path, str) else os.fsdecode(path)
