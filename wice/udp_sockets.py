"""Trio's UDP sockets, made cheaper for who sends and receives thousands of datagrams a second.

``trio.socket.set_custom_socket_factory(UdpSocketFactory())``, once in a ``trio.run``.

A method of trio's own sockets lets other tasks run on every call, which takes longer than the
system call itself. Here a call that ends at once does so every ``COMPLETIONS_PER_CHECKPOINT_MAX``
times. All else is trio's; every call is where a task may be cancelled.
"""

import socket as stdlib_socket
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import trio

if TYPE_CHECKING:
    from typing_extensions import Buffer

COMPLETIONS_PER_CHECKPOINT_MAX: Final = 32
"""Calls of one socket that end at once until other tasks run."""

_KIND_FLAGS: Final = stdlib_socket.SOCK_NONBLOCK | stdlib_socket.SOCK_CLOEXEC
_FAMILIES: Final = (stdlib_socket.AF_INET, stdlib_socket.AF_INET6)

T = TypeVar("T")
Ancillary = list[tuple[int, int, bytes]]


class UdpSocketFactory(trio.abc.SocketFactory):
    """Makes ``UdpSocket`` for UDP, and trio's own sockets for everything else."""

    def socket(
        self,
        family: int = stdlib_socket.AF_INET,
        type: int = stdlib_socket.SOCK_STREAM,
        proto: int = 0,
    ) -> trio.socket.SocketType:
        made = stdlib_socket.socket(family, type, proto)
        is_udp = family in _FAMILIES and type & ~_KIND_FLAGS == stdlib_socket.SOCK_DGRAM
        return UdpSocket(made) if is_udp else trio.socket.from_stdlib_socket(made)


class UdpSocket(trio.socket.SocketType):
    """Methods are those of ``trio.socket.SocketType``."""

    def __init__(self, made: stdlib_socket.socket) -> None:
        super().__init__()
        made.setblocking(False)
        self._socket = made
        self._by_trio = trio.socket.from_stdlib_socket(made)
        self._family = made.family
        self._completions = COMPLETIONS_PER_CHECKPOINT_MAX

    # As trio has it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def family(self) -> stdlib_socket.AddressFamily:
        return self._by_trio.family

    @property
    def type(self) -> stdlib_socket.SocketKind:
        return self._by_trio.type

    @property
    def proto(self) -> int:
        return self._by_trio.proto

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802 (trio's name)
        return self._by_trio.did_shutdown_SHUT_WR

    def __repr__(self) -> str:
        return repr(self._by_trio)

    def close(self) -> None:
        self._by_trio.close()

    def detach(self) -> int:
        return self._by_trio.detach()

    def dup(self) -> "UdpSocket":
        return UdpSocket(self._socket.dup())

    def fileno(self) -> int:
        return self._by_trio.fileno()

    def get_inheritable(self) -> bool:
        return self._by_trio.get_inheritable()

    def set_inheritable(self, inheritable: bool) -> None:
        self._by_trio.set_inheritable(inheritable)

    def getpeername(self) -> Any:
        return self._by_trio.getpeername()

    def getsockname(self) -> Any:
        return self._by_trio.getsockname()

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        if buflen is None:
            return self._by_trio.getsockopt(level, optname)
        return self._by_trio.getsockopt(level, optname, buflen)

    def setsockopt(
        self, level: int, optname: int, value: "int | Buffer | None", optlen: int | None = None
    ) -> None:
        if optlen is None:
            assert value is not None
            self._by_trio.setsockopt(level, optname, value)
        else:
            assert value is None
            self._by_trio.setsockopt(level, optname, value, optlen)

    def shutdown(self, flag: int) -> None:
        self._by_trio.shutdown(flag)

    def is_readable(self) -> bool:
        return self._by_trio.is_readable()

    async def wait_writable(self) -> None:
        await self._by_trio.wait_writable()

    async def bind(self, address: Any) -> None:
        await self._by_trio.bind(address)

    async def connect(self, address: Any) -> None:
        await self._by_trio.connect(address)

    # Receiving

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        return await self._call(_readable, self._socket.recv, buflen, flags)

    async def recv_into(self, buffer: "Buffer", nbytes: int = 0, flags: int = 0) -> int:
        return await self._call(_readable, self._socket.recv_into, buffer, nbytes, flags)

    async def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        return await self._call(_readable, self._socket.recvfrom, bufsize, flags)

    async def recvfrom_into(
        self, buffer: "Buffer", nbytes: int = 0, flags: int = 0
    ) -> tuple[int, Any]:
        return await self._call(_readable, self._socket.recvfrom_into, buffer, nbytes, flags)

    async def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, Ancillary, int, Any]:
        return await self._call(_readable, self._socket.recvmsg, bufsize, ancbufsize, flags)

    async def recvmsg_into(
        self, buffers: "Iterable[Buffer]", ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, Ancillary, int, Any]:
        return await self._call(_readable, self._socket.recvmsg_into, buffers, ancbufsize, flags)

    # Sending

    async def send(self, data: "Buffer", flags: int = 0, /) -> int:
        return await self._call(_writable, self._socket.send, data, flags)

    async def sendto(self, *args: Any) -> int:
        if not _is_numeric(self._family, args[-1][0]):
            return await self._by_trio.sendto(*args)
        return await self._call(_writable, self._socket.sendto, *args)

    async def sendmsg(
        self,
        buffers: "Iterable[Buffer]",
        ancdata: "Iterable[tuple[int, int, Buffer]]" = (),
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int:
        if address is not None and not _is_numeric(self._family, address[0]):
            return await self._by_trio.sendmsg(buffers, ancdata, flags, address)
        return await self._call(_writable, self._socket.sendmsg, buffers, ancdata, flags, address)

    async def _call(
        self,
        wait: Callable[[stdlib_socket.socket], Awaitable[None]],
        method: Callable[..., T],
        *args: Any,
    ) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            result = method(*args)
        except BlockingIOError:
            self._completions = COMPLETIONS_PER_CHECKPOINT_MAX
        else:
            self._completions -= 1
            if self._completions <= 0:
                self._completions = COMPLETIONS_PER_CHECKPOINT_MAX
                await trio.lowlevel.cancel_shielded_checkpoint()
            return result
        while True:
            await wait(self._socket)
            try:
                return method(*args)
            except BlockingIOError:
                pass


_readable: Final = trio.lowlevel.wait_readable
_writable: Final = trio.lowlevel.wait_writable


@lru_cache(maxsize=4_096)
def _is_numeric(family: int, host: str) -> bool:
    """Whether ``host`` is an address of the family: all else is for trio to resolve."""
    try:
        stdlib_socket.inet_pton(family, host)
    except OSError:
        return False
    return True
