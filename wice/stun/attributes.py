"""STUN attributes: their numbers, the sizes they may have, and their values.

RFC 8489 section 14, RFC 8445 section 16.1, RFC 8656 section 18 and RFC 5780. A value is decoded
where it is used, so that a message costs what is read of it.
"""

import socket
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError

MAGIC_COOKIE: Final = 0x2112A442
_COOKIE_BYTES: Final = MAGIC_COOKIE.to_bytes(4, "big")
_PORT_MASK: Final = MAGIC_COOKIE >> 16

_FAMILY_IPV4: Final = 1
_FAMILY_IPV6: Final = 2


class Attribute(IntEnum):
    """Attribute types. Below 0x8000 a receiver must understand them or refuse the message.

    ADDITIONAL_ADDRESS_FAMILY_DRAFT: what the drafts of RFC 8656 had, and coturn up to 4.6.1 has.
    """

    MAPPED_ADDRESS = 0x0001
    CHANGE_REQUEST = 0x0003
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    CHANNEL_NUMBER = 0x000C
    LIFETIME = 0x000D
    XOR_PEER_ADDRESS = 0x0012
    DATA = 0x0013
    REALM = 0x0014
    NONCE = 0x0015
    XOR_RELAYED_ADDRESS = 0x0016
    REQUESTED_ADDRESS_FAMILY = 0x0017
    EVEN_PORT = 0x0018
    REQUESTED_TRANSPORT = 0x0019
    DONT_FRAGMENT = 0x001A
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    PASSWORD_ALGORITHM = 0x001D
    USERHASH = 0x001E
    XOR_MAPPED_ADDRESS = 0x0020
    RESERVATION_TOKEN = 0x0022
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    PADDING = 0x0026
    RESPONSE_PORT = 0x0027
    CONNECTION_ID = 0x002A
    ADDITIONAL_ADDRESS_FAMILY = 0x8000
    ADDRESS_ERROR_CODE = 0x8001
    PASSWORD_ALGORITHMS = 0x8002
    ALTERNATE_DOMAIN = 0x8003
    ICMP = 0x8004
    SOFTWARE = 0x8022
    ALTERNATE_SERVER = 0x8023
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A
    RESPONSE_ORIGIN = 0x802B
    OTHER_ADDRESS = 0x802C
    ADDITIONAL_ADDRESS_FAMILY_DRAFT = 0x8032
    NOMINATION = 0xC001


COMPREHENSION_OPTIONAL: Final = 0x8000
"""Attribute types from here on may be ignored by who does not know them (RFC 8489 section 14)."""

_TEXT: Final = (0, 763)
_ADDRESS: Final = (8, 20)
_UINT32: Final = (4, 4)

_SIZES: Final[dict[Attribute, tuple[int, int]]] = {
    Attribute.MAPPED_ADDRESS: _ADDRESS,
    Attribute.CHANGE_REQUEST: _UINT32,
    Attribute.USERNAME: (1, 513),
    Attribute.MESSAGE_INTEGRITY: (20, 20),
    Attribute.ERROR_CODE: (4, 767),
    Attribute.CHANNEL_NUMBER: _UINT32,
    Attribute.LIFETIME: _UINT32,
    Attribute.XOR_PEER_ADDRESS: _ADDRESS,
    Attribute.REALM: _TEXT,
    Attribute.NONCE: _TEXT,
    Attribute.XOR_RELAYED_ADDRESS: _ADDRESS,
    Attribute.REQUESTED_ADDRESS_FAMILY: _UINT32,
    Attribute.EVEN_PORT: (1, 1),
    Attribute.REQUESTED_TRANSPORT: _UINT32,
    Attribute.DONT_FRAGMENT: (0, 0),
    Attribute.MESSAGE_INTEGRITY_SHA256: (16, 32),
    Attribute.PASSWORD_ALGORITHM: (4, 64),
    Attribute.USERHASH: (32, 32),
    Attribute.XOR_MAPPED_ADDRESS: _ADDRESS,
    Attribute.RESERVATION_TOKEN: (8, 8),
    Attribute.PRIORITY: _UINT32,
    Attribute.USE_CANDIDATE: (0, 0),
    Attribute.CONNECTION_ID: _UINT32,
    Attribute.ADDITIONAL_ADDRESS_FAMILY: _UINT32,
    Attribute.ADDITIONAL_ADDRESS_FAMILY_DRAFT: _UINT32,
    Attribute.ADDRESS_ERROR_CODE: (4, 767),
    Attribute.PASSWORD_ALGORITHMS: (4, 256),
    Attribute.SOFTWARE: _TEXT,
    Attribute.ALTERNATE_SERVER: _ADDRESS,
    Attribute.FINGERPRINT: _UINT32,
    Attribute.ICE_CONTROLLED: (8, 8),
    Attribute.ICE_CONTROLLING: (8, 8),
    Attribute.RESPONSE_ORIGIN: _ADDRESS,
    Attribute.OTHER_ADDRESS: _ADDRESS,
    Attribute.NOMINATION: _UINT32,
}
# Keyed by plain integers: a lookup then compares without IntEnum's detour.
SIZES_BYTES: Final = {int(kind): bounds for kind, bounds in _SIZES.items()}
"""The least and the greatest length of the values that have a bound."""


