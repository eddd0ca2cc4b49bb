"""What all simulated sockets share: the life of one, its options, its addresses, its fairness."""

import errno
import ipaddress
import os
import socket as stdlib_socket
import struct
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import trio

from sims.stack.host import Host
from sims.stack.interfaces import Route
from sims.stack.ports import Bindable
from wice.datagram import Endpoint

if TYPE_CHECKING:
    from typing_extensions import Buffer

COMPLETIONS_PER_CHECKPOINT_MAX: Final = 32
"""Calls of one socket that end at once until other tasks run."""

BUFFER_DEFAULT_BYTES: Final = 212_992
"""Linux's rmem_default, of UDP and Unix sockets."""
BUFFER_MAX_BYTES: Final = 8 << 20
BUFFER_MIN_BYTES: Final = 2_304

IP_PKTINFO: Final = 8
_IP_MTU_DISCOVER: Final = 10
_IP_BIND_ADDRESS_NO_PORT: Final = 24
_IPV6_MTU_DISCOVER: Final = 23

_KNOWN_OPTIONS: Final = frozenset(
    {
        (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR),
        (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEPORT),
        (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_BROADCAST),
        (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF),
        (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF),
        (stdlib_socket.IPPROTO_IP, IP_PKTINFO),
        (stdlib_socket.IPPROTO_IP, stdlib_socket.IP_TOS),
        (stdlib_socket.IPPROTO_IP, _IP_MTU_DISCOVER),
        (stdlib_socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT),
        (stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY),
        (stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_RECVPKTINFO),
        (stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_TCLASS),
        (stdlib_socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER),
        (stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY),
        (stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NOTSENT_LOWAT),
    }
)
"""Those that work here, or that change nothing in a network like this; others are refused."""


