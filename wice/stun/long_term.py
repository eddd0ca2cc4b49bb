"""What both sides of long-term credentials share (RFC 8489 sections 9.2, 14.9 to 14.12 and 18.5).

Keys from passwords, the hash that stands for a user name, lists of password algorithms, and the
security features that a nonce begins with.
"""

import base64
import binascii
import hashlib
import unicodedata
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Final

from wice.errors import RemoteProtocolError
from wice.stun.message import IntegrityKey, IntegrityKeySHA256

NONCE_COOKIE: Final = b"obMatJos2"
_FEATURES_SIZE: Final = 4
_HEADER_SIZE: Final = 4

BAD_REQUEST: Final = 400
UNAUTHENTICATED: Final = 401
UNKNOWN_ATTRIBUTE: Final = 420
STALE_NONCE: Final = 438


class PasswordAlgorithm(IntEnum):
    """How a key is made from a password (RFC 8489 section 18.5.1)."""

    MD5 = 1
    SHA256 = 2


class SecurityFeature(IntFlag):
    """Bits in the cookie of a nonce (RFC 8489 section 18.1)."""

    PASSWORD_ALGORITHMS = 1
    USERNAME_ANONYMITY = 2


def opaque_string(text: str) -> str:
    """``text`` as the OpaqueString profile wants it (RFC 8265 section 4.2); raise ValueError."""
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    normal = unicodedata.normalize("NFC", spaced)
    if not normal or any(unicodedata.category(c) in ("Cc", "Cn", "Cs", "Co") for c in normal):
        raise ValueError("a user name, realm or password that is empty or has control characters")
    return normal


def long_term_key(
    username: str,
    realm: str,
    password: str,
    algorithm: PasswordAlgorithm = PasswordAlgorithm.MD5,
    *,
    with_sha256: bool | None = None,
) -> IntegrityKey:
    """The key of a user in a realm (RFC 8489 section 18.5.1).

    with_sha256: whether it is for MESSAGE-INTEGRITY-SHA256; by default what RFC 8489 puts beside
    the algorithm: not with MD5, which is what older agents know.
    """
    secret = ":".join(map(opaque_string, (username, realm, password))).encode()
    if algorithm is PasswordAlgorithm.SHA256:
        digest = hashlib.sha256(secret).digest()
    else:
        digest = hashlib.md5(secret, usedforsecurity=False).digest()
    if with_sha256 is None:
        with_sha256 = algorithm is PasswordAlgorithm.SHA256
    return IntegrityKeySHA256(digest) if with_sha256 else IntegrityKey(digest)


def userhash(username: str, realm: str) -> bytes:
    """The value of USERHASH (RFC 8489 section 14.4)."""
    text = f"{opaque_string(username)}:{opaque_string(realm)}"
    return hashlib.sha256(text.encode()).digest()


def pack_password_algorithm(algorithm: PasswordAlgorithm) -> bytes:
    """The value of PASSWORD-ALGORITHM: neither algorithm has parameters."""
    return algorithm.to_bytes(2, "big") + b"\x00\x00"


def pack_password_algorithms(algorithms: Sequence[PasswordAlgorithm]) -> bytes:
    """The value of PASSWORD-ALGORITHMS, the best first."""
    return b"".join(map(pack_password_algorithm, algorithms))


def unpack_password_algorithms(value: bytes) -> list[int]:
    """Read PASSWORD-ALGORITHM or -ALGORITHMS: numbers, known or not; raise RemoteProtocolError."""
    found = []
    at = 0
    while at < len(value):
        size = int.from_bytes(value[at + 2 : at + 4], "big")
        after = at + _HEADER_SIZE + (size + 3 & -4)
        if at + _HEADER_SIZE > len(value) or after > len(value):
            raise RemoteProtocolError("a STUN password algorithm beyond the end of its attribute")
        found.append(int.from_bytes(value[at : at + 2], "big"))
        at = after
    return found


def nonce_cookie(features: SecurityFeature) -> bytes:
    """What a nonce begins with that says what its server can (RFC 8489 section 9.2)."""
    return NONCE_COOKIE + base64.b64encode(int(features).to_bytes(3, "big"))


def nonce_features(nonce: bytes) -> SecurityFeature:
    """The features that a nonce tells of; none where it has no cookie."""
    if not nonce.startswith(NONCE_COOKIE):
        return SecurityFeature(0)
    text = nonce[len(NONCE_COOKIE) : len(NONCE_COOKIE) + _FEATURES_SIZE]
    try:
        bits = int.from_bytes(base64.b64decode(text, validate=True), "big")
    except binascii.Error:
        return SecurityFeature(0)
    known = SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY
    return SecurityFeature(bits & known)
