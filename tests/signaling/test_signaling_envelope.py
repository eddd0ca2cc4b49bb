"""Envelopes open for whom they are, say who sent them, and nothing else gets through."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wice.errors import EnvelopeError, LocalProtocolError
from wice.keys import ANY, KeyPair, LocalKeyHolder, PrivateKey, PublicKey, seal_anonymous
from wice.proto import signaling_pb2
from wice.signaling.envelope import (
    MESSAGE_SIZE_MAX_BYTES,
    open_envelope,
    open_inner,
    seal,
    seal_inner,
)
from wice.signaling.transport import ENVELOPE_SIZE_MAX_BYTES

RANDOM = Random(3)
ALICE, BOB, EVE = (
    LocalKeyHolder(PrivateKey(RANDOM.randbytes(32)), RANDOM.randbytes) for _ in range(3)
)
LAYERS = [(seal, open_envelope), (seal_inner, open_inner)]
ENVELOPE = seal(ALICE, BOB.public_key, b"message", RANDOM.randbytes)
INNER = seal_inner(ALICE, BOB.public_key, b"message", RANDOM.randbytes)


def parse(inner: bytes = INNER) -> signaling_pb2.Envelope:
    return signaling_pb2.Envelope.FromString(inner)


def box(
    sender: LocalKeyHolder, recipient: PublicKey, boxed: signaling_pb2.BoxedMessage
) -> signaling_pb2.Envelope:
    """An envelope with a box of the test's own making."""
    nonce = RANDOM.randbytes(24)
    body = sender.seal(recipient, boxed.SerializeToString(), nonce)
    return signaling_pb2.Envelope(
        sender=bytes(sender.public_key),
        recipient=bytes(recipient),
        contents=signaling_pb2.EncryptedMessage(body=body, nonce=nonce),
    )


def boxed(sender: PublicKey, recipient: PublicKey, version: int = 1) -> signaling_pb2.BoxedMessage:
    return signaling_pb2.BoxedMessage(
        version=version, sender=bytes(sender), recipient=bytes(recipient), message=b"message"
    )


@pytest.mark.parametrize(("do_seal", "do_open"), LAYERS)
@given(message=st.binary(max_size=2_000))
def test_the_recipient_gets_the_message_and_its_sender(
    do_seal: Callable[..., bytes], do_open: Callable[..., tuple[object, ...]], message: bytes
) -> None:
    envelope = do_seal(ALICE, BOB.public_key, message, RANDOM.randbytes)
    key_pair, opened, _ = do_open(BOB, envelope)
    assert (key_pair, opened) == (KeyPair(BOB.public_key, ALICE.public_key), message)


def test_the_largest_message_fits_and_a_larger_one_is_our_error() -> None:
    largest = RANDOM.randbytes(MESSAGE_SIZE_MAX_BYTES)
    envelope = seal(ALICE, BOB.public_key, largest, RANDOM.randbytes)
    assert len(envelope) <= ENVELOPE_SIZE_MAX_BYTES
    assert open_envelope(BOB, envelope).message == largest
    with pytest.raises(LocalProtocolError):
        seal(ALICE, BOB.public_key, largest + b"x", RANDOM.randbytes)


@pytest.mark.parametrize("recipient", [ANY, ALICE.public_key, PublicKey(b"\1" + bytes(31))])
def test_some_keys_cannot_be_recipients(recipient: PublicKey) -> None:
    with pytest.raises(LocalProtocolError):
        seal(ALICE, recipient, b"message", RANDOM.randbytes)


@pytest.mark.parametrize("holder", [ALICE, EVE])
def test_nobody_else_opens_it(holder: LocalKeyHolder) -> None:
    with pytest.raises(EnvelopeError):
        open_envelope(holder, ENVELOPE)
    with pytest.raises(EnvelopeError, match="someone else"):
        open_inner(holder, INNER)


def test_reflection_is_refused() -> None:
    """The box opens for its own sender: both directions have one key."""
    reflected = parse()
    reflected.sender, reflected.recipient = reflected.recipient, reflected.sender
    contents = reflected.contents
    assert ALICE.open(BOB.public_key, contents.body, contents.nonce)
    with pytest.raises(EnvelopeError, match="other keys inside"):
        open_inner(ALICE, reflected.SerializeToString())
    outer = signaling_pb2.SealedEnvelope(
        version=1,
        sealed_box=seal_anonymous(
            ALICE.public_key, reflected.SerializeToString(), RANDOM.randbytes
        ),
    )
    with pytest.raises(EnvelopeError, match="other keys inside"):
        open_envelope(ALICE, outer.SerializeToString())


