"""The key holder that has the private key in its own memory (DESIGN D6)."""

import hashlib
from collections import OrderedDict

from nacl import bindings
from nacl.exceptions import CryptoError

from wice.errors import EnvelopeError
from wice.keys._edwards import is_nonzero_scalar, signing_scalar
from wice.keys._random import RandomBytes
from wice.keys._types import KeyHolder, PrivateKey, PublicKey
from wice.keys._xeddsa import XEDDSA_RANDOMNESS_SIZE, sign_with_scalar

NONCE_SIZE = 24
"""Bytes in the nonce of a NaCl box."""

SHARED_KEYS_MAX = 1_024
"""Shared keys kept between boxes; the one unused longest goes first."""


class LocalKeyHolder(KeyHolder):
    """A ``KeyHolder`` over a private key in this process.

    random_bytes: gives that many bytes fit for nonces (``Platform.random_bytes``).
    """

    def __init__(self, private_key: PrivateKey, random_bytes: RandomBytes) -> None:
        self._private_key = private_key
        self._public_key = private_key.public_key()
        self._random_bytes = random_bytes
        self._scalar, self._point = signing_scalar(private_key)
        self._shared_keys: OrderedDict[PublicKey, bytes] = OrderedDict()

    @property
    def public_key(self) -> PublicKey:
        return self._public_key

    def seal(self, recipient: PublicKey, plaintext: bytes, nonce: bytes) -> bytes:
        """NaCl box (MAC || ciphertext) from us to ``recipient`` under a 24-byte nonce.

        Raise ValueError for a recipient of low order, or a nonce of another size.
        """
        shared_key = self._shared_key(recipient)
        self._remember(recipient, shared_key)
        return bindings.crypto_box_easy_afternm(plaintext, nonce, shared_key)

    def open(self, sender: PublicKey, ciphertext: bytes, nonce: bytes) -> bytes:
        """Open a box that ``sender`` sealed for us; raise EnvelopeError."""
        try:
            shared_key = self._shared_key(sender)
            plaintext = bindings.crypto_box_open_easy_afternm(ciphertext, nonce, shared_key)
        # ValueError is that of a sender of low order.
        except (CryptoError, ValueError):
            raise EnvelopeError("the box does not open") from None
        # Only a sender that proved itself is worth a place.
        self._remember(sender, shared_key)
        return plaintext

    def open_sealed(self, ciphertext: bytes) -> bytes:
        """Open an anonymous sealed box for us; raise EnvelopeError."""
        try:
            return bindings.crypto_box_seal_open(
                ciphertext, bytes(self._public_key), bytes(self._private_key)
            )
        except CryptoError:
            raise EnvelopeError("the sealed box does not open") from None

    def sign_blinded(self, blinding_factor: bytes, message: bytes) -> bytes:
        """XEdDSA signature by a' = h·a (DESIGN D7); the factor h is a 32-byte scalar.

        Raise ValueError for a factor that is 0 or not reduced mod q.
        """
        if not is_nonzero_scalar(blinding_factor):
            raise ValueError("a blinding factor is a reduced scalar and not 0")
        scalar = bindings.crypto_core_ed25519_scalar_mul(blinding_factor, self._scalar)
        point = bindings.crypto_scalarmult_ed25519_noclamp(blinding_factor, self._point)
        return sign_with_scalar(scalar, point, message, self._random_bytes(XEDDSA_RANDOMNESS_SIZE))

    def __repr__(self) -> str:
        return f"LocalKeyHolder({self._public_key.to_base64()!r})"

    def _shared_key(self, other: PublicKey) -> bytes:
        cached = self._shared_keys.get(other)
        if cached is not None:
            return cached
        try:
            return bindings.crypto_box_beforenm(bytes(other), bytes(self._private_key))
        except CryptoError:
            raise ValueError("the public key is of low order") from None

    def _remember(self, other: PublicKey, shared_key: bytes) -> None:
        self._shared_keys[other] = shared_key
        self._shared_keys.move_to_end(other)
        if len(self._shared_keys) > SHARED_KEYS_MAX:
            self._shared_keys.popitem(last=False)


def seal_anonymous(recipient: PublicKey, plaintext: bytes, random_bytes: RandomBytes) -> bytes:
    """A sealed box that only ``recipient`` opens (``KeyHolder.open_sealed``) and names no sender.

    libsodium's ``crypto_box_seal``, with the ephemeral key from ``random_bytes``. Raise ValueError
    for a recipient of low order.
    """
    ephemeral = PrivateKey(random_bytes(bindings.crypto_box_SECRETKEYBYTES))
    ephemeral_public = bytes(ephemeral.public_key())
    nonce = hashlib.blake2b(ephemeral_public + bytes(recipient), digest_size=NONCE_SIZE).digest()
    try:
        box = bindings.crypto_box_easy(plaintext, nonce, bytes(recipient), bytes(ephemeral))
    except CryptoError:
        raise ValueError("the public key is of low order") from None
    return ephemeral_public + box
