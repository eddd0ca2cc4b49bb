"""STUN messages (RFC 8489 section 5): strict to read, quick to write.

A message is read once and whole: a header that is not STUN's, an attribute out of its bounds, a
FINGERPRINT that is wrong or not the last attribute refuse it. Integrity is checked when the
reader has found out which key it is about.
"""

import hashlib
import hmac
import zlib
from collections.abc import Collection, Sequence
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Final

from wice.errors import RemoteProtocolError
from wice.stun.attributes import COMPREHENSION_OPTIONAL, MAGIC_COOKIE, SIZES_BYTES, Attribute

HEADER_SIZE_BYTES: Final = 20
TRANSACTION_ID_SIZE_BYTES: Final = 12
ATTRIBUTES_MAX: Final = 64
"""Attributes a message may have: bounds the work that one datagram can cause."""

_HEADER: Final = Struct("!HHI12s")
_HEADER_FIELDS: Final = Struct("!HHI")
_ATTRIBUTE: Final = Struct("!HH")
_unpack_attribute: Final = _ATTRIBUTE.unpack_from
_FINGERPRINT: Final = Struct("!HHI")
_FINGERPRINT_XOR: Final = 0x5354554E
_FINGERPRINT_SIZE: Final = 8
_SHA1_SIZE: Final = 20
_SHA256_SIZE: Final = 32
_PADDING: Final = (b"", b"\x00", b"\x00\x00", b"\x00\x00\x00")
_BLOCK_SIZE: Final = 64  # of SHA-1 and of SHA-256
_INNER_PAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD: Final = bytes(byte ^ 0x5C for byte in range(256))
_COOKIE_BYTES: Final = MAGIC_COOKIE.to_bytes(4, "big")

# Plain integers: comparing them costs half of what comparing IntEnum members does.
_KIND_INTEGRITY: Final = int(Attribute.MESSAGE_INTEGRITY)
_KIND_INTEGRITY_SHA256: Final = int(Attribute.MESSAGE_INTEGRITY_SHA256)
_KIND_FINGERPRINT: Final = int(Attribute.FINGERPRINT)

_SEALS: Final = frozenset({_KIND_INTEGRITY, _KIND_INTEGRITY_SHA256, _KIND_FINGERPRINT})
"""Attributes that cover what stands before them."""

_ANY_SIZE: Final = (0, 0xFFFF)


class Class(IntEnum):
    """The two class bits where they stand in the message type."""

    REQUEST = 0x000
    INDICATION = 0x010
    SUCCESS = 0x100
    ERROR = 0x110


class Method(IntEnum):
    """Methods (RFC 8489 section 18.2, RFC 8656 section 17, RFC 6062 section 6.1)."""

    BINDING = 0x001
    ALLOCATE = 0x003
    REFRESH = 0x004
    SEND = 0x006
    DATA = 0x007
    CREATE_PERMISSION = 0x008
    CHANNEL_BIND = 0x009
    CONNECT = 0x00A
    CONNECTION_BIND = 0x00B
    CONNECTION_ATTEMPT = 0x00C


_TYPES: Final = {method | kind: (method, kind) for method in Method for kind in Class}


class IntegrityKey:
    """HMAC-SHA1 (RFC 2104) under one password, its two padded blocks hashed once.

    A check is one datagram in and one out, each with integrity, under keys that live for minutes:
    starting from the hashed blocks takes about half the time of ``hmac.digest``.
    """

    __slots__ = ("_inner", "_outer")

    attribute: ClassVar[int] = _KIND_INTEGRITY
    """The type of the attribute that holds a digest."""

    header: ClassVar[bytes] = _ATTRIBUTE.pack(_KIND_INTEGRITY, _SHA1_SIZE)
    size_bytes: ClassVar[int] = 4 + _SHA1_SIZE
    """Of the whole attribute."""

    def __init__(self, password: bytes) -> None:
        if len(password) > _BLOCK_SIZE:
            password = self._hash(password).digest()
        block = password.ljust(_BLOCK_SIZE, b"\x00")
        self._inner = self._hash(block.translate(_INNER_PAD))
        self._outer = self._hash(block.translate(_OUTER_PAD))

    @staticmethod
    def _hash(data: bytes) -> "hashlib._Hash":
        return hashlib.sha1(data)

    def digest(self, data: bytes) -> bytes:
        """The value of the integrity attribute over ``data``."""
        inner = self._inner.copy()
        inner.update(data)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


