"""IP packets as bytes, as they go in and out of tunnels (RFC 791, RFC 8200, RFC 768)."""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final, Self

from wice.datagram import Endpoint

ICMP: Final = 1
UDP: Final = 17
ICMPV6: Final = 58

TTL: Final = 64

_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
_IPV6: Final = struct.Struct("!IHBB16s16s")
_UDP: Final = struct.Struct("!HHHH")
_DO_NOT_FRAGMENT: Final = 0x4000
_FRAGMENT_MASK: Final = 0x3FFF
_ALL_ONES: Final = 0xFFFF


class BadPacketError(ValueError):
    """Bytes that are no packet of a kind that is spoken here."""


@dataclass(frozen=True, slots=True)
class IpPacket:
    """protocol: of the payload, by IANA's number; a fragment or extension header is no packet."""

    protocol: int
    source: str
    destination: str
    payload: bytes

    def encode(self) -> bytes:
        source, destination = _packed(self.source), _packed(self.destination)
        if len(source) == 16:
            head = _IPV6.pack(6 << 28, len(self.payload), self.protocol, TTL, source, destination)
            return head + self.payload
        size_bytes = _IPV4.size + len(self.payload)
        fields = (0x45, 0, size_bytes, 0, _DO_NOT_FRAGMENT, TTL, self.protocol)
        sum_of_header = checksum(_IPV4.pack(*fields, 0, source, destination))
        return _IPV4.pack(*fields, sum_of_header, source, destination) + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raise BadPacketError."""
        match data[0] >> 4 if data else 0:
            case 4:
                return cls._decode_ipv4(data)
            case 6:
                return cls._decode_ipv6(data)
        raise BadPacketError("neither IPv4 nor IPv6")

    @classmethod
    def _decode_ipv4(cls, data: bytes) -> Self:
        if len(data) < _IPV4.size:
            raise BadPacketError("shorter than an IPv4 header")
        head, _, size_bytes, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(
            data
        )
        head_size_bytes = (head & 0xF) * 4
        if not _IPV4.size <= head_size_bytes <= size_bytes <= len(data):
            raise BadPacketError("the lengths of an IPv4 header do not fit")
        if fragment & _FRAGMENT_MASK:
            raise BadPacketError("a fragment")
        if checksum(data[:head_size_bytes]):
            raise BadPacketError("the checksum of an IPv4 header is wrong")
        payload = data[head_size_bytes:size_bytes]
        return cls(protocol, _text(source), _text(destination), payload)

    @classmethod
    def _decode_ipv6(cls, data: bytes) -> Self:
        if len(data) < _IPV6.size:
            raise BadPacketError("shorter than an IPv6 header")
        _, size_bytes, protocol, _, source, destination = _IPV6.unpack_from(data)
        if _IPV6.size + size_bytes > len(data):
            raise BadPacketError("shorter than its IPv6 header says")
        payload = data[_IPV6.size : _IPV6.size + size_bytes]
        return cls(protocol, _text(source), _text(destination), payload)


def encode_udp(source: Endpoint, destination: Endpoint, payload: bytes) -> bytes:
    """A whole IP packet with a UDP datagram in it."""
    size_bytes = _UDP.size + len(payload)
    ports = (source.port, destination.port, size_bytes)
    pseudo = pseudo_header(source.host, destination.host, UDP, size_bytes)
    sum_of_all = checksum(pseudo + _UDP.pack(*ports, 0) + payload) or _ALL_ONES
    datagram = _UDP.pack(*ports, sum_of_all) + payload
    return IpPacket(UDP, source.host, destination.host, datagram).encode()


def decode_udp(packet: IpPacket) -> tuple[Endpoint, Endpoint, bytes]:
    """Source, destination, payload; raise BadPacketError."""
    if len(packet.payload) < _UDP.size:
        raise BadPacketError("shorter than a UDP header")
    source_port, destination_port, size_bytes, sum_of_all = _UDP.unpack_from(packet.payload)
    if not _UDP.size <= size_bytes <= len(packet.payload):
        raise BadPacketError("the length of a UDP header does not fit")
    datagram = packet.payload[:size_bytes]
    pseudo = pseudo_header(packet.source, packet.destination, UDP, size_bytes)
    # IPv4 alone may leave it out (RFC 768).
    is_summed = sum_of_all != 0 or ":" in packet.destination
    if is_summed and checksum(pseudo + datagram):
        raise BadPacketError("the checksum of a UDP datagram is wrong")
    return (
        Endpoint(packet.source, source_port),
        Endpoint(packet.destination, destination_port),
        datagram[_UDP.size :],
    )


def pseudo_header(source: str, destination: str, protocol: int, size_bytes: int) -> bytes:
    """What transport checksums also cover (RFC 768, RFC 8200 section 8.1)."""
    addresses = _packed(source) + _packed(destination)
    if len(addresses) == 8:
        return addresses + struct.pack("!BBH", 0, protocol, size_bytes)
    return addresses + struct.pack("!II", size_bytes, protocol)


def checksum(data: bytes) -> int:
    """RFC 1071; 0 over data that holds its own right checksum."""
    if len(data) % 2:
        data += b"\0"
    # 2**16 is 1 modulo 2**16 - 1, so the sum of all words is the remainder of the whole number.
    number = int.from_bytes(data, "big")
    total = number % _ALL_ONES
    return 0 if total == 0 and number else _ALL_ONES - total


def _packed(host: str) -> bytes:
    return ipaddress.ip_address(host).packed


def _text(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))
