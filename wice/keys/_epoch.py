"""The key that signs for one epoch, certified by the blinded key (DESIGN D7).

A certificate is 105 bytes, integers big-endian: u8 version 1, u64 epoch, the epoch's Ed25519
public key (32), and the signature (64) by the blinded key over the length-prefixed label
``wice epoch certificate v1``, the blinded key and the bytes before the signature. The blinded key
itself is not in it: who has a certificate has it from elsewhere.
"""

import struct
from dataclasses import dataclass

from nacl import bindings

from wice.errors import RemoteProtocolError
from wice.keys._blinding import (
    EPOCH_LENGTH_S,
    BlindedKey,
    CommunitySecret,
    blind,
    blinding_factor,
    length_prefixed,
)
from wice.keys._edwards import SIGNATURE_SIZE, verify
from wice.keys._random import RandomBytes
from wice.keys._types import KeyHolder, PublicKey

CLOCK_SKEW_MAX_S = 600
"""How far a node's clock and a peer's may differ before honest statements are refused."""

_VERSION = 1
_BODY = struct.Struct(">BQ32s")
CERTIFICATE_SIZE_BYTES = _BODY.size + SIGNATURE_SIZE
_LABEL_CERTIFICATE = b"wice epoch certificate v1"


@dataclass(frozen=True, slots=True)
class EpochCertificate:
    """A verified statement of ``blinded_key``: in ``epoch``, ``epoch_key`` (Ed25519) signs."""

    blinded_key: BlindedKey
    epoch: int
    epoch_key: bytes

    def verify(self, label: bytes, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is ``EpochSigner.sign(label, message)`` of that signer."""
        return verify(self.epoch_key, _signed(label, self.blinded_key, message), signature)


def verify_certificate(
    certificate: bytes, blinded_key: BlindedKey, now_wall: float
) -> EpochCertificate:
    """Check 105 bytes without any secret.

    Valid from one epoch before its own to the end of the one after, give or take
    ``CLOCK_SKEW_MAX_S``. Raise RemoteProtocolError.
    """
    if len(certificate) != CERTIFICATE_SIZE_BYTES:
        raise RemoteProtocolError("an epoch certificate of the wrong size")
    body, signature = certificate[: _BODY.size], certificate[_BODY.size :]
    version, epoch, epoch_key = _BODY.unpack(body)
    if version != _VERSION:
        raise RemoteProtocolError(f"an epoch certificate of version {version}")
    starts_at = (epoch - 1) * EPOCH_LENGTH_S - CLOCK_SKEW_MAX_S
    ends_at = (epoch + 2) * EPOCH_LENGTH_S + CLOCK_SKEW_MAX_S
    if not starts_at <= now_wall < ends_at:
        raise RemoteProtocolError("an epoch certificate out of its time")
    if not blinded_key.verify(_signed(_LABEL_CERTIFICATE, blinded_key, body), signature):
        raise RemoteProtocolError("a forged epoch certificate")
    return EpochCertificate(blinded_key, epoch, epoch_key)


class EpochSigner:
    """Signs for one peer in one epoch with a random Ed25519 key of its own.

    The private key is asked once, for the certificate. Raise ValueError where the holder's public
    key is no identity.
    """

    def __init__(
        self,
        key_holder: KeyHolder,
        community: CommunitySecret,
        epoch: int,
        random_bytes: RandomBytes,
    ) -> None:
        self.public_key: PublicKey = key_holder.public_key
        self.community = community
        self.epoch = epoch
        self.blinded_key: BlindedKey = blind(self.public_key, community, epoch)
        epoch_key, self._secret_key = bindings.crypto_sign_seed_keypair(
            random_bytes(bindings.crypto_sign_SEEDBYTES)
        )
        body = _BODY.pack(_VERSION, epoch, epoch_key)
        signature = key_holder.sign_blinded(
            blinding_factor(self.public_key, community, epoch),
            _signed(_LABEL_CERTIFICATE, self.blinded_key, body),
        )
        self.certificate: bytes = body + signature

    def sign(self, label: bytes, message: bytes) -> bytes:
        """A 64-byte signature of ``message`` for the purpose ``label``, at most 65,535 bytes."""
        signed = bindings.crypto_sign(_signed(label, self.blinded_key, message), self._secret_key)
        return signed[:SIGNATURE_SIZE]

    def __repr__(self) -> str:
        return f"EpochSigner(epoch={self.epoch})"


def _signed(label: bytes, blinded_key: BlindedKey, message: bytes) -> bytes:
    return length_prefixed(label, bytes(blinded_key), message)
