"""From WireGuard's Montgomery keys to edwards25519, and scalars mod q.

Secret scalars pass only through libsodium, whose arithmetic takes constant time; Python integers
hold public values alone.
"""

from functools import lru_cache

from nacl import bindings
from nacl.exceptions import BadSignatureError

from wice.keys._types import KEY_SIZE, PrivateKey, PublicKey

SCALAR_SIZE = 32
"""Bytes in a scalar mod q, little-endian (RFC 8032 section 5.1)."""

SIGNATURE_SIZE = 64
"""Bytes in a signature: R, then s (RFC 8032 section 5.1.6)."""

EDWARDS_FORMS_MAX = 1_024
"""Public keys whose Edwards form is remembered; the inversion costs more than the hashing."""

SIGNATURES_REMEMBERED_MAX = 1_024
"""Each node that stores a record gives the same two signatures to who looks it up."""

_FIELD_PRIME = 2**255 - 19
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


@lru_cache(maxsize=EDWARDS_FORMS_MAX)
def edwards_public_key(public_key: PublicKey) -> bytes:
    """The 32-byte Edwards form of ``public_key``: y = (u-1)/(u+1), sign bit 0.

    Raise ValueError for what cannot be an identity: u not below 2^255-19, u = -1, and a point off
    the curve, of low order or outside the prime-order subgroup. (XEdDSA section 2.3)
    """
    u = int.from_bytes(bytes(public_key), "little")
    if u >= _FIELD_PRIME:
        raise ValueError("the public key is not in canonical form")
    if u == _FIELD_PRIME - 1:
        raise ValueError("the public key has no Edwards form")
    y = (u - 1) * pow(u + 1, -1, _FIELD_PRIME) % _FIELD_PRIME
    point = y.to_bytes(KEY_SIZE, "little")
    if not bindings.crypto_core_ed25519_is_valid_point(point):
        raise ValueError("the public key is not a point of the prime-order subgroup")
    return point


def is_valid_identity(public_key: PublicKey) -> bool:
    """Whether ``public_key`` has an Edwards form that libsodium accepts.

    Every key that ``wg genkey`` and ``wg pubkey`` made has one; most random strings do not.
    """
    try:
        edwards_public_key(public_key)
    except ValueError:
        return False
    return True


def signing_scalar(private_key: PrivateKey) -> tuple[bytes, bytes]:
    """The scalar a mod q and A = a·B with sign bit 0 (XEdDSA section 2.3, calculate_key_pair)."""
    scalar = bindings.crypto_core_ed25519_scalar_reduce(bytes(private_key) + bytes(32))
    point = bindings.crypto_scalarmult_ed25519_base_noclamp(scalar)
    if point[31] & 0x80:
        scalar = bindings.crypto_core_ed25519_scalar_negate(scalar)
        point = point[:31] + bytes([point[31] & 0x7F])
    return scalar, point


def is_nonzero_scalar(scalar: bytes) -> bool:
    """Whether ``scalar`` is 32 bytes in canonical form and not 0."""
    return len(scalar) == SCALAR_SIZE and 0 < int.from_bytes(scalar, "little") < _GROUP_ORDER


@lru_cache(maxsize=SIGNATURES_REMEMBERED_MAX)
def verify(point: bytes, message: bytes, signature: bytes) -> bool:
    """libsodium's Ed25519 verification of a detached signature under the 32-byte ``point``."""
    # libsodium reads fixed sizes, and the binding does not check them.
    if len(point) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    try:
        bindings.crypto_sign_open(signature + message, point)
    except BadSignatureError:
        return False
    return True
