"""Simulated UDP sockets, with packet info (ip(7), ipv6(7))."""

import errno
import socket as stdlib_socket
import struct
from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import trio

from sims.internet.packet import Packet, Protocol
from sims.stack.host import Host
from sims.stack.ports import WILDCARDS, Bindable, covers
from sims.stack.socket_base import BUFFER_MIN_BYTES, IP_PKTINFO, InternetSocket, raise_errno
from wice.datagram import Endpoint

if TYPE_CHECKING:
    from typing_extensions import Buffer

PAYLOAD_SIZE_MAX_BYTES: Final = 65_507
FITS_ANYWHERE_BYTES: Final = 512
"""No MTU has to be asked for; IPv4 takes 576 bytes everywhere (RFC 791 section 3.1)."""
PACKET_INFO_REMEMBERED_MAX: Final = 4_096
BOOKKEEPING_PER_DATAGRAM_BYTES: Final = 512
"""What Linux counts against the buffer beside the payload, roughly."""

_IN_PKTINFO: Final = struct.Struct("=I4s4s")
_IN6_PKTINFO: Final = struct.Struct("=16sI")
_RECEIVE_INFO_IPV4: Final = (int(stdlib_socket.IPPROTO_IP), IP_PKTINFO)
_RECEIVE_INFO_IPV6: Final = (int(stdlib_socket.IPPROTO_IPV6), stdlib_socket.IPV6_RECVPKTINFO)
_HEADERS_SIZE_BYTES: Final = {False: 28, True: 48}

Ancillary = list[tuple[int, int, bytes]]
Arrival = tuple[Packet, int]
"""A datagram, and the index of the interface that it came in through."""