def pack_address(endpoint: Endpoint) -> bytes:
    """The value of MAPPED-ADDRESS and its like (RFC 8489 section 14.1)."""
    port = endpoint.port.to_bytes(2, "big")
    if endpoint.is_ipv6:
        # A zone, which only a link-local source of ours can have, means nothing on the wire.
        host = endpoint.host.partition("%")[0]
        return b"\x00\x02" + port + socket.inet_pton(socket.AF_INET6, host)
    return b"\x00\x01" + port + socket.inet_pton(socket.AF_INET, endpoint.host)


def pack_xor_address(endpoint: Endpoint, transaction_id: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS and its like (RFC 8489 section 14.2)."""
    return _xor_address(pack_address(endpoint), transaction_id)


def unpack_address(value: bytes) -> Endpoint:
    """Read MAPPED-ADDRESS and its like; raise RemoteProtocolError."""
    size, family = len(value), value[1] if len(value) > 1 else 0
    port = int.from_bytes(value[2:4], "big")
    if size == 8 and family == _FAMILY_IPV4:
        return Endpoint(socket.inet_ntop(socket.AF_INET, value[4:]), port)
    if size == 20 and family == _FAMILY_IPV6:
        return Endpoint(socket.inet_ntop(socket.AF_INET6, value[4:]), port)
    raise RemoteProtocolError(f"a STUN address of family {family} and {size} bytes")


def unpack_xor_address(value: bytes, transaction_id: bytes) -> Endpoint:
    """Read XOR-MAPPED-ADDRESS and its like; raise RemoteProtocolError."""
    return unpack_address(_xor_address(value, transaction_id))


def _xor_address(value: bytes, transaction_id: bytes) -> bytes:
    mask = b"\x00\x00" + _COOKIE_BYTES[:2] + _COOKIE_BYTES + transaction_id
    size = len(value)
    mixed = int.from_bytes(value, "big") ^ int.from_bytes(mask[:size], "big")
    return mixed.to_bytes(size, "big")


def pack_error_code(code: int, reason: str) -> bytes:
    """The value of ERROR-CODE (RFC 8489 section 14.8)."""
    return bytes((0, 0, code // 100, code % 100)) + reason.encode()


def unpack_error_code(value: bytes) -> int:
    """Read the number of ERROR-CODE; raise RemoteProtocolError. The reason phrase is not read."""
    if len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
        raise RemoteProtocolError("a STUN error code outside 300..699")
    return (value[2] & 7) * 100 + value[3]


def pack_unknown_attributes(kinds: Iterable[int]) -> bytes:
    """The value of UNKNOWN-ATTRIBUTES (RFC 8489 section 14.9)."""
    return b"".join(kind.to_bytes(2, "big") for kind in kinds)


def unpack_unknown_attributes(value: bytes) -> list[int]:
    """Read UNKNOWN-ATTRIBUTES; an odd last byte says nothing."""
    return [int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value) - 1, 2)]