class IntegrityKeySHA256(IntegrityKey):
    """HMAC-SHA256, for MESSAGE-INTEGRITY-SHA256 (RFC 8489 section 14.6)."""

    __slots__ = ()

    attribute: ClassVar[int] = _KIND_INTEGRITY_SHA256
    header: ClassVar[bytes] = _ATTRIBUTE.pack(_KIND_INTEGRITY_SHA256, _SHA256_SIZE)
    size_bytes: ClassVar[int] = 4 + _SHA256_SIZE

    @staticmethod
    def _hash(data: bytes) -> "hashlib._Hash":
        return hashlib.sha256(data)


class Message:
    """A message as it was read. Make one with ``parse``.

    attributes: values by type, the first of each type, without those that follow
    MESSAGE-INTEGRITY and so are not covered by it (RFC 8489 section 14.5).
    seals: where the integrity attributes begin, by type.
    """

    __slots__ = ("_data", "_seals", "attributes", "message_class", "method")

    def __init__(
        self,
        data: bytes,
        method: Method,
        message_class: Class,
        attributes: dict[int, bytes],
        seals: dict[int, int],
    ) -> None:
        self.method = method
        self.message_class = message_class
        self.attributes = attributes
        self._data = data
        self._seals = seals

    @property
    def transaction_id(self) -> bytes:
        return self._data[8:20]

    @property
    def has_fingerprint(self) -> bool:
        """It carried a FINGERPRINT; a wrong one would not have been read."""
        return _KIND_FINGERPRINT in self.attributes

    def unknown_required(self, known: Collection[int]) -> list[int]:
        """Types not in ``known`` that must be understood: a request is then answered with 420."""
        return [k for k in self.attributes if k < COMPREHENSION_OPTIONAL and k not in known]

    def require(self, kind: Attribute) -> bytes:
        """The value of an attribute; raise RemoteProtocolError where it is missing."""
        value = self.attributes.get(kind)
        if value is None:
            raise RemoteProtocolError(f"a STUN {self.method.name} without {kind.name}")
        return value

    def values(self, kind: Attribute) -> list[bytes]:
        """All values of an attribute that may be repeated, in their order (RFC 8656 section 7)."""
        data = self._data
        found = []
        at, end = HEADER_SIZE_BYTES, len(data)
        while at < end:
            other, length = _unpack_attribute(data, at)
            if other in _SEALS:
                break
            if other == kind:
                found.append(data[at + 4 : at + 4 + length])
            at += 4 + (length + 3 & -4)
        return found

    def verify_integrity(self, key: IntegrityKey) -> None:
        """Check the integrity attribute that ``key`` is for; raise RemoteProtocolError unless it
        holds.

        MESSAGE-INTEGRITY-SHA256 must not be truncated: neither ICE nor TURN allows it.
        """
        at = self._seals.get(key.attribute)
        if at is None:
            raise RemoteProtocolError("a STUN message without integrity")
        data = self._data
        length = at + (key.size_bytes - HEADER_SIZE_BYTES)
        covered = data[:2] + length.to_bytes(2, "big") + data[4:at]
        if not hmac.compare_digest(key.digest(covered), self.attributes[key.attribute]):
            raise RemoteProtocolError("a STUN message whose integrity does not hold")

    def __repr__(self) -> str:
        # Neither user names nor integrity: a representation may end in a log.
        kinds = " ".join(f"{kind:#06x}" for kind in self.attributes)
        return f"<STUN {self.method.name} {self.message_class.name} {kinds}>"


def is_stun(data: bytes) -> bool:
    """Whether a datagram claims to be STUN (RFC 8489 section 6.3): tells it from WireGuard's."""
    return len(data) >= HEADER_SIZE_BYTES and data[4:8] == _COOKIE_BYTES and data[0] < 0x40


