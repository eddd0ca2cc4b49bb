"""Runs the STUN server on UDP ports of this host (trio)."""

import errno
import ipaddress
import socket as stdlib_socket
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple, TypeVar, cast

import trio
from trio import socket

from wice.datagram import Endpoint
from wice.errors import DeviceError, DevicePermissionDeniedError, DeviceRejectedError
from wice.stun.server import BindingServer, Origins, Response

PORTS: Final = (3478, 3479)
"""STUN's port (RFC 8489 section 18.6) and one beside it: two mappings tell the kind of a NAT."""

REQUEST_SIZE_MAX_BYTES: Final = 1_500

# Linux's number; the socket module of Python 3.11 does not name it.
_IP_PKTINFO: Final = getattr(stdlib_socket, "IP_PKTINFO", 8)
_IN_PKTINFO: Final = Struct("@I4s4s")
_IN6_PKTINFO: Final = Struct("@16sI")
_ANCILLARY_SIZE: Final = stdlib_socket.CMSG_SPACE(20)
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


async def serve_stun(
    ports: Sequence[int] = PORTS,
    *,
    hosts: Sequence[str] = ("0.0.0.0", "::"),
    public_addresses: Sequence[str] = (),
    server: BindingServer | None = None,
    task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer STUN on every port of every host address until cancelled.

    Answers leave from the address that was asked or, for CHANGE-REQUEST (RFC 5780), from the next
    of ``ports`` or the next of ``public_addresses`` of that family; beside a single port, from one
    that the kernel chooses. An IPv6 wildcard is passed over on a host without IPv6. Gives the bound
    endpoints when started; raises DeviceRejectedError or DevicePermissionDeniedError.
    """
    server = server or BindingServer()
    listeners: list[BindingPorts] = []
    try:
        for host in hosts:
            listener = BindingPorts(host, public_addresses, server)
            listeners.append(listener)
            await listener.bind(ports)
        bound = [endpoint for listener in listeners for endpoint in listener.bound]
        if not bound:
            raise DeviceRejectedError("this host has none of the addresses to serve STUN on")
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                for port in listener.ports:
                    nursery.start_soon(listener.serve, port)
            task_status.started(bound)
    finally:
        for listener in listeners:
            listener.close()


class BindingPorts:
    """The ports of one host address or wildcard: each can answer for the others."""

    def __init__(self, host: str, public_addresses: Sequence[str], server: BindingServer) -> None:
        self.bound: list[Endpoint] = []
        self._host = host
        self._server = server
        self._sockets: dict[int, socket.SocketType] = {}
        self._own: dict[int, socket.SocketType] = {}
        self._origins = Origins({})
        self._public_addresses = [a for a in public_addresses if (":" in a) == (":" in host)]
        if not ipaddress.ip_address(host).is_unspecified:
            self._public_addresses = []

    async def bind(self, ports: Sequence[int]) -> None:
        for port in ports:
            opened = await _bind(Endpoint(self._host, port))
            if opened is None:
                return
            number = int(opened.getsockname()[1])
            self._sockets[number] = self._own[number] = opened
            self.bound.append(Endpoint(self._host, number))
        await self._pair()

    async def share(self, opened: socket.SocketType) -> None:
        """Answer on a port whose datagrams somebody else receives, and hands over those that
        ``answer`` is for.
        """
        self._sockets[int(opened.getsockname()[1])] = opened
        await self._pair()

    async def _pair(self) -> None:
        if len(self._sockets) == 1:
            beside = await _bind(Endpoint(self._host, 0))
            if beside is not None:
                number = int(beside.getsockname()[1])
                self._sockets[number] = self._own[number] = beside
        self._origins = Origins(_next_of(list(self._sockets)), _next_of(self._public_addresses))

    def close(self) -> None:
        for opened in self._own.values():
            opened.close()

    @property
    def ports(self) -> tuple[int, ...]:
        """Those to ``serve``: of ``bound``, and the one beside a single one."""
        return tuple(self._own)

    async def serve(self, port: int) -> None:
        bound = self._own[port]
        while True:
            try:
                received = await bound.recvmsg(REQUEST_SIZE_MAX_BYTES, _ANCILLARY_SIZE)
            except OSError as error:
                # An ICMP error about an earlier response is reported here; it ends nothing.
                self._server.counts[f"receive: {error.strerror}"] += 1
                await trio.lowlevel.checkpoint()
                continue
            await self.answer(received[0], received[1], port, cast("tuple[str, int]", received[3]))

    async def answer(
        self,
        data: bytes,
        ancillary: Sequence[tuple[int, int, bytes]],
        port: int,
        address: tuple[str, int],
    ) -> None:
        """Answer a Binding request that came to ``port``; whatever else ``data`` is gets nothing.

        ancillary: with the packet info of ``data``. address: where it came from, as the socket has
        it.
        """
        local = _arrival(ancillary)
        response = self._server.respond(
            data,
            Endpoint(*address[:2]),
            trio.current_time(),
            None if local is None else Endpoint(local.host, port),
            self._origins,
        )
        if response is None:
            return
        try:
            await self._send(response, port, local, address)
        except OSError as error:
            self._server.counts[f"send: {error.strerror}"] += 1

    async def _send(
        self, response: Response, port: int, local: "_Local | None", address: tuple[str, int]
    ) -> None:
        if local is None or response.origin is None:
            await self._sockets[port].sendto(response.data, address)
            return
        origin = response.origin
        info = _leaving_from(origin.host, local.interface if origin.host == local.host else 0)
        await self._sockets[origin.port].sendmsg([response.data], info, 0, address)


_Key = TypeVar("_Key", int, str)


def _next_of(items: Sequence[_Key]) -> dict[_Key, _Key]:
    """For each item the one after it; none where there is no other."""
    if len(items) < 2:
        return {}
    return {item: items[(index + 1) % len(items)] for index, item in enumerate(items)}


class _Local(NamedTuple):
    """Our address that was asked, and over which interface an answer must leave, 0 for any."""

    host: str
    interface: int


async def _bind(endpoint: Endpoint) -> socket.SocketType | None:
    family = socket.AF_INET6 if endpoint.is_ipv6 else socket.AF_INET
    bound = None
    try:
        bound = socket.socket(family, socket.SOCK_DGRAM)
        if endpoint.is_ipv6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        await bound.bind(endpoint)
    except BaseException as error:
        # Binding is a checkpoint: a cancelled start, too, must not leave the port taken.
        if bound is not None:
            bound.close()
        if not isinstance(error, OSError):
            raise
        if endpoint.is_ipv6 and error.errno in _NO_IPV6:
            return None
        raise port_error("STUN", endpoint, error, "stun_server.ports") from error
    return bound


def port_error(service: str, endpoint: Endpoint, error: OSError, key: str) -> DeviceError:
    """Why ``service`` is not on ``endpoint``, and the remedy. key: where to choose another port."""
    where = f"cannot serve {service} on UDP {endpoint}"
    if error.errno == errno.EADDRINUSE:
        return DeviceRejectedError(
            f"{where}: the port is in use; stop what has it (ss -lunp shows it), or choose another "
            f"in {key}"
        )
    if isinstance(error, PermissionError):
        return DevicePermissionDeniedError(
            f"{where}: {error.strerror}; choose a port from 1024 up in {key}, or run with "
            "CAP_NET_BIND_SERVICE"
        )
    return DeviceRejectedError(f"{where}: {error.strerror}")


def _arrival(ancillary: Sequence[tuple[int, int, bytes]]) -> _Local | None:
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _, local, _ = _IN_PKTINFO.unpack(value[: _IN_PKTINFO.size])
            return _Local(socket.inet_ntop(socket.AF_INET, local), 0)
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            local, interface = _IN6_PKTINFO.unpack(value[: _IN6_PKTINFO.size])
            return _Local(socket.inet_ntop(socket.AF_INET6, local), interface)
    return None


def _leaving_from(host: str, interface: int) -> list[tuple[int, int, bytes]]:
    """The packet info that makes a datagram leave from one of our addresses."""
    if ":" in host:
        packed = _IN6_PKTINFO.pack(socket.inet_pton(socket.AF_INET6, host), interface)
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed)]
    packed = _IN_PKTINFO.pack(0, socket.inet_pton(socket.AF_INET, host), bytes(4))
    return [(socket.IPPROTO_IP, _IP_PKTINFO, packed)]
