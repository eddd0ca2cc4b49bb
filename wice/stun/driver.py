"""Runs the STUN server on UDP ports of this host (trio)."""

import errno
import socket as stdlib_socket
from collections.abc import Sequence
from functools import partial
from struct import Struct
from typing import Final, cast

import trio
from trio import socket

from wice.datagram import Endpoint
from wice.errors import DevicePermissionDeniedError, DeviceRejectedError
from wice.stun.server import BindingServer

PORTS: Final = (3478, 3479)
"""STUN's port (RFC 8489 section 18.6) and one beside it: two mappings tell the kind of a NAT."""

REQUEST_SIZE_MAX_BYTES: Final = 1_500

# Linux's number; the socket module of Python 3.11 does not name it.
_IP_PKTINFO: Final = getattr(stdlib_socket, "IP_PKTINFO", 8)
_IN_PKTINFO: Final = Struct("@I4s4s")
_ANCILLARY_SIZE: Final = stdlib_socket.CMSG_SPACE(20)
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


async def serve_stun(
    ports: Sequence[int] = PORTS,
    *,
    hosts: Sequence[str] = ("0.0.0.0", "::"),
    server: BindingServer | None = None,
    task_status: trio.TaskStatus[list[Endpoint]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer STUN on every port of every host address until cancelled.

    Answers leave from the address that was asked. An IPv6 wildcard is passed over on a host
    without IPv6. Gives the bound endpoints when started; raises DeviceRejectedError or
    DevicePermissionDeniedError.
    """
    server = server or BindingServer()
    sockets: list[socket.SocketType] = []
    try:
        for host in hosts:
            for port in ports:
                bound = await _bind(Endpoint(host, port))
                if bound is not None:
                    sockets.append(bound)
        if not sockets:
            raise DeviceRejectedError("this host has none of the addresses to serve STUN on")
        async with trio.open_nursery() as nursery:
            for bound in sockets:
                nursery.start_soon(partial(_serve, bound, server))
            task_status.started([Endpoint(*bound.getsockname()[:2]) for bound in sockets])
    finally:
        for bound in sockets:
            bound.close()


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
    except OSError as error:
        if bound is not None:
            bound.close()
        if endpoint.is_ipv6 and error.errno in _NO_IPV6:
            return None
        where = f"cannot serve STUN on UDP {endpoint}: {error.strerror}"
        if isinstance(error, PermissionError):
            raise DevicePermissionDeniedError(where) from error
        raise DeviceRejectedError(where) from error
    return bound


async def _serve(bound: socket.SocketType, server: BindingServer) -> None:
    while True:
        try:
            received = await bound.recvmsg(REQUEST_SIZE_MAX_BYTES, _ANCILLARY_SIZE)
        except OSError as error:
            # An ICMP error about an earlier response is reported here; it ends nothing.
            server.counts[f"receive: {error.strerror}"] += 1
            await trio.lowlevel.checkpoint()
            continue
        data, ancillary = received[:2]
        address = cast("tuple[str, int]", received[3])
        response = server.respond(data, Endpoint(*address[:2]), trio.current_time())
        if response is None:
            continue
        try:
            await bound.sendmsg([response], _from_same_address(ancillary), 0, address)
        except OSError as error:
            server.counts[f"send: {error.strerror}"] += 1


def _from_same_address(
    ancillary: Sequence[tuple[int, int, bytes]],
) -> list[tuple[int, int, bytes]]:
    """The packet info that makes the answer leave from the address that was asked."""
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _, local, _ = _IN_PKTINFO.unpack(value[: _IN_PKTINFO.size])
            return [(level, kind, _IN_PKTINFO.pack(0, local, bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return [(level, kind, value)]
    return []
