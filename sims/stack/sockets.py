"""What trio is given in a run, so that ``trio.socket`` is the simulated one.

``trio.socket.set_custom_socket_factory(SimulatedSocketFactory())`` and
``trio.socket.set_custom_hostname_resolver(SimulatedResolver())``, once in each run.
"""

import errno
import socket as stdlib_socket
from collections.abc import Callable
from typing import Any, Final

import trio

from sims.stack.host import Host, current_host
from sims.stack.socket_base import SimulatedSocket, raise_errno
from sims.stack.tcp_socket import TcpSocket
from sims.stack.udp_socket import UdpSocket
from sims.stack.unix_socket import UnixSocket

_KIND_FLAGS: Final = stdlib_socket.SOCK_NONBLOCK | stdlib_socket.SOCK_CLOEXEC
_FAMILIES: Final = (stdlib_socket.AF_INET, stdlib_socket.AF_INET6, stdlib_socket.AF_UNIX)
_CLASSES: Final[dict[tuple[int, int], Callable[[Host, int, int, int], SimulatedSocket]]] = {
    (stdlib_socket.AF_INET, stdlib_socket.SOCK_STREAM): TcpSocket,
    (stdlib_socket.AF_INET, stdlib_socket.SOCK_DGRAM): UdpSocket,
    (stdlib_socket.AF_INET6, stdlib_socket.SOCK_STREAM): TcpSocket,
    (stdlib_socket.AF_INET6, stdlib_socket.SOCK_DGRAM): UdpSocket,
    (stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM): UnixSocket,
}
_LOOPBACK_NAMES: Final = {"localhost": ("::1", "127.0.0.1")}


class SimulatedSocketFactory(trio.abc.SocketFactory):
    """Makes sockets of the host that the task runs on."""

    def socket(
        self,
        family: int = stdlib_socket.AF_INET,
        type: int = stdlib_socket.SOCK_STREAM,
        proto: int = 0,
    ) -> SimulatedSocket:
        """Raise OSError for families and types that are not simulated."""
        host = _this_host()
        kind = type & ~_KIND_FLAGS
        made = _CLASSES.get((family, kind))
        if made is None:
            raise_errno(errno.EPROTONOSUPPORT if family in _FAMILIES else errno.EAFNOSUPPORT)
        return made(host, family, kind, proto)


class SimulatedResolver(trio.abc.HostnameResolver):
    """Knows the names that the host of the task was given (``Host.resolve``), and localhost."""

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Raise ``socket.gaierror``: EAI_NONAME, and EAI_AGAIN where there is no network."""
        await trio.lowlevel.checkpoint()
        name = (host or b"").decode() if isinstance(host, bytes | None) else str(host)
        numeric = flags | stdlib_socket.AI_NUMERICHOST
        found: list[Any] = []
        for address in _look_up(_this_host(), name.rstrip(".").lower()):
            if family in (0, _family_of(address)):
                # Of a number, the operating system is not asked anything.
                found += stdlib_socket.getaddrinfo(address, port, family, type, proto, numeric)
        if not found:
            raise _resolver_error(stdlib_socket.EAI_NONAME, name)
        return found

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        """The name, where one is known and a number is not asked for; ports are numbers."""
        await trio.lowlevel.checkpoint()
        host = sockaddr[0]
        if not flags & stdlib_socket.NI_NUMERICHOST:
            for name, addresses in _this_host().resolve.items():
                if host in addresses:
                    return name, str(sockaddr[1])
            if flags & stdlib_socket.NI_NAMEREQD:
                raise _resolver_error(stdlib_socket.EAI_NONAME, host)
        return host, str(sockaddr[1])


def _this_host() -> Host:
    try:
        return current_host.get()
    except LookupError:
        raise RuntimeError(
            "this task runs on no simulated host; set sims.stack.host.current_host where it starts"
        ) from None


def _look_up(host: Host, name: str) -> tuple[str, ...]:
    if name in _LOOPBACK_NAMES:
        return _LOOPBACK_NAMES[name]
    if not host.ethernet.is_up:
        raise _resolver_error(stdlib_socket.EAI_AGAIN, name)
    return tuple(host.resolve.get(name, ()))


def _family_of(address: str) -> int:
    return stdlib_socket.AF_INET6 if ":" in address else stdlib_socket.AF_INET


def _resolver_error(number: int, name: str) -> stdlib_socket.gaierror:
    reasons = {
        stdlib_socket.EAI_NONAME: "Name or service not known",
        stdlib_socket.EAI_AGAIN: "Temporary failure in name resolution",
    }
    return stdlib_socket.gaierror(number, f"{name}: {reasons[number]}")
