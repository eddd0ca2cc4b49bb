"""The UDP port of a device: WireGuard's datagrams to the tunnel, all others to ICE (DESIGN D11).

One socket a family, bound to the wildcard address, with packet info: each datagram says which
of our addresses it came to, and each can be pinned to the one it leaves from.
"""

import errno
import os
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable, Set
from typing import Any

import trio

from wice.datagram import DATAGRAM_SIZE_MAX_BYTES, Carrier, Datagram, Endpoint, Path
from wice.errors import DeviceError, DevicePermissionDeniedError, DeviceRejectedError
from wice.wireguard.messages import is_wireguard

RECEIVED_DATAGRAMS_MAX = 256
"""Datagrams that wait for ``receive``; then the oldest are dropped."""

SENDING_DATAGRAMS_MAX = 1_024
"""Datagrams that wait for a socket to take them; then new ones are dropped."""

FREE_PORT_ATTEMPTS_MAX = 16
"""Ports to try that are free for IPv4, until one is for IPv6 too."""

SENDING_DATAGRAMS_HIGH = 64
"""From so many on, ``wait_sent`` waits: packets queue in the kernel's TUN and not here."""

SEND_REST_S = 0.1
"""How long the end of a port is held up for what still waits to be sent."""

SOCKET_BUFFER_SIZE_BYTES = 4 << 20

OnWireGuard = Callable[[bytes, Endpoint, str | None], None]
"""Takes a datagram of WireGuard's: data, source, destination."""

Arrival = tuple[str | None, int]
"""Which local address a datagram came to, None when unknown, and through which interface."""

OnArrival = Callable[[bytes, Endpoint, Arrival], None]

_IP_PKTINFO = 8
_IN_PKTINFO = struct.Struct("=I4s4s")
_IN6_PKTINFO = struct.Struct("=16sI")
_ANCILLARY_SIZE_BYTES = socket.CMSG_SPACE(_IN_PKTINFO.size) + socket.CMSG_SPACE(_IN6_PKTINFO.size)
_NO_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class SharedPort:
    """A ``DatagramPort``; ``run`` carries it, ``transmit`` is the device's own way out."""

    def __init__(self, port: int, sockets: dict[int, "UdpSocket"], dropped: Counter[str]) -> None:
        self.port = port
        self.refused_interfaces: Set[int] = frozenset()
        """Indices of interfaces that nothing is taken from: a tunnel must not run inside one."""
        self.carrier: Carrier | None = None
        self.dropped = dropped
        """Datagrams dropped here, by reason: names of errno for those the host did not send."""
        self._sockets = sockets
        self._received: deque[Datagram] = deque()
        self._arrived = trio.Event()
        self._is_closed = False
        self._on_wireguard: OnWireGuard = lambda *_: None

    def send(self, data: bytes, path: Path) -> None:
        """See ``DatagramPort.send``. What looks like WireGuard's is a bug of the caller."""
        assert not is_wireguard(data), "only the device itself sends WireGuard messages"
        self.transmit(data, path)

    def transmit(self, data: bytes, path: Path) -> None:
        """Queue a datagram; one that cannot be sent is dropped and counted."""
        if self.carrier is not None and path.source in self.carrier.bases:
            self.carrier.carry(data, path)
            return
        udp = self._sockets.get(socket.AF_INET6 if path.remote.is_ipv6 else socket.AF_INET)
        if udp is None:
            self.dropped[errno.errorcode[errno.EAFNOSUPPORT]] += 1
        else:
            udp.put(data, path)

    async def wait_sent(self) -> None:
        """Wait while many datagrams are queued, so that who sends more slows down."""
        for udp in self._sockets.values():
            await udp.wait_sent()

    async def receive(self) -> Datagram:
        while not self._received:
            if self._is_closed:
                raise trio.ClosedResourceError("the port is closed")
            await self._arrived.wait()
            self._arrived = trio.Event()
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._received.popleft()

    def hand_up(self, data: bytes, source: Endpoint, destination: str | None) -> None:
        """See ``DatagramPort.hand_up``."""
        if is_wireguard(data):
            self._on_wireguard(data, source, destination)
            return
        if len(self._received) >= RECEIVED_DATAGRAMS_MAX:
            self._received.popleft()
            self.dropped["a full queue of received datagrams"] += 1
        self._received.append(Datagram(data, source, destination))
        self._arrived.set()

    async def run(self, on_wireguard: OnWireGuard) -> None:
        """Carry datagrams until cancelled."""
        self._on_wireguard = on_wireguard
        async with trio.open_nursery() as nursery:
            for udp in self._sockets.values():
                nursery.start_soon(udp.send_waiting)
                nursery.start_soon(udp.receive_into, self._take)

    async def send_rest(self) -> None:
        """Send what still waits when all that sends has ended, as goodbyes do; give up soon."""
        with trio.move_on_after(SEND_REST_S, shield=True):
            for udp in self._sockets.values():
                await udp.send_rest()

    def close(self) -> None:
        self._is_closed = True
        self._arrived.set()
        for udp in self._sockets.values():
            udp.close()

    def _take(self, data: bytes, source: Endpoint, came_to: Arrival) -> None:
        destination, interface = came_to
        if interface in self.refused_interfaces:
            self.dropped["a datagram that came through a tunnel"] += 1
            return
        carrier = self.carrier
        if carrier is None or source not in carrier.servers or not carrier.receive(data, source):
            self.hand_up(data, source, destination)


