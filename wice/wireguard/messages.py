"""WireGuard's four messages as bytes (white paper, section 5.4). All integers are little-endian.

=========== ==== ==== =========================================================================
message     type size fields after the type and three zero bytes
=========== ==== ==== =========================================================================
initiation  1    148  sender 4, ephemeral 32, static 32+16, timestamp 12+16, mac1 16, mac2 16
response    2    92   sender 4, receiver 4, ephemeral 32, empty 16, mac1 16, mac2 16
cookie      3    64   receiver 4, nonce 24, cookie 16+16
transport   4    32+  receiver 4, counter 8, packet padded to 16 bytes, 16
=========== ==== ==== =========================================================================
"""

import struct
from typing import NamedTuple

from wice.errors import RemoteProtocolError

INITIATION, RESPONSE, COOKIE_REPLY, TRANSPORT = 1, 2, 3, 4
"""The message types."""

MAC_SIZE_BYTES = 16
TAG_SIZE_BYTES = 16
"""What Poly1305 adds to a plaintext."""

INITIATION_SIZE_BYTES = 148
RESPONSE_SIZE_BYTES = 92
COOKIE_REPLY_SIZE_BYTES = 64
TRANSPORT_HEADER_SIZE_BYTES = 16
TRANSPORT_SIZE_MIN_BYTES = TRANSPORT_HEADER_SIZE_BYTES + TAG_SIZE_BYTES

MACS_SIZE_BYTES = 2 * MAC_SIZE_BYTES
PADDING_MULTIPLE_BYTES = 16

TRANSPORT_HEADER = struct.Struct("<IIQ")
"""Type and zero bytes, receiver, counter."""

_INITIATION = struct.Struct("<II32s48s28s")
_RESPONSE = struct.Struct("<III32s16s")
_COOKIE_REPLY = struct.Struct("<II24s32s")


class Initiation(NamedTuple):
    """The first message of a handshake, without its macs."""

    sender: int
    ephemeral: bytes
    encrypted_static: bytes
    encrypted_timestamp: bytes

    def pack(self) -> bytes:
        return _INITIATION.pack(INITIATION, *self)

    @classmethod
    def unpack(cls, data: bytes) -> "Initiation":
        return cls(*_INITIATION.unpack_from(data)[1:])


class Response(NamedTuple):
    """The second message of a handshake, without its macs."""

    sender: int
    receiver: int
    ephemeral: bytes
    encrypted_nothing: bytes

    def pack(self) -> bytes:
        return _RESPONSE.pack(RESPONSE, *self)

    @classmethod
    def unpack(cls, data: bytes) -> "Response":
        return cls(*_RESPONSE.unpack_from(data)[1:])


class CookieReply(NamedTuple):
    """What a responder under load answers instead."""

    receiver: int
    nonce: bytes
    encrypted_cookie: bytes

    def pack(self) -> bytes:
        return _COOKIE_REPLY.pack(COOKIE_REPLY, *self)

    @classmethod
    def unpack(cls, data: bytes) -> "CookieReply":
        return cls(*_COOKIE_REPLY.unpack_from(data)[1:])


def is_wireguard(data: bytes) -> bool:
    """Whether a datagram is WireGuard's: one of its types, then three zero bytes.

    A STUN message that began so would have the reserved method 0 or one of 0x80 and above, and no
    attributes (RFC 8489 section 5): ICE and TURN send none. ChannelData begins with 64 or more.
    """
    return len(data) >= 4 and 1 <= data[0] <= 4 and data[1] == data[2] == data[3] == 0


def message_type(data: bytes) -> int:
    """Give the type of a message that has the size of its type; raise RemoteProtocolError."""
    if not is_wireguard(data):
        raise RemoteProtocolError("not a WireGuard message")
    kind, size_bytes = data[0], len(data)
    if kind == TRANSPORT:
        # A packet as long as the sender's MTU is padded no further, so any size can be right.
        if size_bytes < TRANSPORT_SIZE_MIN_BYTES:
            raise RemoteProtocolError("a message of the wrong size")
    elif size_bytes != _SIZES_BYTES[kind]:
        raise RemoteProtocolError("a message of the wrong size")
    return kind


_SIZES_BYTES = {
    INITIATION: INITIATION_SIZE_BYTES,
    RESPONSE: RESPONSE_SIZE_BYTES,
    COOKIE_REPLY: COOKIE_REPLY_SIZE_BYTES,
}
