"""What TURN's messages are made of (RFC 8656): numbers, lifetimes, ChannelData."""

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import Attribute

DATA_SIZE_MAX_BYTES: Final = 65_000
"""Data of one relayed datagram: with any header of ours it still fits into one over UDP."""

CHANNEL_MIN: Final = 0x4000
CHANNEL_MAX: Final = 0x4FFF
CHANNEL_TAKEN_MAX: Final = 0x7FFF
"""A server takes what clients of RFC 5766 choose, coturn's among them."""

ALLOCATION_LIFETIME_S: Final = 600
ALLOCATION_LIFETIME_MAX_S: Final = 3_600
PERMISSION_LIFETIME_S: Final = 300
CHANNEL_LIFETIME_S: Final = 600
CHANNEL_REST_S: Final = 300
"""How long a number or a peer may not be bound otherwise after its binding ended (section 12)."""

UNDERSTOOD: Final = frozenset(
    {
        Attribute.USERNAME,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.REALM,
        Attribute.NONCE,
        Attribute.USERHASH,
        Attribute.PASSWORD_ALGORITHM,
        Attribute.CHANNEL_NUMBER,
        Attribute.LIFETIME,
        Attribute.XOR_PEER_ADDRESS,
        Attribute.DATA,
        Attribute.REQUESTED_ADDRESS_FAMILY,
        Attribute.EVEN_PORT,
        Attribute.REQUESTED_TRANSPORT,
        Attribute.RESERVATION_TOKEN,
    }
)
"""Attributes that a server knows of those that it must know (RFC 8489 section 14)."""

UDP: Final = b"\x11\x00\x00\x00"
"""The value of REQUESTED-TRANSPORT for UDP."""

_CHANNEL_DATA: Final = Struct("!HH")
CHANNEL_HEADER_SIZE_BYTES: Final = _CHANNEL_DATA.size
pack_channel_header: Final = _CHANNEL_DATA.pack
unpack_channel_header: Final = _CHANNEL_DATA.unpack_from


class ErrorCode(IntEnum):
    """Errors of TURN (RFC 8656 section 19) and those of STUN that it uses."""

    TRY_ALTERNATE = 300
    BAD_REQUEST = 400
    UNAUTHENTICATED = 401
    FORBIDDEN = 403
    UNKNOWN_ATTRIBUTE = 420
    ALLOCATION_MISMATCH = 437
    STALE_NONCE = 438
    ADDRESS_FAMILY_NOT_SUPPORTED = 440
    WRONG_CREDENTIALS = 441
    UNSUPPORTED_TRANSPORT = 442
    PEER_ADDRESS_FAMILY_MISMATCH = 443
    ALLOCATION_QUOTA_REACHED = 486
    SERVER_ERROR = 500
    INSUFFICIENT_CAPACITY = 508


class Family(IntEnum):
    """Address families as REQUESTED-ADDRESS-FAMILY names them (RFC 8656 section 18.6)."""

    IPV4 = 1
    IPV6 = 2

    @property
    def value_bytes(self) -> bytes:
        return bytes((self, 0, 0, 0))


def family_of(host: str) -> Family:
    return Family.IPV6 if ":" in host else Family.IPV4


def unpack_family(value: bytes) -> Family | None:
    """Read REQUESTED- or ADDITIONAL-ADDRESS-FAMILY; None for a family that there is not."""
    return Family(value[0]) if value[0] in (1, 2) else None


def pack_address_error(family: Family, code: int) -> bytes:
    """The value of ADDRESS-ERROR-CODE (RFC 8656 section 18.12)."""
    return bytes((family, 0, code // 100, code % 100))


def unpack_address_error(value: bytes) -> tuple[Family | None, int]:
    """Read ADDRESS-ERROR-CODE: the family, None for an unknown one, and the number."""
    return unpack_family(value), (value[2] & 7) * 100 + value[3]


class PeerData(NamedTuple):
    """Data that came from a peer through the relay."""

    data: bytes
    peer: Endpoint


def is_channel_data(data: bytes) -> bool:
    """Whether a datagram from a server or a client claims to be ChannelData."""
    return len(data) >= CHANNEL_HEADER_SIZE_BYTES and 0x40 <= data[0] <= 0x7F


def parse_channel_data(data: bytes) -> tuple[int, bytes]:
    """The channel and the data of one ChannelData message; raise RemoteProtocolError.

    Over UDP it may be padded (RFC 8656 section 12.5).
    """
    if not is_channel_data(data):
        raise RemoteProtocolError("a TURN message that is neither STUN nor ChannelData")
    channel, size = unpack_channel_header(data)
    end = CHANNEL_HEADER_SIZE_BYTES + size
    if end > len(data):
        raise RemoteProtocolError("ChannelData beyond the end of its datagram")
    return channel, data[CHANNEL_HEADER_SIZE_BYTES:end]
