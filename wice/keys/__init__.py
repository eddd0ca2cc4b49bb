"""Identity: WireGuard's key pair, and what is derived from it (DESIGN D6, D7)."""

from wice.keys._types import (
    ANY,
    KEY_SIZE,
    KeyHolder,
    KeyPair,
    PresharedKey,
    PrivateKey,
    PublicKey,
)

__all__ = [
    "ANY",
    "KEY_SIZE",
    "KeyHolder",
    "KeyPair",
    "PresharedKey",
    "PrivateKey",
    "PublicKey",
]
