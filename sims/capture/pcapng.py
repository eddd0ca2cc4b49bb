"""Blocks of pcapng, each as bytes (draft-ietf-opsawg-pcapng).

All are little-endian, and all times are nanoseconds since 1970-01-01 UTC.
"""

import ipaddress
import struct
from collections.abc import Mapping
from typing import Final

LINK_TYPE_RAW: Final = 101
"""Packets begin with the header of IPv4 or IPv6 (LINKTYPE_RAW)."""
SECRETS_TYPE_WIREGUARD: Final = 0x57474B4C

_SECTION_HEADER: Final = 0x0A0D0D0A
_INTERFACE_DESCRIPTION: Final = 1
_NAME_RESOLUTION: Final = 4
_INTERFACE_STATISTICS: Final = 5
_ENHANCED_PACKET: Final = 6
_DECRYPTION_SECRETS: Final = 10

_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_LENGTH_UNKNOWN: Final = -1
_UNLIMITED: Final = 0
_NANOSECONDS: Final = b"\x09"

_COMMENT: Final = 1
_SECTION_APPLICATION: Final = 4
_INTERFACE_NAME: Final = 2
_INTERFACE_TEXT: Final = 3
_INTERFACE_TIME_RESOLUTION: Final = 9
_PACKET_FLAGS: Final = 2
_STATISTICS_RECEIVED: Final = 4
_STATISTICS_LEFT_OUT: Final = 5
_INBOUND: Final = struct.pack("<I", 1)
_OUTBOUND: Final = struct.pack("<I", 2)

_NAME_RECORD_OF_VERSION: Final = {4: 1, 6: 2}
_END_OF_RECORDS: Final = bytes(4)


def section_header(application: str, comment: str) -> bytes:
    """What a file begins with; comment: on the whole of it."""
    options = _option(_COMMENT, comment.encode()) + _option(
        _SECTION_APPLICATION, application.encode()
    )
    head = struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, _LENGTH_UNKNOWN)
    return _block(_SECTION_HEADER, head, options)


def interface_description(name: str, text: str) -> bytes:
    """The next interface: the first in a file has number 0. Its packets are raw IP."""
    options = (
        _option(_INTERFACE_NAME, name.encode())
        + _option(_INTERFACE_TEXT, text.encode())
        + _option(_INTERFACE_TIME_RESOLUTION, _NANOSECONDS)
    )
    return _block(
        _INTERFACE_DESCRIPTION, struct.pack("<HHI", LINK_TYPE_RAW, 0, _UNLIMITED), options
    )


def enhanced_packet(
    interface: int, at_ns: int, data: bytes, *, is_outbound: bool, comment: str = ""
) -> bytes:
    """A whole packet. interface: its number in the file."""
    options = _option(_PACKET_FLAGS, _OUTBOUND if is_outbound else _INBOUND)
    if comment:
        options = _option(_COMMENT, comment.encode()) + options
    size_bytes = len(data)
    head = struct.pack(
        "<IIIII", interface, at_ns >> 32, at_ns & 0xFFFF_FFFF, size_bytes, size_bytes
    )
    return _block(_ENHANCED_PACKET, head + _padded(data), options)


def decryption_secrets(secrets_type: int, secrets: bytes) -> bytes:
    """Keys for packets that come later in the file."""
    head = struct.pack("<II", secrets_type, len(secrets))
    return _block(_DECRYPTION_SECRETS, head + _padded(secrets))


def name_resolution(names: Mapping[str, str]) -> bytes:
    """names: by IP address."""
    records = b"".join(_name_record(address, name) for address, name in names.items())
    return _block(_NAME_RESOLUTION, records + _END_OF_RECORDS)


def interface_statistics(interface: int, at_ns: int, received: int, left_out: int) -> bytes:
    """received: packets that the interface saw, of which ``left_out`` are not in the file."""
    options = _option(_STATISTICS_RECEIVED, struct.pack("<Q", received)) + _option(
        _STATISTICS_LEFT_OUT, struct.pack("<Q", left_out)
    )
    head = struct.pack("<III", interface, at_ns >> 32, at_ns & 0xFFFF_FFFF)
    return _block(_INTERFACE_STATISTICS, head, options)


def _name_record(address: str, name: str) -> bytes:
    ip = ipaddress.ip_address(address)
    value = ip.packed + name.encode() + b"\0"
    return struct.pack("<HH", _NAME_RECORD_OF_VERSION[ip.version], len(value)) + _padded(value)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _block(kind: int, body: bytes, options: bytes = b"") -> bytes:
    if options:
        options += bytes(4)
    size_bytes = struct.pack("<I", 12 + len(body) + len(options))
    return struct.pack("<I", kind) + size_bytes + body + options + size_bytes


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
