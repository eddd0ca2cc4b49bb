"""What machines say through relays, taken out of what TURN wraps it in (RFC 8656)."""

from collections.abc import Iterator
from ipaddress import ip_address
from struct import Struct
from typing import Final, NamedTuple

from sims.internet.packet import Packet
from wice.datagram import Endpoint

STUN_COOKIE: Final = bytes((0x21, 0x12, 0xA4, 0x42))
COOKIE: Final = slice(4, 8)
TRANSACTION: Final = slice(8, 20)

CHANNELS_MAX: Final = 16_384
"""Bound channels that are remembered of all machines together."""

_HEADER_SIZE_BYTES: Final = 20
_ATTRIBUTE: Final = Struct("!HH")

# RFC 8656 sections 17 and 18.
_CHANNEL_BIND: Final = b"\x00\x09"
_SEND: Final = b"\x00\x16"
_DATA: Final = b"\x00\x17"
_CHANNEL_NUMBER: Final = 0x000C
_XOR_PEER_ADDRESS: Final = 0x0012
_DATA_ATTRIBUTE: Final = 0x0013
_IPV4_VALUE_SIZE_BYTES: Final = 8
_IPV6_VALUE_SIZE_BYTES: Final = 20


class Way(NamedTuple):
    """Where a machine's datagrams go or come from; is_wrapped: through a relay of its own."""

    remote: Endpoint
    is_wrapped: bool = False

    def __str__(self) -> str:
        return f"{self.remote}{' through a relay' if self.is_wrapped else ''}"


class Said(NamedTuple):
    """A datagram as the machine that sent or received it means it.

    local: its end of the way, which is the relay server where ``way`` is through one.
    """

    way: Way
    local: Endpoint
    payload: bytes


class Relayed:
    """Knows which channel of which machine leads where, by the requests that bound it."""

    def __init__(self) -> None:
        self._channels: dict[tuple[str, Endpoint, bytes], Endpoint] = {}

    def sent(self, machine: str, packet: Packet) -> Said:
        """What ``machine`` sends in ``packet``, which is of UDP."""
        server = packet.destination
        if _is_stun(packet.payload) and packet.payload.startswith(_CHANNEL_BIND):
            number = dict(_attributes(packet.payload)).get(_CHANNEL_NUMBER)
            peer = _peer(packet.payload)
            if number is not None and peer is not None:
                self._channels[machine, server, number[:2]] = peer
                if len(self._channels) > CHANNELS_MAX:
                    del self._channels[next(iter(self._channels))]
        return self._inside(machine, server, packet.payload, _SEND) or Said(
            Way(server), packet.source, packet.payload
        )

    def received(self, machine: str, packet: Packet) -> Said:
        """The same of what it receives."""
        return self._inside(machine, packet.source, packet.payload, _DATA) or Said(
            Way(packet.source), packet.destination, packet.payload
        )

    def _inside(
        self, machine: str, server: Endpoint, payload: bytes, indication: bytes
    ) -> Said | None:
        if payload[:1] and 0x40 <= payload[0] <= 0x4F:
            peer = self._channels.get((machine, server, payload[:2]))
            if peer is None:
                return None
            size_bytes = int.from_bytes(payload[2:4], "big")
            data = payload[_ATTRIBUTE.size :][:size_bytes]
            return Said(Way(peer, is_wrapped=True), server, data)
        if not payload.startswith(indication) or not _is_stun(payload):
            return None
        wrapped, peer = dict(_attributes(payload)).get(_DATA_ATTRIBUTE), _peer(payload)
        if wrapped is None or peer is None:
            return None
        return Said(Way(peer, is_wrapped=True), server, wrapped)


def _is_stun(payload: bytes) -> bool:
    return len(payload) >= _HEADER_SIZE_BYTES and payload[COOKIE] == STUN_COOKIE


def _attributes(message: bytes) -> Iterator[tuple[int, bytes]]:
    """RFC 8489 section 14; bits may be turned, so it ends where nothing can follow."""
    at = _HEADER_SIZE_BYTES
    while at + _ATTRIBUTE.size <= len(message):
        kind, size_bytes = _ATTRIBUTE.unpack_from(message, at)
        at += _ATTRIBUTE.size
        yield kind, message[at : at + size_bytes]
        at += size_bytes + -size_bytes % 4


def _peer(message: bytes) -> Endpoint | None:
    """XOR-PEER-ADDRESS (RFC 8489 section 14.2)."""
    value = dict(_attributes(message)).get(_XOR_PEER_ADDRESS, b"")
    mask = message[COOKIE] + message[TRANSACTION]
    if len(value) not in (_IPV4_VALUE_SIZE_BYTES, _IPV6_VALUE_SIZE_BYTES):
        return None
    port = int.from_bytes(value[2:4], "big") ^ int.from_bytes(mask[:2], "big")
    packed = bytes(one ^ other for one, other in zip(value[4:], mask, strict=False))
    return Endpoint(str(ip_address(packed)), port)