def parse(data: bytes) -> Message:
    """Read one message that fills ``data``; raise RemoteProtocolError."""
    size = len(data)
    if size < HEADER_SIZE_BYTES:
        raise RemoteProtocolError("a STUN message shorter than its header")
    message_type, length, cookie = _HEADER_FIELDS.unpack_from(data)
    if cookie != MAGIC_COOKIE:
        raise RemoteProtocolError("a STUN message without the magic cookie")
    known_type = _TYPES.get(message_type)
    if known_type is None:
        raise RemoteProtocolError(f"a STUN message of unknown type {message_type:#06x}")
    if length & 3 or length + HEADER_SIZE_BYTES != size:
        raise RemoteProtocolError("a STUN message whose length is not that of its datagram")
    attributes, seals = _parse_attributes(data, size)
    fingerprint = attributes.get(_KIND_FINGERPRINT)
    if fingerprint is not None:
        crc = zlib.crc32(data[:-_FINGERPRINT_SIZE])
        if int.from_bytes(fingerprint, "big") != crc ^ _FINGERPRINT_XOR:
            raise RemoteProtocolError("a STUN FINGERPRINT that does not match")
    return Message(data, known_type[0], known_type[1], attributes, seals)


def _parse_attributes(data: bytes, size: int) -> tuple[dict[int, bytes], dict[int, int]]:
    attributes: dict[int, bytes] = {}
    seals: dict[int, int] = {}
    covered = True
    size_bounds = SIZES_BYTES.get
    at = HEADER_SIZE_BYTES
    for _ in range(ATTRIBUTES_MAX):
        if at == size:
            return attributes, seals
        kind, length = _unpack_attribute(data, at)
        start = at + 4
        end = start + length
        after = (end + 3) & -4
        if after > size:
            raise RemoteProtocolError("a STUN attribute beyond the end of its message")
        least, most = size_bounds(kind, _ANY_SIZE)
        if not least <= length <= most:
            raise RemoteProtocolError(f"a STUN attribute {kind:#06x} of {length} bytes")
        if kind not in _SEALS:
            if covered and kind not in attributes:
                attributes[kind] = data[start:end]
        elif kind == _KIND_FINGERPRINT:
            if end != size:
                raise RemoteProtocolError("a STUN FINGERPRINT that is not the last attribute")
            attributes[kind] = data[start:end]
        elif covered or kind == _KIND_INTEGRITY_SHA256:
            covered = False
            seals.setdefault(kind, at)
            attributes.setdefault(kind, data[start:end])
        at = after
    if at != size:
        raise RemoteProtocolError("a STUN message with too many attributes")
    return attributes, seals


def encode(
    method: Method,
    message_class: Class,
    transaction_id: bytes,
    attributes: Sequence[tuple[int, bytes]] = (),
    *,
    key: IntegrityKey | None = None,
    fingerprint: bool = True,
) -> bytes:
    """Write a message: ``attributes`` in their order, then integrity under ``key``, if any, then
    FINGERPRINT.
    """
    assert len(transaction_id) == TRANSACTION_ID_SIZE_BYTES
    parts = [b""]
    length = 0
    for kind, value in attributes:
        size = len(value)
        padding = -size & 3
        parts.append(_ATTRIBUTE.pack(kind, size) + value + _PADDING[padding])
        length += 4 + size + padding
    message_type = method | message_class
    if key is not None:
        length += key.size_bytes
        parts[0] = _HEADER.pack(message_type, length, MAGIC_COOKIE, transaction_id)
        parts.append(key.header + key.digest(b"".join(parts)))
    if not fingerprint:
        parts[0] = _HEADER.pack(message_type, length, MAGIC_COOKIE, transaction_id)
        return b"".join(parts)
    parts[0] = _HEADER.pack(message_type, length + _FINGERPRINT_SIZE, MAGIC_COOKIE, transaction_id)
    body = b"".join(parts)
    return body + _FINGERPRINT.pack(_KIND_FINGERPRINT, 4, zlib.crc32(body) ^ _FINGERPRINT_XOR)
