"""Signaling: envelopes, what is inside them, and the session that hears it."""

from pathlib import Path
from random import Random

from tests.fuzz.mutation import PROTOBUF
from tests.fuzz.target import Case, Target
from wice.errors import EnvelopeError
from wice.keys import KeyPair, LocalKeyHolder, PrivateKey, seal_anonymous
from wice.proto import signaling_pb2
from wice.signaling.description import (
    Acknowledgement,
    Description,
    SessionMessage,
    decode_message,
    encode_message,
    tai64n,
)
from wice.signaling.envelope import (
    MESSAGE_SIZE_MAX_BYTES,
    Opened,
    open_envelope,
    open_inner,
    seal,
    seal_inner,
)
from wice.signaling.session import HEARD_SESSIONS_MAX, LocalSessionStarted, Session

RANDOM = Random(1)
ALICE = LocalKeyHolder(PrivateKey(bytes(range(32))), RANDOM.randbytes)
BOB = LocalKeyHolder(PrivateKey(bytes(range(1, 33))), RANDOM.randbytes)
OF_ALICE = KeyPair(BOB.public_key, ALICE.public_key)

DESCRIPTION = Description(
    ufrag="abcdefgh",
    password="p" * 24,
    candidates=("1 1 udp 2130706431 192.0.2.1 51820 typ host",) * 3,
    end_of_candidates=True,
    options=("mapping=endpoint-independent",),
)


def message_of(session: bytes, version: int = 1, heard: Acknowledgement | None = None) -> bytes:
    return encode_message(
        SessionMessage(
            session_id=session,
            version=version,
            acknowledged=heard,
            bound=heard is not None,
            acknowledgement_wanted=True,
            timestamp=tai64n(1_700_000_000.0 + version),
            description=DESCRIPTION,
        )
    )


MESSAGES = (message_of(b"a" * 16), message_of(b"b" * 16, 7, Acknowledgement(b"o" * 16, 1)))


def within_limits(opened: Opened) -> None:
    assert opened.key_pair == OF_ALICE
    assert len(opened.message) <= MESSAGE_SIZE_MAX_BYTES


def outer(_: Path) -> Case:
    samples = [seal(ALICE, BOB.public_key, text, RANDOM.randbytes) for text in (b"hello", b"")]
    return Case(samples, lambda data: within_limits(open_envelope(BOB, data)))


def inner(_: Path) -> Case:
    """What anyone can put into a sealed box."""
    samples = [seal_inner(ALICE, BOB.public_key, text, RANDOM.randbytes) for text in MESSAGES]

    def receive(data: bytes) -> None:
        box = seal_anonymous(BOB.public_key, data[:16_000], RANDOM.randbytes)
        envelope = signaling_pb2.SealedEnvelope(version=1, sealed_box=box)
        within_limits(open_envelope(BOB, envelope.SerializeToString()))

    return Case(samples, receive)


def boxed(_: Path) -> Case:
    """What a peer can put into its box."""
    sample = signaling_pb2.BoxedMessage(
        version=1,
        sender=bytes(ALICE.public_key),
        recipient=bytes(BOB.public_key),
        message=MESSAGES[0],
    ).SerializeToString()

    def receive(data: bytes) -> None:
        nonce = RANDOM.randbytes(24)
        body = ALICE.seal(BOB.public_key, data[:16_000], nonce)
        envelope = signaling_pb2.Envelope(
            sender=bytes(ALICE.public_key),
            recipient=bytes(BOB.public_key),
            contents=signaling_pb2.EncryptedMessage(body=body, nonce=nonce),
        )
        within_limits(open_inner(BOB, envelope.SerializeToString()))

    return Case([sample], receive)


def session_message(_: Path) -> Case:
    def read(data: bytes) -> None:
        message = decode_message(data)
        assert decode_message(encode_message(message)) == message

    return Case(MESSAGES, read)


class SessionUnderFire:
    """A session whose peer says whatever it likes; messages are meant for the newest session."""

    def __init__(self) -> None:
        self.now = 0.0
        self.random = Random(1)
        self.session = Session(
            random_bytes=self.random.randbytes, wall_time=lambda: 1_700_000_000.0, now=0.0
        )
        self.drain()

    def drain(self) -> None:
        for _ in range(64):
            event = self.session.poll_event()
            if isinstance(event, LocalSessionStarted):
                ufrag = self.random.randbytes(6).hex()
                self.session.set_local(Description(ufrag, "q" * 24), self.now)
            if event is None and self.session.poll_transmit() is None:
                return
        raise AssertionError("a session that never comes to rest")

    def receive(self, data: bytes) -> None:
        self.now += 0.25
        # A mutation cannot know the random id that it has to echo.
        data = data.replace(b"o" * 16, self.session.session_id)
        try:
            self.session.receive(data, self.now)
        finally:
            self.drain()
            self.session.handle_timeout(self.now)
            self.drain()

    def check(self) -> None:
        assert len(self.session._heard) <= HEARD_SESSIONS_MAX
        self.now += 600.0
        newcomer = self.random.randbytes(16)
        self.receive(message_of(newcomer, 2**31))
        self.now += 600.0
        self.receive(message_of(newcomer, 2**31 + 1, Acknowledgement(b"o" * 16, 1)))
        bound = self.session._newest.bound_to
        assert bound is not None and bound.id == newcomer


def session(_: Path) -> Case:
    fire = SessionUnderFire()
    return Case(MESSAGES, fire.receive, fire.check)


TARGETS = (
    Target("envelope, outer", outer, errors=(EnvelopeError,), changes=PROTOBUF),
    Target("envelope, inner", inner, errors=(EnvelopeError,), changes=PROTOBUF),
    Target("envelope, box of a peer", boxed, errors=(EnvelopeError,), changes=PROTOBUF),
    Target("session message", session_message, changes=PROTOBUF),
    Target("session, a hostile peer", session, changes=PROTOBUF),
)