class UdpSocket:
    """One family's socket and what waits to leave through it."""

    def __init__(self, bound: trio.socket.SocketType, dropped: Counter[str]) -> None:
        self._socket = bound
        self._dropped = dropped
        self._waiting: deque[tuple[bytes, Path]] = deque()
        self._has_waiting = trio.Event()
        self._is_sent = trio.Event()

    async def wait_sent(self) -> None:
        if len(self._waiting) >= SENDING_DATAGRAMS_HIGH:
            await self._is_sent.wait()

    def put(self, data: bytes, path: Path) -> None:
        if len(self._waiting) >= SENDING_DATAGRAMS_MAX:
            self._dropped["a full queue of datagrams to send"] += 1
            return
        self._waiting.append((data, path))
        self._has_waiting.set()

    async def send_waiting(self) -> None:
        while True:
            await self.send_rest()
            self._is_sent.set()
            self._is_sent = trio.Event()
            self._has_waiting = trio.Event()
            await self._has_waiting.wait()

    async def send_rest(self) -> None:
        """Send until nothing waits."""
        while self._waiting:
            data, path = self._waiting.popleft()
            try:
                await self._send(data, path)
            except OSError as error:
                # No route, no such address, a firewall: the protocols above see the silence.
                reason = errno.errorcode.get(error.errno or 0, "a path that is no longer there")
                self._dropped[reason] += 1

    async def _send(self, data: bytes, path: Path) -> None:
        if path.remote.is_ipv6:
            host, _, zone = path.remote.host.partition("%")
            remote: tuple[str, int] | tuple[str, int, int, int] = (
                host,
                path.remote.port,
                0,
                _zone_index(zone) if zone else 0,
            )
        else:
            remote = path.remote
        await self._socket.sendmsg([data], _source_info(path.source), 0, remote)

    async def receive_into(self, take: OnArrival) -> None:
        while True:
            data, ancillary, flags, address = await self._socket.recvmsg(
                DATAGRAM_SIZE_MAX_BYTES, _ANCILLARY_SIZE_BYTES
            )
            if flags & socket.MSG_TRUNC:
                self._dropped["a truncated datagram"] += 1
                continue
            take(data, _endpoint(address), _arrival(ancillary))

    def close(self) -> None:
        self._socket.close()


async def open_port(name: str, listen_port: int) -> SharedPort:
    """Bind ``listen_port``, or a free one for 0, for every family that the host has.

    name: the interface, for messages. Raise DeviceRejectedError, DevicePermissionDeniedError.
    """
    for attempt in range(FREE_PORT_ATTEMPTS_MAX):
        sockets: dict[int, UdpSocket] = {}
        dropped: Counter[str] = Counter()
        port = listen_port
        try:
            for family in (socket.AF_INET, socket.AF_INET6):
                bound = await _bind(family, port)
                if bound is not None:
                    sockets[family] = UdpSocket(bound, dropped)
                    port = bound.getsockname()[1]
        except OSError as error:
            for udp in sockets.values():
                udp.close()
            is_free_elsewhere = listen_port == 0 and error.errno == errno.EADDRINUSE
            if is_free_elsewhere and attempt + 1 < FREE_PORT_ATTEMPTS_MAX:
                continue
            raise _port_error(name, port, error) from error
        if sockets:
            return SharedPort(port, sockets, dropped)
        break
    raise DeviceRejectedError(f"{name}: this host has neither IPv4 nor IPv6; see ip address")


async def _bind(family: int, port: int) -> trio.socket.SocketType | None:
    """A bound socket, None where the host lacks the family."""
    try:
        opened = trio.socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno in _NO_FAMILY:
            return None
        raise
    try:
        if family == socket.AF_INET:
            opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            opened.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_SIZE_BYTES)
        await opened.bind(("0.0.0.0" if family == socket.AF_INET else "::", port))
    except BaseException as error:
        # Binding is a checkpoint: a cancelled start must not leave the port taken.
        opened.close()
        if isinstance(error, OSError) and error.errno in _NO_FAMILY:
            return None
        raise
    return opened


def _port_error(name: str, port: int, error: OSError) -> DeviceError:
    if error.errno == errno.EADDRINUSE:
        return DeviceRejectedError(
            f"{name}: UDP port {port} is in use; choose another listen_port, or stop what has it "
            "(ss -lunp shows it)"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return DevicePermissionDeniedError(
            f"{name}: UDP port {port} is not allowed; choose a listen_port from 1024 up, or run "
            "with CAP_NET_BIND_SERVICE"
        )
    why = os.strerror(error.errno or 0)
    return DeviceRejectedError(f"{name}: UDP port {port}: {why}; choose another listen_port")


def _zone_index(zone: str) -> int:
    return int(zone) if zone.isdigit() else socket.if_nametoindex(zone)


def _endpoint(address: Any) -> Endpoint:
    """From what recvmsg gives: two fields for IPv4, for IPv6 two more, of which one the zone."""
    host, port, zone = address[0], address[1], address[3] if len(address) == 4 else 0
    return Endpoint(f"{host}%{zone}" if zone else host, port)


def _source_info(source: str | None) -> list[tuple[int, int, bytes]]:
    if source is None:
        return []
    host = source.partition("%")[0]
    if ":" in host:
        packed = _IN6_PKTINFO.pack(socket.inet_pton(socket.AF_INET6, host), 0)
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed)]
    packed = _IN_PKTINFO.pack(0, socket.inet_pton(socket.AF_INET, host), bytes(4))
    return [(socket.IPPROTO_IP, _IP_PKTINFO, packed)]


def _arrival(ancillary: list[tuple[int, int, bytes]]) -> Arrival:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            interface, _, address = _IN_PKTINFO.unpack(data)
            return socket.inet_ntop(socket.AF_INET, address), interface
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            address, interface = _IN6_PKTINFO.unpack(data)
            return socket.inet_ntop(socket.AF_INET6, address), interface
    return None, 0