@pytest.mark.parametrize(
    ("sender", "recipient"),
    [(EVE, BOB), (ALICE, EVE), (BOB, ALICE), (EVE, EVE)],
)
def test_inside_and_outside_must_name_the_same_keys(
    sender: LocalKeyHolder, recipient: LocalKeyHolder
) -> None:
    envelope = box(ALICE, BOB.public_key, boxed(sender.public_key, recipient.public_key))
    with pytest.raises(EnvelopeError, match="other keys inside"):
        open_inner(BOB, envelope.SerializeToString())


def test_a_sender_cannot_be_claimed() -> None:
    envelope = box(EVE, BOB.public_key, boxed(ALICE.public_key, BOB.public_key))
    envelope.sender = bytes(ALICE.public_key)
    with pytest.raises(EnvelopeError):
        open_inner(BOB, envelope.SerializeToString())


@pytest.mark.parametrize("sender", [b"", b"short", bytes(32), bytes(BOB.public_key)])
def test_a_sender_is_another_public_key(sender: bytes) -> None:
    envelope = parse()
    envelope.sender = sender
    with pytest.raises(EnvelopeError):
        open_inner(BOB, envelope.SerializeToString())


def test_other_versions_are_refused() -> None:
    outer = signaling_pb2.SealedEnvelope.FromString(ENVELOPE)
    outer.version = 2
    with pytest.raises(EnvelopeError, match="version 2"):
        open_envelope(BOB, outer.SerializeToString())
    inner = box(ALICE, BOB.public_key, boxed(ALICE.public_key, BOB.public_key, version=2))
    with pytest.raises(EnvelopeError, match="version 2"):
        open_inner(BOB, inner.SerializeToString())


def test_unknown_fields_are_ignored() -> None:
    unknown = b"\x98\x06\x2a"
    inner = box(
        ALICE,
        BOB.public_key,
        signaling_pb2.BoxedMessage.FromString(
            boxed(ALICE.public_key, BOB.public_key).SerializeToString() + unknown
        ),
    )
    assert open_inner(BOB, inner.SerializeToString() + unknown).message == b"message"
    assert open_envelope(BOB, ENVELOPE + unknown).message == b"message"


def test_each_sealing_has_its_own_nonce_and_copies_share_it() -> None:
    again = seal(ALICE, BOB.public_key, b"message", RANDOM.randbytes)
    first = open_envelope(BOB, ENVELOPE)
    assert first.nonce == open_envelope(BOB, ENVELOPE + b"\x98\x06\x2a").nonce
    assert first.nonce != open_envelope(BOB, again).nonce


def test_too_large_is_refused_unread() -> None:
    with pytest.raises(EnvelopeError, match="at most"):
        open_envelope(BOB, bytes(ENVELOPE_SIZE_MAX_BYTES + 1))
    with pytest.raises(EnvelopeError, match="at most"):
        open_inner(BOB, bytes(ENVELOPE_SIZE_MAX_BYTES + 1))


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """``data`` cut, spliced and with bytes changed."""
    mutated = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(mutated)))
        end = draw(st.integers(start, min(len(mutated), start + 40)))
        mutated[start:end] = draw(st.binary(max_size=8) | st.just(bytes(mutated[start:end]) * 2))
    return bytes(mutated)


@given(mutated=mutations(ENVELOPE))
def test_fuzz_outer(mutated: bytes) -> None:
    check_refused_or_same(open_envelope, mutated)


@given(mutated=mutations(INNER))
def test_fuzz_inner(mutated: bytes) -> None:
    check_refused_or_same(open_inner, mutated)


@given(mutated=mutations(INNER))
def test_fuzz_what_a_stranger_seals(mutated: bytes) -> None:
    """Anyone can make a sealed box around anything."""
    outer = signaling_pb2.SealedEnvelope(
        version=1, sealed_box=seal_anonymous(BOB.public_key, mutated, RANDOM.randbytes)
    )
    check_refused_or_same(open_envelope, outer.SerializeToString())


@given(
    mutated=mutations(boxed(ALICE.public_key, BOB.public_key).SerializeToString()),
)
def test_fuzz_what_a_peer_boxes(mutated: bytes) -> None:
    nonce = RANDOM.randbytes(24)
    envelope = parse()
    envelope.contents.nonce = nonce
    envelope.contents.body = ALICE.seal(BOB.public_key, mutated, nonce)
    try:
        opened = open_inner(BOB, envelope.SerializeToString())
    except EnvelopeError:
        return
    assert opened.key_pair == KeyPair(BOB.public_key, ALICE.public_key)


def check_refused_or_same(do_open: Callable[..., tuple[object, ...]], data: bytes) -> None:
    try:
        opened = do_open(BOB, data)
    except EnvelopeError:
        return
    assert opened[:2] == (KeyPair(BOB.public_key, ALICE.public_key), b"message")
