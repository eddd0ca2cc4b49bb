"""Identity: WireGuard's key pair, and what is derived from it (DESIGN D6, D7)."""

from wice.keys._blinding import (
    EPOCH_LENGTH_S,
    BlindedKey,
    CommunitySecret,
    blind,
    blinding_factor,
    epoch_at,
    epochs_to_publish,
    epochs_to_read,
    length_prefixed,
)
from wice.keys._edwards import SIGNATURE_SIZE, edwards_public_key, is_valid_identity
from wice.keys._epoch import (
    CERTIFICATE_SIZE_BYTES,
    CLOCK_SKEW_MAX_S,
    EpochCertificate,
    EpochSigner,
    verify_certificate,
)
from wice.keys._holder import NONCE_SIZE, SHARED_KEYS_MAX, LocalKeyHolder, seal_anonymous
from wice.keys._random import RandomBytes
from wice.keys._types import (
    ANY,
    KEY_SIZE,
    KeyHolder,
    KeyPair,
    PresharedKey,
    PrivateKey,
    PublicKey,
)
from wice.keys._xeddsa import XEDDSA_RANDOMNESS_SIZE, xeddsa_sign, xeddsa_verify

__all__ = [
    "ANY",
    "CERTIFICATE_SIZE_BYTES",
    "CLOCK_SKEW_MAX_S",
    "EPOCH_LENGTH_S",
    "KEY_SIZE",
    "NONCE_SIZE",
    "SHARED_KEYS_MAX",
    "SIGNATURE_SIZE",
    "XEDDSA_RANDOMNESS_SIZE",
    "BlindedKey",
    "CommunitySecret",
    "EpochCertificate",
    "EpochSigner",
    "KeyHolder",
    "KeyPair",
    "LocalKeyHolder",
    "PresharedKey",
    "PrivateKey",
    "PublicKey",
    "RandomBytes",
    "blind",
    "blinding_factor",
    "edwards_public_key",
    "epoch_at",
    "epochs_to_publish",
    "epochs_to_read",
    "is_valid_identity",
    "length_prefixed",
    "seal_anonymous",
    "verify_certificate",
    "xeddsa_sign",
    "xeddsa_verify",
]