class UdpSocket(InternetSocket):
    """Nothing is fragmented: what does not fit the interface's MTU is EMSGSIZE."""

    def __init__(self, host: Host, family: int, kind: int, proto: int) -> None:
        super().__init__(host, family, kind, proto or stdlib_socket.IPPROTO_UDP)
        self._remote: Endpoint | None = None
        self._waiting: deque[Arrival] = deque()
        self._waiting_bytes = 0

    # What the host asks and gives

    @property
    def unread_bytes(self) -> int:
        return self._waiting_bytes

    def may_share_with(self, other: Bindable) -> bool:
        assert isinstance(other, UdpSocket)
        return (self.reuses_address and other.reuses_address) or (
            self.reuses_port and other.reuses_port
        )

    def score(self, packet: Packet) -> int:
        """0 when the packet is not for this socket; the highest gets it."""
        local = self.local
        if local is None or not covers(self, local, packet.destination.host):
            return 0
        score = 2 if local.host == packet.destination.host else 1
        if self._remote is None:
            return score
        return score + 2 if self._remote == packet.source else 0

    def deliver(self, packet: Packet, interface_index: int) -> None:
        size_bytes = len(packet.payload) + BOOKKEEPING_PER_DATAGRAM_BYTES
        waiting_bytes = self._waiting_bytes + size_bytes
        # Less than that is no buffer's limit, and options need not be asked.
        if waiting_bytes > BUFFER_MIN_BYTES and waiting_bytes > self._option(
            stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF
        ):
            self._host.dropped["a full UDP receive buffer"] += 1
            return
        self._waiting_bytes = waiting_bytes
        self._waiting.append((packet, interface_index))
        if self._readers:
            self._readers.unpark()

    # Addresses

    def _bind(self, endpoint: Endpoint) -> None:
        self._host.udp.bind(self, endpoint)

    async def connect(self, address: Any) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        remote = await self._resolve(address)
        self._check_open()
        route = self._route(remote)
        if self.local is None or self.local.host in WILDCARDS:
            port = self.local.port if self.local else 0
            self._host.udp.release(self)
            self._host.udp.bind(self, Endpoint(route.source, port))
        self._remote = remote
        await self._complete()

    def getpeername(self) -> Any:
        self._check_open()
        if self._remote is None:
            raise_errno(errno.ENOTCONN)
        return self._present(self._remote)

    def shutdown(self, flag: int) -> None:
        self._check_open()
        if self._remote is None:
            raise_errno(errno.ENOTCONN)
        if flag != stdlib_socket.SHUT_RD:
            self._is_write_shut = True

    def _release(self) -> None:
        self._host.udp.release(self)
        self._waiting.clear()

    # Receiving

    def is_readable(self) -> bool:
        return bool(self._waiting)

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        packet, _ = await self._receive(flags)
        return packet.payload[:buflen]

    async def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        packet, _ = await self._receive(flags)
        return packet.payload[:bufsize], self._present(packet.source)

    async def recv_into(self, buffer: "Buffer", nbytes: int = 0, flags: int = 0) -> int:
        size_bytes, _ = await self.recvfrom_into(buffer, nbytes, flags)
        return size_bytes

    async def recvfrom_into(
        self, buffer: "Buffer", nbytes: int = 0, flags: int = 0
    ) -> tuple[int, Any]:
        packet, _ = await self._receive(flags)
        view = memoryview(buffer).cast("B")
        data = packet.payload[: nbytes or len(view)]
        view[: len(data)] = data
        return len(data), self._present(packet.source)

    async def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, Ancillary, int, Any]:
        packet, interface_index = await self._receive(flags)
        payload = packet.payload
        is_cut = len(payload) > bufsize
        ancillary = self._packet_info(packet, interface_index) if ancbufsize else []
        return (
            payload[:bufsize],
            ancillary,
            stdlib_socket.MSG_TRUNC if is_cut else 0,
            self._present(packet.source),
        )

    async def _receive(self, flags: int) -> Arrival:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if flags:
            raise_errno(errno.EOPNOTSUPP)
        if self._waiting:
            arrival = self._waiting.popleft()
            self._waiting_bytes -= len(arrival[0].payload) + BOOKKEEPING_PER_DATAGRAM_BYTES
            await self._complete()
            return arrival
        while not self._waiting:
            await self._wait(self._readers)
        arrival = self._waiting.popleft()
        self._waiting_bytes -= len(arrival[0].payload) + BOOKKEEPING_PER_DATAGRAM_BYTES
        return arrival

    def _packet_info(self, packet: Packet, interface_index: int) -> Ancillary:
        host = packet.destination.host
        option = _RECEIVE_INFO_IPV6 if ":" in host else _RECEIVE_INFO_IPV4
        return [_packet_info(host, interface_index)] if self._options.get(option) else []

    # Sending

    async def wait_writable(self) -> None:
        """Always is: what exceeds the line's queue is dropped there, as by a home's router."""
        self._check_open()
        await trio.lowlevel.checkpoint()

    async def send(self, data: "Buffer", flags: int = 0, /) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self._send(bytes(data), self._remote, None, flags)

    async def sendto(self, *args: Any) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        flags = args[1] if len(args) == 3 else 0
        return await self._send(bytes(args[0]), await self._resolve(args[-1]), None, flags)

    async def sendmsg(
        self,
        buffers: "Iterable[Buffer]",
        ancdata: "Iterable[tuple[int, int, Buffer]]" = (),
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int:
        await trio.lowlevel.checkpoint_if_cancelled()
        remote = self._remote if address is None else await self._resolve(address)
        source = None
        for level, kind, info in ancdata:
            source = _read_packet_info(level, kind, bytes(info))
        return await self._send(b"".join(buffers), remote, source, flags)

    async def _send(
        self, data: bytes, remote: Endpoint | None, source: str | None, flags: int
    ) -> int:
        """source: what packet info asks for."""
        self._check_open()
        if flags:
            raise_errno(errno.EOPNOTSUPP)
        if self._is_write_shut:
            raise_errno(errno.EPIPE)
        if remote is None:
            raise_errno(errno.EDESTADDRREQ)
        if remote.port == 0:
            raise_errno(errno.EINVAL)
        route = self._route(remote)
        if self.local is None:
            self._host.udp.bind(self, Endpoint(self._wildcard(), 0))
        assert self.local is not None
        if source is None and self.local.host not in WILDCARDS:
            source = self.local.host
        if source is not None and not self._host.is_local(source):
            raise_errno(errno.EINVAL)
        if len(data) > FITS_ANYWHERE_BYTES:
            size_bytes = len(data) + _HEADERS_SIZE_BYTES[remote.is_ipv6]
            if size_bytes > route.interface.mtu_bytes or len(data) > PAYLOAD_SIZE_MAX_BYTES:
                raise_errno(errno.EMSGSIZE)
        if remote.host in WILDCARDS:
            remote = Endpoint(route.source, remote.port)
        local = Endpoint(source or route.source, self.local.port)
        self._host.send(Packet(Protocol.UDP, local, remote, data))
        await self._complete()
        return len(data)


@lru_cache(PACKET_INFO_REMEMBERED_MAX)
def _packet_info(host: str, interface_index: int) -> tuple[int, int, bytes]:
    """That a datagram came to ``host`` through this interface."""
    if ":" in host:
        packed = stdlib_socket.inet_pton(stdlib_socket.AF_INET6, host)
        info = _IN6_PKTINFO.pack(packed, interface_index)
        return (stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_PKTINFO, info)
    packed = stdlib_socket.inet_pton(stdlib_socket.AF_INET, host)
    info = _IN_PKTINFO.pack(interface_index, packed, packed)
    return (stdlib_socket.IPPROTO_IP, IP_PKTINFO, info)


@lru_cache(PACKET_INFO_REMEMBERED_MAX)
def _read_packet_info(level: int, kind: int, data: bytes) -> str | None:
    """The source that is asked for; None for any. Raise OSError (EINVAL)."""
    if (level, kind) == (stdlib_socket.IPPROTO_IP, IP_PKTINFO) and len(data) >= _IN_PKTINFO.size:
        _, local, _ = _IN_PKTINFO.unpack_from(data)
        return stdlib_socket.inet_ntop(stdlib_socket.AF_INET, local) if any(local) else None
    is_ipv6 = (level, kind) == (stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_PKTINFO)
    if not is_ipv6 or len(data) < _IN6_PKTINFO.size:
        raise_errno(errno.EINVAL)
    local, _ = _IN6_PKTINFO.unpack_from(data)
    return stdlib_socket.inet_ntop(stdlib_socket.AF_INET6, local) if any(local) else None
