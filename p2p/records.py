"""Presence records and subscriptions: what a peer says of itself to the overlay.

Both are signed with an epoch key (``wice.keys.EpochSigner``) and are laid out to the byte in
docs/reference/records.md. A stored record shows version, sequence, expiry, epoch and random bytes.

A peer builds one record for each of ``epochs_to_publish`` and puts it under
``signer.blinded_key.dht_key()``. A storing node needs no secret: it calls ``accept_record``. Who
knows the peer's public key and the community's secret calls ``open_record``. What comes from the
network raises RemoteProtocolError and nothing else.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from nacl import bindings
from nacl.exceptions import CryptoError

from wice.errors import RemoteProtocolError
from wice.keys import (
    CERTIFICATE_SIZE_BYTES,
    CLOCK_SKEW_MAX_S,
    KEY_SIZE,
    SIGNATURE_SIZE,
    BlindedKey,
    CommunitySecret,
    EpochSigner,
    PublicKey,
    RandomBytes,
    blind,
    verify_certificate,
)
from wice.proto import record_pb2

RECORD_LIFETIME_S = 6 * 3_600
"""How long a record lives unless told otherwise; put a newer one well before."""

RECORD_LIFETIME_MAX_S = 12 * 3_600
"""The longest a node keeps a record: so long can an old one be played back."""

EXPIRY_GRANULARITY_S = 3_600
"""Expiries are whole hours, so that they do not tell one peer's records from another's."""

ADDRESSES_MAX = 8
"""Addresses in a record, and of each of its anchors."""

ANCHORS_MAX = 4
ADDRESS_SIZE_MAX_BYTES = 128
PEER_ID_SIZE_MAX_BYTES = 64

PADDED_SIZES_BYTES = (1_024, 8_192)
"""What a payload is padded to: the smallest that holds it."""

SUBSCRIPTION_LIFETIME_MAX_S = 3_600
"""The longest an anchor keeps a subscription that is not renewed."""

_VERSION = 1
_HEADER = struct.Struct(">BQQ")
_SEQUENCE_MAX = 2**64 - 1
_NONCE_SIZE = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_TAG_SIZE = bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES
_LENGTH_SIZE = 2
_PAYLOAD_OFFSET = _HEADER.size + CERTIFICATE_SIZE_BYTES + _NONCE_SIZE
_RECORD_SIZES = frozenset(
    _PAYLOAD_OFFSET + padded + _TAG_SIZE + SIGNATURE_SIZE for padded in PADDED_SIZES_BYTES
)
RECORD_SIZE_MAX_BYTES = max(_RECORD_SIZES)

_SUBSCRIPTION = struct.Struct(f">B{KEY_SIZE}sQ{CERTIFICATE_SIZE_BYTES}s{SIGNATURE_SIZE}s")
SUBSCRIPTION_SIZE_BYTES = _SUBSCRIPTION.size

_LABEL_SECRETS = b"wice record secrets v1"
_LABEL_RECORD = b"wice record v1"
_LABEL_SUBSCRIPTION = b"wice subscription v1"


@dataclass(frozen=True, slots=True)
class Node:
    """A libp2p node: its binary peer id, and multiaddrs in text form without ``/p2p``.

    The addresses are printable ASCII that begins with ``/``; whether they are multiaddrs that we
    can dial is for the dialler to find out.
    """

    peer_id: bytes
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Presence:
    """Where a peer's overlay node is, and which anchors take its envelopes, best first."""

    node: Node
    anchors: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifiedRecord:
    """A record whose certificate, signature, time and size were checked. ``raw`` is the whole.

    expiry: seconds since 1970-01-01 UTC, after which it counts for nothing.
    """

    blinded_key: BlindedKey
    epoch: int
    sequence: int
    expiry: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class SubscriptionClaim:
    """Proof that the owner of ``blinded_key`` wants its envelopes until ``expiry`` (UNIX time)."""

    blinded_key: BlindedKey
    expiry: int