def raise_errno(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


class SimulatedSocket(trio.socket.SocketType):
    """A socket of ``host``; methods are those of ``trio.socket.SocketType``, errors Linux's."""

    def __init__(self, host: Host, family: int, kind: int, proto: int) -> None:
        super().__init__()
        self._host = host
        self._family = stdlib_socket.AddressFamily(family)
        self._kind = stdlib_socket.SocketKind(kind)
        self._proto = proto
        self._options: dict[tuple[int, int], int] = {}
        self._is_closed = False
        self._is_write_shut = False
        self._completions = COMPLETIONS_PER_CHECKPOINT_MAX
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._number = host.register(self)

    @property
    def unread_bytes(self) -> int:
        """What was received and is still to be read."""
        return 0

    # Its life

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed " if self._is_closed else ""
        kind = f"{self._family.name} {self._kind.name}"
        return f"<simulated {state}socket {kind} of {self._host.name}>"

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._host.unregister(self)
            self._release()
            self._readers.unpark_all()
            self._writers.unpark_all()

    def vanish(self) -> None:
        """Its host crashed: nobody is told, not even who waits here."""
        self._is_closed = True

    def _release(self) -> None:
        """Give back what the socket holds."""
        raise NotImplementedError

    def fileno(self) -> int:
        """A number that is no descriptor of this process, -1 once closed."""
        return -1 if self._is_closed else self._number

    @property
    def family(self) -> stdlib_socket.AddressFamily:
        return self._family

    @property
    def type(self) -> stdlib_socket.SocketKind:
        return self._kind

    @property
    def proto(self) -> int:
        return self._proto

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802 (trio's name)
        return self._is_write_shut

    # Options

    def setsockopt(
        self, level: int, optname: int, value: "int | Buffer | None", optlen: int | None = None
    ) -> None:
        self._check_open()
        if (level, optname) not in _KNOWN_OPTIONS or value is None or optlen is not None:
            raise_errno(errno.ENOPROTOOPT)
        number = value if isinstance(value, int) else struct.unpack_from("=i", value)[0]
        if (level, optname) in _BUFFER_OPTIONS:
            # Linux counts its own bookkeeping too, and so doubles what is asked for (socket(7)).
            number = min(max(2 * number, BUFFER_MIN_BYTES), BUFFER_MAX_BYTES)
        self._options[level, optname] = number

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        self._check_open()
        number = self._option(level, optname)
        return number if buflen is None else struct.pack("=i", number)[:buflen]

    def _option(self, level: int, optname: int) -> int:
        if (level, optname) in self._options:
            return self._options[level, optname]
        if level == stdlib_socket.SOL_SOCKET:
            match optname:
                case stdlib_socket.SO_TYPE:
                    return self._kind
                case stdlib_socket.SO_DOMAIN:
                    return self._family
                case stdlib_socket.SO_PROTOCOL:
                    return self._proto
                case stdlib_socket.SO_ERROR | stdlib_socket.SO_ACCEPTCONN:
                    return 0
                case stdlib_socket.SO_RCVBUF | stdlib_socket.SO_SNDBUF:
                    return BUFFER_DEFAULT_BYTES
        if (level, optname) not in _KNOWN_OPTIONS:
            raise_errno(errno.ENOPROTOOPT)
        return 0

    # Reading

    async def recv_into(self, buffer: "Buffer", nbytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        data = await self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    # Waiting

    def is_readable(self) -> bool:
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._is_closed:
            raise_errno(errno.EBADF)

    async def _wait(self, lot: trio.lowlevel.ParkingLot) -> None:
        """Wait until something may have changed; raise ``trio.ClosedResourceError``."""
        self._completions = COMPLETIONS_PER_CHECKPOINT_MAX
        await lot.park()
        if self._is_closed:
            raise trio.ClosedResourceError("another task closed this socket")

    async def _complete(self) -> None:
        """A call ended at once: a whole checkpoint only sometimes, for each costs a pass."""
        self._completions -= 1
        if self._completions <= 0:
            self._completions = COMPLETIONS_PER_CHECKPOINT_MAX
            await trio.lowlevel.cancel_shielded_checkpoint()


_BUFFER_OPTIONS: Final = frozenset(
    {
        (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF),
        (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF),
    }
)


class InternetSocket(SimulatedSocket):
    """A socket of IPv4 or IPv6, bound or not. Inside, IPv4 is always IPv4, mapped or not."""

    def __init__(self, host: Host, family: int, kind: int, proto: int) -> None:
        super().__init__(host, family, kind, proto)
        self.local: Endpoint | None = None

    @property
    def is_dual_stack(self) -> bool:
        return self._family == stdlib_socket.AF_INET6 and not self._is_on(
            stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY
        )

    @property
    def reuses_address(self) -> bool:
        return self._is_on(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR)

    @property
    def reuses_port(self) -> bool:
        return self._is_on(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEPORT)

    def may_share_with(self, other: Bindable) -> bool:
        raise NotImplementedError

    def _bind(self, endpoint: Endpoint) -> None:
        raise NotImplementedError

    async def bind(self, address: Any) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        endpoint = await self._resolve(address)
        self._check_open()
        if self.local is not None:
            raise_errno(errno.EINVAL)
        self._check_bindable(endpoint)
        self._bind(endpoint)
        await self._complete()

    def getsockname(self) -> Any:
        self._check_open()
        return self._present(self.local or Endpoint(self._wildcard(), 0))

    def _is_on(self, level: int, optname: int) -> bool:
        return bool(self._options.get((level, optname)))

    def _wildcard(self) -> str:
        return "::" if self._family == stdlib_socket.AF_INET6 else "0.0.0.0"

    def _present(self, endpoint: Endpoint) -> tuple[str, int] | tuple[str, int, int, int]:
        """As this family writes addresses."""
        if self._family == stdlib_socket.AF_INET:
            return (endpoint.host, endpoint.port)
        host = endpoint.host if endpoint.is_ipv6 else f"::ffff:{endpoint.host}"
        return (host, endpoint.port, 0, 0)

    async def _resolve(self, address: Any) -> Endpoint:
        """Read an address of this family, by name or number; raise OSError, ValueError."""
        self._check_shape(address)
        try:
            canonical = _canonical(self._family, address[0])
        except ValueError:
            pass
        else:
            # Who sends mostly gives what it is already.
            is_endpoint = type(address) is Endpoint and address.host == canonical
            return address if is_endpoint else Endpoint(canonical, address[1])
        found = await trio.socket.getaddrinfo(
            address[0] or self._wildcard(), address[1], self._family, self._kind, self._proto
        )
        host, port = found[0][4][:2]
        assert isinstance(host, str) and isinstance(port, int)
        return Endpoint(_canonical(self._family, host), port)

    def _route(self, remote: Endpoint) -> Route:
        """Raise OSError (ENETUNREACH)."""
        is_other_family = remote.is_ipv6 != (self._family == stdlib_socket.AF_INET6)
        if is_other_family and not self.is_dual_stack:
            raise_errno(errno.ENETUNREACH)
        route = self._host.route_to(remote.host)
        if route is None:
            raise_errno(errno.ENETUNREACH)
        return route

    def _check_shape(self, address: Any) -> None:
        is_ipv6 = self._family == stdlib_socket.AF_INET6
        if not isinstance(address, tuple) or not 2 <= len(address) <= (4 if is_ipv6 else 2):
            raise ValueError("address should be a (host, port) tuple")

    def _check_bindable(self, endpoint: Endpoint) -> None:
        if endpoint.host not in ("0.0.0.0", "::") and not self._host.is_local(endpoint.host):
            raise_errno(errno.EADDRNOTAVAIL)
        if not 0 <= endpoint.port < 65_536:
            raise OverflowError("port must be 0-65535.")


@lru_cache(4_096)
def _canonical(family: int, host: str) -> str:
    """The address as ``Endpoint`` writes it, IPv4 where mapped; raise ValueError for a name."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if family == stdlib_socket.AF_INET:
        if address.version == 6:
            raise ValueError(host)
        return str(address)
    if address.version == 4:
        raise ValueError(host)
    return str(address.ipv4_mapped or address)
