"""The TCP of one host: finds the connection of a segment, or answers that there is none."""

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sims.internet.packet import Packet, Protocol, TcpFlags, TcpHeader
from sims.runtime.clock import Timer
from sims.stack.ports import WILDCARDS, Ports, covers
from sims.stack.tcp import TcpConnection
from sims.stack.tcp_sender import Phase
from wice.datagram import Endpoint

if TYPE_CHECKING:
    from sims.stack.host import Host
    from sims.stack.tcp_socket import TcpSocket

CONNECTIONS_MAX: Final = 4_096
"""Of a host, with those that nobody holds any more."""

_IP_AND_TCP_HEADERS_SIZE_BYTES: Final = {False: 40, True: 60}
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16


class TcpLayer:
    """A ``TcpStack`` for the connections of ``host``."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self._clock = host.clock
        self._connections: dict[tuple[Endpoint, Endpoint], TcpConnection] = {}
        self.ports: Ports[TcpSocket] = Ports(host.random)

    def __len__(self) -> int:
        """Connections, those too that are being made or ended."""
        return len(self._connections)

    def connections(self) -> list[TcpConnection]:
        """All that are not closed, also those that nobody holds any more."""
        return list(self._connections.values())

    def bind(self, socket: "TcpSocket", wanted: Endpoint) -> None:
        def is_taken(local: Endpoint) -> bool:
            return not socket.reuses_address and any(
                covers(socket, local, connection.local.host)
                for connection in self._connections.values()
                if connection.local.port == local.port
            )

        self.ports.bind(socket, wanted, is_taken)

    def bind_to_connect(self, socket: "TcpSocket", host: str, remote: Endpoint) -> None:
        """A port of which only the way to ``remote`` needs to be free."""
        self.ports.bind(
            socket, Endpoint(host, 0), lambda local: (local, remote) in self._connections
        )

    def connect(self, local: Endpoint, remote: Endpoint, buffers: dict[str, int]) -> TcpConnection:
        """Raise OSError (EADDRNOTAVAIL) where the connection is there already."""
        if (local, remote) in self._connections:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        if len(self._connections) >= CONNECTIONS_MAX:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        connection = self._new(local, remote, buffers)
        connection.connect()
        return connection

    def receive(self, packet: Packet) -> None:
        header = packet.tcp
        assert header is not None
        connection = self._connections.get((packet.destination, packet.source))
        flags = int(header.flags)
        if connection is not None:
            if not (connection.phase is Phase.TIME_WAIT and flags & _SYN):
                connection.receive(header, packet.payload)
                return
            connection.vanish()
            self.forget(connection)
        if flags & _RST:
            return
        if flags & (_SYN | _ACK) == _SYN:
            listener = self._listener(packet.destination)
            if listener is not None:
                self._accept(listener, packet, header)
                return
        self._refuse(packet, header, flags)

    def vanish(self) -> None:
        """Crash: all is gone without a word."""
        for connection in self._connections.values():
            connection.vanish()
        self._connections.clear()
        self.ports.clear()

    # What connections ask (``TcpStack``)

    @property
    def now_s(self) -> float:
        return self._clock.now_s

    def call_at(self, at_s: float, callback: Callable[[], None]) -> Timer:
        return self._clock.call_at(at_s, callback)

    def call_when_awake(self, callback: Callable[[], None]) -> bool:
        return self._host.call_when_awake(callback)

    def send(self, packet: Packet) -> None:
        self._host.send(packet)

    def forget(self, connection: TcpConnection) -> None:
        key = (connection.local, connection.remote)
        if self._connections.get(key) is connection:
            del self._connections[key]

    def _new(self, local: Endpoint, remote: Endpoint, buffers: dict[str, int]) -> TcpConnection:
        interface = self._host.interface_to(remote.host)
        mtu_bytes = interface.mtu_bytes if interface is not None else 1_280
        mss_bytes = mtu_bytes - _IP_AND_TCP_HEADERS_SIZE_BYTES[remote.is_ipv6]
        connection = TcpConnection(self, local, remote, mss_bytes=mss_bytes, **buffers)
        self._connections[local, remote] = connection
        return connection

    def _listener(self, destination: Endpoint) -> "TcpSocket | None":
        found = None
        for socket in self.ports.at(destination.port):
            local = socket.local
            assert local is not None
            if not socket.is_listening or not covers(socket, local, destination.host):
                continue
            if local.host not in WILDCARDS:
                return socket
            found = found or socket
        return found

    def _accept(self, listener: "TcpSocket", packet: Packet, header: TcpHeader) -> None:
        # Dropped, as on Linux: the other side tries again, when there may be room.
        if not listener.has_room or len(self._connections) >= CONNECTIONS_MAX:
            self._host.dropped["a full queue of connections to accept"] += 1
            return
        connection = self._new(packet.destination, packet.source, listener.buffers)
        listener.expect(connection)
        connection.accept(header)

    def _refuse(self, packet: Packet, header: TcpHeader, flags: int) -> None:
        """RFC 9293 section 3.10.7.1."""
        if flags & _ACK:
            reset = TcpHeader(TcpFlags.RST, header.acknowledgement, 0, 0)
        else:
            size = len(packet.payload) + bool(flags & _SYN) + bool(flags & _FIN)
            after = header.sequence + size
            reset = TcpHeader(TcpFlags.RST | TcpFlags.ACK, 0, after, 0)
        self.send(Packet(Protocol.TCP, packet.destination, packet.source, b"", reset))