def build_record(
    signer: EpochSigner,
    presence: Presence,
    *,
    now_wall: float,
    random_bytes: RandomBytes,
    previous_sequence: int = 0,
    lifetime_s: float = RECORD_LIFETIME_S,
) -> bytes:
    """A signed record of ``presence`` for the signer's epoch.

    The sequence grows with the wall clock, and always above ``previous_sequence``: the one of this
    epoch that we published last, or found in the DHT. ``lifetime_s`` is rounded up to whole hours
    of the clock. Raise ValueError for more or longer fields than the limits of this module, and
    for a lifetime above ``RECORD_LIFETIME_MAX_S``.
    """
    expiry = _expiry_after(now_wall, lifetime_s)
    key, sequence_offset = _secrets(signer.public_key, signer.community, signer.epoch)
    sequence = max(previous_sequence + 1, sequence_offset + math.floor(now_wall * 1_000))
    # What was found in the DHT must not be able to stop us, whoever stole the epoch's key.
    sequence = min(sequence, _SEQUENCE_MAX)
    header = _HEADER.pack(_VERSION, sequence, expiry)
    nonce = random_bytes(_NONCE_SIZE)
    ciphertext = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        _pad(_encode_presence(presence)), header, nonce, key
    )
    body = header + signer.certificate + nonce + ciphertext
    return body + signer.sign(_LABEL_RECORD, body)


def verify_record(dht_key: bytes, record: bytes, now_wall: float) -> VerifiedRecord:
    """Check a record found or offered under ``dht_key``, without any secret.

    Raise RemoteProtocolError where it is forged, expired, of an unknown version or size, expires
    too late, or belongs to another key.
    """
    if len(record) not in _RECORD_SIZES:
        raise RemoteProtocolError("a presence record of the wrong size")
    version, sequence, expiry = _HEADER.unpack_from(record)
    if version != _VERSION:
        raise RemoteProtocolError(f"a presence record of version {version}")
    _check_expiry(expiry, now_wall, RECORD_LIFETIME_MAX_S)
    if expiry % EXPIRY_GRANULARITY_S:
        raise RemoteProtocolError("a presence record that does not expire on the hour")
    blinded_key = BlindedKey.from_dht_key(dht_key)
    body, signature = record[:-SIGNATURE_SIZE], record[-SIGNATURE_SIZE:]
    certificate = verify_certificate(
        body[_HEADER.size : _HEADER.size + CERTIFICATE_SIZE_BYTES], blinded_key, now_wall
    )
    if not certificate.verify(_LABEL_RECORD, body, signature):
        raise RemoteProtocolError("a forged presence record")
    return VerifiedRecord(blinded_key, certificate.epoch, sequence, expiry, record)


def open_record(
    record: VerifiedRecord, public_key: PublicKey, community: CommunitySecret
) -> Presence:
    """Read what ``public_key`` says in its record; raise RemoteProtocolError.

    Raise ValueError for a public key that is no identity.
    """
    if blind(public_key, community, record.epoch) != record.blinded_key:
        raise RemoteProtocolError("a presence record of another peer or epoch")
    key, _ = _secrets(public_key, community, record.epoch)
    nonce_at = _PAYLOAD_OFFSET - _NONCE_SIZE
    try:
        padded = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            record.raw[_PAYLOAD_OFFSET:-SIGNATURE_SIZE],
            record.raw[: _HEADER.size],
            record.raw[nonce_at:_PAYLOAD_OFFSET],
            key,
        )
    except CryptoError:
        raise RemoteProtocolError("a presence record that does not open") from None
    return _decode_presence(_unpad(padded))


def is_newer(record: VerifiedRecord, other: VerifiedRecord) -> bool:
    """Whether ``record`` replaces ``other`` of the same key.

    The higher sequence does; between equal ones the greater bytes, so that all nodes agree.
    """
    return (record.sequence, record.raw) > (other.sequence, other.raw)


def accept_record(
    dht_key: bytes, offered: bytes, held: VerifiedRecord | None, now_wall: float
) -> VerifiedRecord:
    """What a node that holds ``held`` under ``dht_key`` holds after ``offered``.

    Raise RemoteProtocolError where ``offered`` does not verify or is older than what is held; the
    node then keeps what it has. The same record again is accepted. What has expired holds no
    place. Drop records at their ``expiry``.
    """
    record = verify_record(dht_key, offered, now_wall)
    if held is None or held.expiry <= now_wall or held.raw == offered:
        return record
    if not is_newer(record, held):
        raise RemoteProtocolError("a presence record older than the one held")
    return record


def sign_subscription(signer: EpochSigner, anchor_peer_id: bytes, expiry: int) -> bytes:
    """Ask the anchor, and no other, for the envelopes to the signer's key until ``expiry``.

    expiry: UNIX time in seconds, at most ``SUBSCRIPTION_LIFETIME_MAX_S`` ahead.
    """
    signature = signer.sign(_LABEL_SUBSCRIPTION, _subscribed(anchor_peer_id, expiry))
    return _SUBSCRIPTION.pack(
        _VERSION, bytes(signer.blinded_key), expiry, signer.certificate, signature
    )


