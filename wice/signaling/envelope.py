"""Envelopes: a message sealed from one public key to another (DESIGN D8).

Two layers, both in docs/reference/signaling.md to the byte:

- the *inner* envelope names sender and recipient in clear and holds a NaCl box under their
  WireGuard keys. The box authenticates both, and repeats both inside: its key is the same in either
  direction, so without that it could be reflected to its sender.
- the *outer* envelope is an anonymous sealed box to the recipient around the inner one. Whoever
  carries it learns the recipient's rendezvous, but not who writes.

There is no forward secrecy: who gets a recipient's private key opens what was recorded before.
"""

from typing import NamedTuple

from google.protobuf.message import DecodeError

from wice.errors import EnvelopeError, LocalProtocolError
from wice.keys import (
    ANY,
    KEY_SIZE,
    NONCE_SIZE,
    KeyHolder,
    KeyPair,
    PublicKey,
    RandomBytes,
    seal_anonymous,
)
from wice.proto import signaling_pb2
from wice.signaling.transport import ENVELOPE_SIZE_MAX_BYTES

ENVELOPE_VERSION = 1
"""Of the outer envelope."""

BOXED_MESSAGE_VERSION = 1
"""Of what is inside the box."""

ENVELOPE_OVERHEAD_MAX_BYTES = 512
"""What both layers add to a message; they take about half of it."""

MESSAGE_SIZE_MAX_BYTES = ENVELOPE_SIZE_MAX_BYTES - ENVELOPE_OVERHEAD_MAX_BYTES
"""The largest message that an envelope takes."""


class Opened(NamedTuple):
    """What was in an envelope. ``key_pair.theirs`` proved to be the sender.

    nonce: unique to the sealing, so a second copy of the same envelope shows by it.
    """

    key_pair: KeyPair
    message: bytes
    nonce: bytes


def seal(
    key_holder: KeyHolder, recipient: PublicKey, message: bytes, random_bytes: RandomBytes
) -> bytes:
    """The outer envelope around ``message``, from ``key_holder`` to ``recipient``.

    Raise LocalProtocolError for a message that is too large or a recipient that cannot be one.
    """
    inner = seal_inner(key_holder, recipient, message, random_bytes)
    sealed = signaling_pb2.SealedEnvelope(
        version=ENVELOPE_VERSION, sealed_box=seal_anonymous(recipient, inner, random_bytes)
    ).SerializeToString()
    assert len(sealed) <= ENVELOPE_SIZE_MAX_BYTES
    return sealed


def open_envelope(key_holder: KeyHolder, envelope: bytes) -> Opened:
    """Open an outer envelope addressed to ``key_holder``; raise EnvelopeError."""
    _check_size(envelope)
    sealed = signaling_pb2.SealedEnvelope()
    _parse(sealed, envelope)
    if sealed.version != ENVELOPE_VERSION:
        raise EnvelopeError(f"an envelope of version {sealed.version}")
    return open_inner(key_holder, key_holder.open_sealed(sealed.sealed_box))


def seal_inner(
    key_holder: KeyHolder, recipient: PublicKey, message: bytes, random_bytes: RandomBytes
) -> bytes:
    """The inner envelope alone, which shows sender and recipient; raise LocalProtocolError."""
    if len(message) > MESSAGE_SIZE_MAX_BYTES:
        raise LocalProtocolError(
            f"a message has at most {MESSAGE_SIZE_MAX_BYTES} bytes, this one {len(message)}"
        )
    sender = key_holder.public_key
    if recipient in (ANY, sender):
        raise LocalProtocolError("a message goes to one other public key")
    boxed = signaling_pb2.BoxedMessage(
        version=BOXED_MESSAGE_VERSION,
        sender=bytes(sender),
        recipient=bytes(recipient),
        message=message,
    ).SerializeToString()
    nonce = random_bytes(NONCE_SIZE)
    try:
        body = key_holder.seal(recipient, boxed, nonce)
    except ValueError as error:
        raise LocalProtocolError(f"no box for {recipient}: {error}") from None
    return signaling_pb2.Envelope(
        sender=bytes(sender),
        recipient=bytes(recipient),
        contents=signaling_pb2.EncryptedMessage(body=body, nonce=nonce),
    ).SerializeToString()


def open_inner(key_holder: KeyHolder, envelope: bytes) -> Opened:
    """Open an inner envelope addressed to ``key_holder``; raise EnvelopeError.

    Inside and outside must name the same two keys, or it was reflected or put together anew.
    """
    _check_size(envelope)
    outside = signaling_pb2.Envelope()
    _parse(outside, envelope)
    ours = key_holder.public_key
    if outside.recipient != bytes(ours):
        raise EnvelopeError("an envelope for someone else")
    if len(outside.sender) != KEY_SIZE:
        raise EnvelopeError("an envelope without a sender's public key")
    theirs = PublicKey(outside.sender)
    if theirs in (ANY, ours):
        raise EnvelopeError("an envelope that names no other public key as its sender")
    nonce = outside.contents.nonce
    if len(nonce) != NONCE_SIZE:
        raise EnvelopeError(f"the nonce of a box has {NONCE_SIZE} bytes")
    inside = signaling_pb2.BoxedMessage()
    _parse(inside, key_holder.open(theirs, outside.contents.body, nonce))
    if inside.version != BOXED_MESSAGE_VERSION:
        raise EnvelopeError(f"a boxed message of version {inside.version}")
    if inside.sender != outside.sender or inside.recipient != outside.recipient:
        raise EnvelopeError("an envelope that names other keys inside than outside")
    if len(inside.message) > MESSAGE_SIZE_MAX_BYTES:
        raise EnvelopeError("a message that is too large")
    return Opened(KeyPair(ours, theirs), inside.message, nonce)


def _check_size(envelope: bytes) -> None:
    if len(envelope) > ENVELOPE_SIZE_MAX_BYTES:
        raise EnvelopeError(f"an envelope has at most {ENVELOPE_SIZE_MAX_BYTES} bytes")


def _parse(
    message: signaling_pb2.SealedEnvelope | signaling_pb2.Envelope | signaling_pb2.BoxedMessage,
    data: bytes,
) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise EnvelopeError(f"not a {type(message).__name__}") from None
