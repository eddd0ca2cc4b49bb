"""Packets of the simulated internet as the bytes that a real one would have on the wire."""

import struct
from typing import Final

from sims.internet.packet import Packet, TcpFlags, TcpHeader
from sims.stack.ip import IpPacket, checksum, encode_udp, pseudo_header

TCP: Final = 6
WINDOW_SCALE: Final = 7
"""Of every connection: the stack's windows are larger than the 16 bits of a header."""

_TCP: Final = struct.Struct("!HHIIBBHHH")
_MSS_AND_WINDOW_SCALE: Final = struct.Struct("!BBHBBBB")
_MODULUS: Final = 1 << 32
_WINDOW_MAX: Final = (1 << 16) - 1


def encode(packet: Packet) -> bytes:
    """A whole IP packet, with checksums that are right."""
    if packet.tcp is None:
        return encode_udp(packet.source, packet.destination, packet.payload)
    return _encode_tcp(packet, packet.tcp)


def _encode_tcp(packet: Packet, header: TcpHeader) -> bytes:
    """RFC 9293 section 3.1; the window scale of RFC 7323 section 2.2 is told in each SYN."""
    options = _options(header)
    fields = (
        packet.source.port,
        packet.destination.port,
        header.sequence % _MODULUS,
        header.acknowledgement % _MODULUS,
        (_TCP.size + len(options)) // 4 << 4,
        int(header.flags),
        _window(header),
    )
    source, destination = packet.source.host, packet.destination.host
    bare = _TCP.pack(*fields, 0, 0) + options + packet.payload
    sum_of_all = checksum(pseudo_header(source, destination, TCP, len(bare)) + bare)
    segment = _TCP.pack(*fields, sum_of_all, 0) + options + packet.payload
    return IpPacket(TCP, source, destination, segment).encode()


def _options(header: TcpHeader) -> bytes:
    if not header.mss_bytes:
        return b""
    # Maximum segment size, no operation, window scale.
    return _MSS_AND_WINDOW_SCALE.pack(2, 4, header.mss_bytes, 1, 3, 3, WINDOW_SCALE)


def _window(header: TcpHeader) -> int:
    """The window of a SYN itself is never scaled."""
    scale = 0 if TcpFlags.SYN in header.flags else WINDOW_SCALE
    return min(header.window_bytes >> scale, _WINDOW_MAX)
