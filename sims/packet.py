"""What travels through the simulated internet: IP packets, as far as anybody on the way looks."""

from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from typing import Final, Self

from wice.datagram import Endpoint

TTL: Final = 64

_IP_HEADER_SIZE_BYTES: Final = {4: 20, 6: 40}
_UDP_HEADER_SIZE_BYTES: Final = 8
_TCP_HEADER_SIZE_BYTES: Final = 20


class Protocol(IntEnum):
    """IANA's protocol numbers."""

    TCP = 6
    UDP = 17


class TcpFlags(IntFlag):
    """RFC 9293 section 3.1."""

    FIN = 1
    SYN = 2
    RST = 4
    ACK = 16


@dataclass(frozen=True, slots=True)
class TcpHeader:
    """sequence, acknowledgement: bytes of a stream, counted from 0 and never wrapping.

    mss_bytes: the option of a SYN (RFC 9293 section 3.7.1), else 0.
    """

    flags: TcpFlags
    sequence: int
    acknowledgement: int
    window_bytes: int
    mss_bytes: int = 0


@dataclass(slots=True)
class Packet:
    """One packet; routers on the way replace it rather than change it.

    ``tcp`` is there exactly when the protocol is TCP.
    """

    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    payload: bytes
    tcp: TcpHeader | None = None
    ttl: int = TTL

    @property
    def version(self) -> int:
        return 6 if self.destination.is_ipv6 else 4

    @property
    def size_bytes(self) -> int:
        """With IP and transport headers."""
        transport = _TCP_HEADER_SIZE_BYTES if self.tcp is not None else _UDP_HEADER_SIZE_BYTES
        return _IP_HEADER_SIZE_BYTES[self.version] + transport + len(self.payload)

    def from_source(self, source: Endpoint) -> Self:
        return replace(self, source=source)

    def to_destination(self, destination: Endpoint) -> Self:
        return replace(self, destination=destination)


@dataclass(frozen=True, slots=True)
class PacketEvent:
    """What became of a packet at one place.

    what: ``sent`` by a machine, ``received`` by one, or ``dropped``. where: the machine, or the
    site whose router or line it was. reason: of a drop, else empty.
    """

    at_s: float
    what: str
    where: str
    packet: Packet
    reason: str = ""