def verify_subscription(
    subscription: bytes, anchor_peer_id: bytes, now_wall: float
) -> SubscriptionClaim:
    """Check, as the anchor ``anchor_peer_id``, who asks; raise RemoteProtocolError."""
    if len(subscription) != SUBSCRIPTION_SIZE_BYTES:
        raise RemoteProtocolError("a subscription of the wrong size")
    version, point, expiry, certificate, signature = _SUBSCRIPTION.unpack(subscription)
    if version != _VERSION:
        raise RemoteProtocolError(f"a subscription of version {version}")
    _check_expiry(expiry, now_wall, SUBSCRIPTION_LIFETIME_MAX_S)
    verified = verify_certificate(certificate, BlindedKey(point), now_wall)
    if not verified.verify(_LABEL_SUBSCRIPTION, _subscribed(anchor_peer_id, expiry), signature):
        raise RemoteProtocolError("a forged subscription, or one for another anchor")
    return SubscriptionClaim(verified.blinded_key, expiry)


def _subscribed(anchor_peer_id: bytes, expiry: int) -> bytes:
    return expiry.to_bytes(8, "big") + anchor_peer_id


def _expiry_after(now_wall: float, lifetime_s: float) -> int:
    expiry = math.ceil((now_wall + lifetime_s) / EXPIRY_GRANULARITY_S) * EXPIRY_GRANULARITY_S
    if not now_wall < expiry <= now_wall + RECORD_LIFETIME_MAX_S:
        raise ValueError(f"a record lives at most {RECORD_LIFETIME_MAX_S} s")
    return expiry


def _check_expiry(expiry: int, now_wall: float, lifetime_max_s: int) -> None:
    if expiry <= now_wall:
        raise RemoteProtocolError("expired")
    if expiry > now_wall + lifetime_max_s + CLOCK_SKEW_MAX_S:
        raise RemoteProtocolError("expires too far in the future")


def _secrets(public_key: PublicKey, community: CommunitySecret, epoch: int) -> tuple[bytes, int]:
    """The payload's key, and where the sequence of this epoch begins.

    A sequence that went on from one epoch to the next, or was the time itself, would link the
    records of a peer; below 2^62 the offset leaves room for the time in ms.
    """
    derived = community.derive(_LABEL_SECRETS, public_key, epoch)
    return derived[:32], int.from_bytes(derived[32:40], "big") >> 2


def _pad(payload: bytes) -> bytes:
    content = len(payload).to_bytes(_LENGTH_SIZE, "big") + payload
    for size in PADDED_SIZES_BYTES:
        if len(content) <= size:
            return content.ljust(size, b"\0")
    raise ValueError("the presence does not fit into a record")


def _unpad(padded: bytes) -> bytes:
    end = _LENGTH_SIZE + int.from_bytes(padded[:_LENGTH_SIZE], "big")
    if end > len(padded):
        raise RemoteProtocolError("a payload longer than its record")
    return padded[_LENGTH_SIZE:end]


def _encode_presence(presence: Presence) -> bytes:
    for reason in _faults(presence):
        raise ValueError(reason)
    message = record_pb2.Presence(
        peer_id=presence.node.peer_id,
        addresses=presence.node.addresses,
        anchors=[
            record_pb2.Anchor(peer_id=anchor.peer_id, addresses=anchor.addresses)
            for anchor in presence.anchors
        ],
    )
    return message.SerializeToString(deterministic=True)


def _decode_presence(payload: bytes) -> Presence:
    try:
        message = record_pb2.Presence.FromString(payload)
    except DecodeError:
        raise RemoteProtocolError("a presence that does not parse") from None
    presence = Presence(
        Node(message.peer_id, tuple(message.addresses)),
        tuple(Node(anchor.peer_id, tuple(anchor.addresses)) for anchor in message.anchors),
    )
    for reason in _faults(presence):
        raise RemoteProtocolError(reason)
    return presence


def _faults(presence: Presence) -> Sequence[str]:
    """Why ``presence`` breaks the limits of this module; empty where it does not."""
    faults = []
    if len(presence.anchors) > ANCHORS_MAX:
        faults.append("too many anchors")
    for node in (presence.node, *presence.anchors):
        if not 0 < len(node.peer_id) <= PEER_ID_SIZE_MAX_BYTES:
            faults.append("a peer id of a wrong size")
        if len(node.addresses) > ADDRESSES_MAX:
            faults.append("too many addresses")
        if not all(_is_address(address) for address in node.addresses):
            faults.append("an address that is too long or not printable ASCII after a slash")
    return faults


def _is_address(address: str) -> bool:
    return (
        address.startswith("/")
        and len(address) <= ADDRESS_SIZE_MAX_BYTES
        and address.isascii()
        and address.isprintable()
        and " " not in address
    )
