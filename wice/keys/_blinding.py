"""Rendezvous keys that reveal no public key (DESIGN D7), fixed in docs/reference/keys.md."""

import base64
import binascii
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from nacl import bindings
from nacl.pwhash import argon2id

from wice.errors import RemoteProtocolError
from wice.keys._edwards import edwards_public_key, verify
from wice.keys._types import KEY_SIZE, PublicKey

EPOCH_LENGTH_S = 86_400
"""How long a blinded key is in use; epoch n begins n · 86,400 s after 1970-01-01 UTC."""

EPOCH_MAX = 2**64 - 1

PASSPHRASE_OPSLIMIT = 3
PASSPHRASE_MEMLIMIT_BYTES = 64 * 1024 * 1024
"""Argon2id's cost: 3 passes over 64 MiB with one lane (RFC 9106 section 4)."""

_DHT_NAMESPACE = b"/wice/"
_TOPIC_PREFIX = "/wice/topic/1/"
_LABEL_BLIND = b"wice blind v1"
_LABEL_COMMUNITY = b"wice community v1"
_LABEL_SALT = b"wice community salt v1"


def length_prefixed(*fields: bytes) -> bytes:
    """Each field behind its length as u16 big-endian, so that no two lists encode alike."""
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def epoch_at(wall_time: float) -> int:
    """The epoch of ``wall_time``, in seconds since 1970-01-01 UTC; earlier times are epoch 0."""
    return max(0, int(wall_time // EPOCH_LENGTH_S))


def epochs_to_publish(wall_time: float) -> Sequence[int]:
    """The current epoch and the next, so that a reader whose clock is ahead finds a record."""
    current = epoch_at(wall_time)
    return current, current + 1


def epochs_to_read(wall_time: float) -> Sequence[int]:
    """The current epoch, the next and the one before, in the order worth trying."""
    current = epoch_at(wall_time)
    return (current, current + 1, current - 1) if current else (current, current + 1)


class CommunitySecret:
    """32 bytes that all members of a community share. It never shows itself."""

    __slots__ = ("_is_private", "_raw")

    def __init__(self, raw: bytes, *, is_private: bool) -> None:
        """Take the 32 bytes as they are; ``from_name`` and ``from_passphrase`` make them."""
        if len(raw) != KEY_SIZE:
            raise ValueError(f"a community secret has {KEY_SIZE} bytes, this one has {len(raw)}")
        self._raw = bytes(raw)
        self._is_private = is_private

    @classmethod
    def from_name(cls, name: str) -> Self:
        """Keep communities apart by name alone: who knows the name knows the secret."""
        digest = hashlib.sha512(length_prefixed(_LABEL_COMMUNITY, _canonical(name))).digest()
        return cls(digest[:KEY_SIZE], is_private=False)

    @classmethod
    def from_passphrase(cls, name: str, passphrase: bytes) -> Self:
        """Argon2id of ``passphrase``, salted by the community's name. Takes tens of ms or more.

        The bytes count as they are: who reads them from a file takes off the end of the line.
        Raise ValueError where the passphrase is empty.
        """
        if not passphrase:
            raise ValueError("a community's secret is not empty")
        salt = hashlib.sha512(length_prefixed(_LABEL_SALT, _canonical(name))).digest()
        raw = argon2id.kdf(
            KEY_SIZE,
            passphrase,
            salt[: argon2id.SALTBYTES],
            opslimit=PASSPHRASE_OPSLIMIT,
            memlimit=PASSPHRASE_MEMLIMIT_BYTES,
        )
        return cls(raw, is_private=True)

    @property
    def is_private(self) -> bool:
        """False where the secret is only the community's name, and hides nothing."""
        return self._is_private

    def derive(self, label: bytes, public_key: PublicKey, epoch: int) -> bytes:
        """64 bytes that only members can compute, apart for each label, key and epoch.

        SHA-512 of the length-prefixed label, Edwards form of the key, secret and u64 epoch, all
        big-endian. Raise ValueError for a public key that is no identity.
        """
        fields = (label, edwards_public_key(public_key), self._raw, epoch.to_bytes(8, "big"))
        return hashlib.sha512(length_prefixed(*fields)).digest()

    def derive_key(self, label: bytes) -> bytes:
        """32 bytes that only members can compute, apart for each label.

        The first half of the SHA-512 of the length-prefixed label and secret.
        """
        return hashlib.sha512(length_prefixed(label, self._raw)).digest()[:KEY_SIZE]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CommunitySecret):
            return NotImplemented
        return bindings.sodium_memcmp(self._raw, other._raw)

    def __hash__(self) -> int:
        return hash(self._raw)

    def __repr__(self) -> str:
        return "(community secret hidden)"


@dataclass(frozen=True, slots=True)
class BlindedKey:
    """A peer's public key in one epoch, A' = h·A: 32 bytes, an Ed25519 public key."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_SIZE:
            raise ValueError(f"a blinded key has {KEY_SIZE} bytes, this one has {len(self.raw)}")

    @classmethod
    def from_dht_key(cls, dht_key: bytes) -> Self:
        """Read what ``dht_key`` gives; raise RemoteProtocolError for anything else."""
        text = dht_key.removeprefix(_DHT_NAMESPACE)
        try:
            raw = base64.b64decode(text + b"=", altchars=b"-_", validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) != KEY_SIZE or cls(raw).dht_key() != dht_key:
            raise RemoteProtocolError("not a rendezvous key")
        return cls(raw)

    def dht_key(self) -> bytes:
        """The 49 bytes ``/wice/`` and A' in unpadded base64url."""
        return _DHT_NAMESPACE + self._text()

    def topic(self) -> str:
        """The gossip topic ``/wice/topic/1/`` and A' in unpadded base64url."""
        return _TOPIC_PREFIX + self._text().decode()

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` (``KeyHolder.sign_blinded``) of ``message`` is by this key."""
        return verify(self.raw, message, signature)

    def __bytes__(self) -> bytes:
        return self.raw

    def _text(self) -> bytes:
        return base64.urlsafe_b64encode(self.raw).rstrip(b"=")


def blinding_factor(public_key: PublicKey, community: CommunitySecret, epoch: int) -> bytes:
    """The 32-byte scalar h, never 0; raise ValueError for a public key that is no identity."""
    return _nonzero_scalar(community.derive(_LABEL_BLIND, public_key, epoch))


def blind(public_key: PublicKey, community: CommunitySecret, epoch: int) -> BlindedKey:
    """A' = h·A: where the peer is found in ``epoch`` by who knows its key and the secret.

    Raise ValueError for a public key that is no identity.
    """
    factor = blinding_factor(public_key, community, epoch)
    point = bindings.crypto_scalarmult_ed25519_noclamp(factor, edwards_public_key(public_key))
    return BlindedKey(point)


def _nonzero_scalar(digest: bytes) -> bytes:
    """64 bytes mod q, little-endian; where that is 0, of their SHA-512, until it is not."""
    while True:
        scalar = bindings.crypto_core_ed25519_scalar_reduce(digest)
        if any(scalar):
            return scalar
        digest = hashlib.sha512(digest).digest()


def _canonical(name: str) -> bytes:
    # Two people who type the same name must meet, whichever way their systems compose accents.
    return unicodedata.normalize("NFC", name).encode()
