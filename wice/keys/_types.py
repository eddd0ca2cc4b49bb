"""WireGuard's keys as values, and who holds the private one (DESIGN D6)."""

import base64
from dataclasses import dataclass
from functools import total_ordering
from typing import ClassVar, Protocol, Self

from nacl import bindings

KEY_SIZE = 32
"""Bytes in a Curve25519 key and in a preshared key."""


class _Key:
    """32 bytes with the base64 text form of ``wg``."""

    __slots__ = ("_raw",)
    kind: ClassVar[str] = "key"

    def __init__(self, raw: bytes) -> None:
        """Raise ValueError unless ``raw`` has 32 bytes."""
        if len(raw) != KEY_SIZE:
            raise ValueError(f"a {self.kind} has {KEY_SIZE} bytes, this one has {len(raw)}")
        self._raw = bytes(raw)

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """Read the 44 characters that ``wg`` prints; raise ValueError with the reason."""
        if len(text) != 44 or not text.endswith("="):
            raise ValueError(f"a {cls.kind} is 44 characters of base64, this has {len(text)}")
        try:
            raw = base64.b64decode(text, validate=True)
        except ValueError:
            raise ValueError(f"a {cls.kind} is base64, this has other characters") from None
        if base64.b64encode(raw).decode() != text:
            raise ValueError(f"a {cls.kind} is 44 characters of canonical base64")
        return cls(raw)

    def __bytes__(self) -> bytes:
        return self._raw

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bindings.sodium_memcmp(self._raw, other._raw)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._raw))


@total_ordering
class PublicKey(_Key):
    """A peer's identity: its X25519 public key. Ordered by its raw bytes; the smaller controls."""

    __slots__ = ()
    kind = "public key"

    def to_base64(self) -> str:
        return base64.b64encode(self._raw).decode()

    def __lt__(self, other: "PublicKey") -> bool:
        return self._raw < other._raw

    def __str__(self) -> str:
        return self.to_base64()

    def __repr__(self) -> str:
        return f"PublicKey({self.to_base64()!r})"


class _SecretKey(_Key):
    """A key that shows itself only when asked by name."""

    __slots__ = ()

    def reveal_base64(self) -> str:
        """The secret in ``wg``'s text form. Never log the result."""
        return base64.b64encode(self._raw).decode()

    def __str__(self) -> str:
        return f"({self.kind} hidden)"

    __repr__ = __str__


class PresharedKey(_SecretKey):
    """WireGuard's optional symmetric key between two peers."""

    __slots__ = ()
    kind = "preshared key"


class PrivateKey(_SecretKey):
    """An X25519 private key, clamped when made (RFC 7748 section 5)."""

    __slots__ = ()
    kind = "private key"

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        clamped = bytearray(self._raw)
        clamped[0] &= 248
        clamped[31] = (clamped[31] & 127) | 64
        self._raw = bytes(clamped)

    def public_key(self) -> PublicKey:
        return PublicKey(bindings.crypto_scalarmult_base(self._raw))


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Names a relation: our public key and theirs. ``theirs=ANY`` is the wildcard sender."""

    ours: PublicKey
    theirs: PublicKey


ANY = PublicKey(bytes(KEY_SIZE))
"""The wildcard in ``KeyPair.theirs``: any sender."""


class KeyHolder(Protocol):
    """Does what needs the private key, so that who talks to strangers need not hold it."""

    @property
    def public_key(self) -> PublicKey: ...

    def seal(self, recipient: PublicKey, plaintext: bytes, nonce: bytes) -> bytes:
        """NaCl box (MAC || ciphertext) from us to ``recipient`` under a 24-byte nonce."""
        ...

    def open(self, sender: PublicKey, ciphertext: bytes, nonce: bytes) -> bytes:
        """Open a box that ``sender`` sealed for us; raise EnvelopeError."""
        ...

    def open_sealed(self, ciphertext: bytes) -> bytes:
        """Open an anonymous sealed box for us; raise EnvelopeError."""
        ...

    def sign_blinded(self, blinding_factor: bytes, message: bytes) -> bytes:
        """XEdDSA signature by a' = h·a (DESIGN D7); the factor h is a 32-byte scalar."""
        ...
