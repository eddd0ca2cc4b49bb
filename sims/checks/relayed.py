"""What machines say through relays, taken out of what TURN wraps it in (RFC 8656)."""

from collections.abc import Iterator, Mapping
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import Final, NamedTuple

from sims.internet.packet import Packet
from wice.datagram import Endpoint

STUN_COOKIE: Final = bytes((0x21, 0x12, 0xA4, 0x42))
COOKIE: Final = slice(4, 8)
TRANSACTION: Final = slice(8, 20)

CHANNELS_MAX: Final = 16_384
CHANNELS_EACH_MAX: Final = 512
"""Bound channels that are remembered of all machines together: the larger of these."""

_HEADER_SIZE_BYTES: Final = 20
_ATTRIBUTE: Final = Struct("!HH")

# RFC 8656 sections 17 and 18.
_CHANNEL_BIND: Final = b"\x00\x09"
_SEND: Final = b"\x00\x16"
_DATA: Final = b"\x00\x17"
_CHANNEL_NUMBER: Final = 0x000C
_XOR_PEER_ADDRESS: Final = 0x0012
_DATA_ATTRIBUTE: Final = 0x0013
_FAMILIES: Final = {8: AF_INET, 20: AF_INET6}
"""By the size of an address in bytes."""
_PORT_MASK: Final = bytes(2) + STUN_COOKIE[:2]


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

    def __init__(self, machines: int = 1) -> None:
        """machines: how many there are."""
        self._channels_max = max(CHANNELS_MAX, CHANNELS_EACH_MAX * machines)
        self._channels: dict[tuple[str, Endpoint, bytes], Endpoint] = {}

    def sent(self, machine: str, packet: Packet) -> Said:
        """What ``machine`` sends in ``packet``, which is of UDP."""
        server, payload = packet.destination, packet.payload
        if payload.startswith(_CHANNEL_BIND) and _is_stun(payload):
            attributes = dict(_attributes(payload))
            number, peer = attributes.get(_CHANNEL_NUMBER), _peer(payload, attributes)
            if number is not None and peer is not None:
                self._channels[machine, server, number[:2]] = peer
                if len(self._channels) > self._channels_max:
                    del self._channels[next(iter(self._channels))]
        return self._inside(machine, server, payload, _SEND) or Said(
            Way(server, False), packet.source, payload
        )

    def received(self, machine: str, packet: Packet) -> Said:
        """The same of what it receives."""
        return self._inside(machine, packet.source, packet.payload, _DATA) or Said(
            Way(packet.source, False), packet.destination, packet.payload
        )

    def _inside(
        self, machine: str, server: Endpoint, payload: bytes, indication: bytes
    ) -> Said | None:
        if payload and 0x40 <= payload[0] <= 0x4F:
            peer = self._channels.get((machine, server, payload[:2]))
            if peer is None:
                return None
            size_bytes = int.from_bytes(payload[2:4], "big")
            data = payload[_ATTRIBUTE.size :][:size_bytes]
            return Said(Way(peer, is_wrapped=True), server, data)
        if not payload.startswith(indication) or not _is_stun(payload):
            return None
        attributes = dict(_attributes(payload))
        wrapped, peer = attributes.get(_DATA_ATTRIBUTE), _peer(payload, attributes)
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


def _peer(message: bytes, attributes: Mapping[int, bytes]) -> Endpoint | None:
    """XOR-PEER-ADDRESS (RFC 8489 section 14.2)."""
    value = attributes.get(_XOR_PEER_ADDRESS, b"")
    family = _FAMILIES.get(len(value))
    if family is None:
        return None
    mask = _PORT_MASK + message[COOKIE] + message[TRANSACTION]
    number = int.from_bytes(value, "big") ^ int.from_bytes(mask[: len(value)], "big")
    plain = number.to_bytes(len(value), "big")
    return Endpoint(inet_ntop(family, plain[4:]), int.from_bytes(plain[2:4], "big"))
