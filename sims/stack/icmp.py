"""Echo requests and replies of ICMP and ICMPv6 (RFC 792, RFC 4443 section 4)."""

import struct
from dataclasses import dataclass
from typing import Final, Self

from sims.stack.ip import ICMP, ICMPV6, BadPacketError, IpPacket, checksum, pseudo_header

_ECHO: Final = struct.Struct("!BBHHH")
_REQUEST_AND_REPLY: Final = {ICMP: (8, 0), ICMPV6: (128, 129)}


def headers_size_bytes(host: str) -> int:
    """Of an echo request to ``host``, those of IP among them."""
    return (40 if ":" in host else 20) + _ECHO.size


@dataclass(frozen=True, slots=True)
class Echo:
    """An echo request, or the reply to one."""

    source: str
    destination: str
    is_reply: bool
    identifier: int
    sequence: int
    payload: bytes

    def reply(self) -> "Echo":
        return Echo(
            self.destination, self.source, True, self.identifier, self.sequence, self.payload
        )

    def encode(self) -> bytes:
        """A whole IP packet."""
        protocol = ICMPV6 if ":" in self.destination else ICMP
        kind = _REQUEST_AND_REPLY[protocol][self.is_reply]
        numbers = (self.identifier, self.sequence)
        bare = _ECHO.pack(kind, 0, 0, *numbers) + self.payload
        sum_of_all = checksum(_pseudo(protocol, self.source, self.destination, bare) + bare)
        message = _ECHO.pack(kind, 0, sum_of_all, *numbers) + self.payload
        return IpPacket(protocol, self.source, self.destination, message).encode()

    @classmethod
    def decode(cls, packet: IpPacket) -> Self:
        """Raise BadPacketError for all other ICMP messages too."""
        if packet.protocol not in _REQUEST_AND_REPLY:
            raise BadPacketError("not ICMP")
        message = packet.payload
        if len(message) < _ECHO.size:
            raise BadPacketError("shorter than an ICMP echo")
        kind, code, _, identifier, sequence = _ECHO.unpack_from(message)
        kinds = _REQUEST_AND_REPLY[packet.protocol]
        if kind not in kinds or code != 0:
            raise BadPacketError("an ICMP message that is no echo")
        if checksum(_pseudo(packet.protocol, packet.source, packet.destination, message) + message):
            raise BadPacketError("the checksum of an ICMP message is wrong")
        payload = message[_ECHO.size :]
        is_reply = kinds.index(kind) == 1
        return cls(packet.source, packet.destination, is_reply, identifier, sequence, payload)


def _pseudo(protocol: int, source: str, destination: str, message: bytes) -> bytes:
    """ICMPv6 alone covers the addresses too."""
    if protocol == ICMP:
        return b""
    return pseudo_header(source, destination, protocol, len(message))
