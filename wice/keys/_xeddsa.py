"""XEdDSA: signatures with X25519 keys.

Signal, "The XEdDSA and VXEdDSA Signature Schemes", revision 1, sections 2.3 to 2.5. A signature
is an ordinary Ed25519 signature under the Edwards form of the key.
"""

import hashlib

from nacl import bindings

from wice.keys._edwards import edwards_public_key, signing_scalar, verify
from wice.keys._types import PrivateKey, PublicKey

XEDDSA_RANDOMNESS_SIZE = 64
"""Fresh random bytes that go into the nonce of each signature."""

# hash_1 of the specification: 2^256 - 2, little-endian, before the input.
_HASH_1_PREFIX = b"\xfe" + b"\xff" * 31


def xeddsa_sign(private_key: PrivateKey, message: bytes, randomness: bytes) -> bytes:
    """A 64-byte signature of ``message``; ``randomness`` is 64 fresh secret bytes."""
    scalar, point = signing_scalar(private_key)
    return sign_with_scalar(scalar, point, message, randomness)


def xeddsa_verify(public_key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` of ``message`` was made with the private half of ``public_key``."""
    try:
        point = edwards_public_key(public_key)
    except ValueError:
        return False
    return verify(point, message, signature)


def sign_with_scalar(scalar: bytes, point: bytes, message: bytes, randomness: bytes) -> bytes:
    """Sign under ``point`` = ``scalar``·B.

    The nonce hashes the scalar and the message beside the randomness: related keys, as the
    blinded ones of two epochs are, get unrelated nonces even where a generator repeats itself.
    """
    if len(randomness) != XEDDSA_RANDOMNESS_SIZE:
        raise ValueError(f"a signature takes {XEDDSA_RANDOMNESS_SIZE} random bytes")
    nonce = _hash_to_scalar(_HASH_1_PREFIX, scalar, message, randomness)
    commitment = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
    challenge = _hash_to_scalar(commitment, point, message)
    product = bindings.crypto_core_ed25519_scalar_mul(challenge, scalar)
    return commitment + bindings.crypto_core_ed25519_scalar_add(nonce, product)


def _hash_to_scalar(*parts: bytes) -> bytes:
    return bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(b"".join(parts)).digest())
