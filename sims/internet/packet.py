"""What travels through the simulated internet: IP packets, as far as anybody on the way looks."""

from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple, Self

from wice.datagram import Endpoint

_UDP_HEADERS_SIZE_BYTES: Final = (20 + 8, 40 + 8)
_TCP_HEADERS_SIZE_BYTES: Final = (20 + 20, 40 + 20)
"""With IPv4, with IPv6."""


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

    @property
    def version(self) -> int:
        return 6 if self.destination.is_ipv6 else 4

    @property
    def size_bytes(self) -> int:
        """With IP and transport headers."""
        headers = _UDP_HEADERS_SIZE_BYTES if self.tcp is None else _TCP_HEADERS_SIZE_BYTES
        return headers[":" in self.destination[0]] + len(self.payload)

    def from_source(self, source: Endpoint) -> Self:
        return replace(self, source=source)

    def to_destination(self, destination: Endpoint) -> Self:
        return replace(self, destination=destination)


class PacketEvent(NamedTuple):
    """What became of a packet at one place.

    what: ``sent`` by a machine, ``received`` by one, or ``dropped``. where: the machine, or the
    site whose router or line it was. reason: of a drop, else empty.
    """

    at_s: float
    what: str
    where: str
    packet: Packet
    reason: str = ""
