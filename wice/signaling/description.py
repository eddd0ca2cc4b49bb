"""The message dialect ``wice``: one idempotent message of a session (DESIGN D9).

It says everything each time: who speaks (session and version), what was heard (the
acknowledgement), and the whole description for ICE. Any copy of it may be lost, doubled or
overtaken. Its bytes are in docs/reference/signaling.md.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from google.protobuf.message import DecodeError

from wice.errors import RemoteProtocolError
from wice.proto import signaling_pb2
from wice.signaling.envelope import MESSAGE_SIZE_MAX_BYTES

FORMAT_VERSION = 1
"""Of the message's format; another one is refused."""

SESSION_ID_SIZE_BYTES = 16
"""Random, so that nobody echoes a session that he did not hear of."""

VERSION_MAX = 2**32 - 1
"""The field is 32 bits wide."""

CANDIDATES_MAX = 100
"""Candidates in a description."""

CANDIDATE_SIZE_MAX_BYTES = 256
"""One candidate attribute."""

CANDIDATES_SIZE_MAX_BYTES = 12_288
"""All candidate attributes of a description together: they share one envelope."""

OPTIONS_MAX = 16
"""Options in a description."""

OPTION_SIZE_MAX_BYTES = 64
"""One option."""

_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")  # RFC 8839 section 5.4
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_PRINTABLE = re.compile(r"[ -~]+")

_TAI64_EPOCH = 2**62 + 10
_TAI64N_SIZE_BYTES = 12
_NANOSECONDS = 10**9


@dataclass(frozen=True, slots=True)
class Description:
    """What ICE must know of one side's session: credentials and all candidates so far.

    candidates: SDP candidate attributes (RFC 8839 section 5.1), best first. options: words that
    name what this side can do beyond. Raise ValueError for what no message carries.
    """

    ufrag: str
    password: str = field(repr=False)
    candidates: tuple[str, ...] = ()
    end_of_candidates: bool = False
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _UFRAG.fullmatch(self.ufrag):
            raise ValueError("a ufrag is 4 to 256 characters of A-Z a-z 0-9 + /")
        if not _PASSWORD.fullmatch(self.password):
            raise ValueError("a password is 22 to 256 characters of A-Z a-z 0-9 + /")
        _check_texts(self.candidates, "candidate", CANDIDATES_MAX, CANDIDATE_SIZE_MAX_BYTES)
        if sum(map(len, self.candidates)) > CANDIDATES_SIZE_MAX_BYTES:
            raise ValueError(f"candidates have at most {CANDIDATES_SIZE_MAX_BYTES} bytes in all")
        _check_texts(self.options, "option", OPTIONS_MAX, OPTION_SIZE_MAX_BYTES)


def fitting_candidates(candidates: Iterable[str]) -> tuple[str, ...]:
    """As many of ``candidates``, from the first on, as a ``Description`` takes."""
    fitting: list[str] = []
    room_bytes = CANDIDATES_SIZE_MAX_BYTES
    for candidate in islice(candidates, CANDIDATES_MAX):
        room_bytes -= len(candidate)
        if room_bytes < 0:
            break
        fitting.append(candidate)
    return tuple(fitting)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The other side's session, and the version of its description that the speaker holds."""

    session_id: bytes
    version: int


@dataclass(frozen=True, slots=True)
class SessionMessage:
    """The message, decoded.

    bound: ``session_id`` stands with the acknowledged session and with no other.
    acknowledgement_wanted: the speaker does not know yet that we hold this version and are bound.
    timestamp: TAI64N of sending; compares as bytes.
    """

    session_id: bytes
    version: int
    acknowledged: Acknowledgement | None
    bound: bool
    acknowledgement_wanted: bool
    timestamp: bytes
    description: Description


def encode_message(message: SessionMessage) -> bytes:
    """The bytes of ``message``, at most MESSAGE_SIZE_MAX_BYTES."""
    said = message.description
    encoded = signaling_pb2.SessionMessage(
        format=FORMAT_VERSION,
        session_id=message.session_id,
        version=message.version,
        acknowledged_session_id=message.acknowledged.session_id if message.acknowledged else b"",
        acknowledged_version=message.acknowledged.version if message.acknowledged else 0,
        bound=message.bound,
        acknowledgement_wanted=message.acknowledgement_wanted,
        timestamp=message.timestamp,
        ufrag=said.ufrag,
        password=said.password,
        candidates=said.candidates,
        end_of_candidates=said.end_of_candidates,
        options=said.options,
    ).SerializeToString()
    assert len(encoded) <= MESSAGE_SIZE_MAX_BYTES
    return encoded


def decode_message(data: bytes) -> SessionMessage:
    """Read what a peer said; raise RemoteProtocolError for anything a peer must not say."""
    if len(data) > MESSAGE_SIZE_MAX_BYTES:
        raise RemoteProtocolError("a session message that is too large")
    read = signaling_pb2.SessionMessage()
    try:
        read.ParseFromString(data)
    except DecodeError:
        raise RemoteProtocolError("not a session message") from None
    if read.format != FORMAT_VERSION:
        raise RemoteProtocolError(f"a session message of format {read.format}")
    if len(read.session_id) != SESSION_ID_SIZE_BYTES or read.version == 0:
        raise RemoteProtocolError("a session message without session id and version")
    try:
        description = Description(
            ufrag=read.ufrag,
            password=read.password,
            candidates=tuple(read.candidates),
            end_of_candidates=read.end_of_candidates,
            options=tuple(read.options),
        )
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from None
    return SessionMessage(
        session_id=read.session_id,
        version=read.version,
        acknowledged=_acknowledgement(read),
        bound=read.bound,
        acknowledgement_wanted=read.acknowledgement_wanted,
        timestamp=_checked_timestamp(read.timestamp),
        description=description,
    )


def tai64n(wall_time_s: float) -> bytes:
    """The TAI64N label of a time since 1970, without leap seconds, as WireGuard makes it."""
    nanoseconds = max(0, int(wall_time_s * _NANOSECONDS))
    return _label(nanoseconds)


def tai64n_after(label: bytes) -> bytes:
    """The label one nanosecond later."""
    seconds = int.from_bytes(label[:8], "big") - _TAI64_EPOCH
    return _label(seconds * _NANOSECONDS + int.from_bytes(label[8:], "big") + 1)


def _label(nanoseconds: int) -> bytes:
    seconds, fraction = divmod(nanoseconds, _NANOSECONDS)
    return (_TAI64_EPOCH + seconds).to_bytes(8, "big") + fraction.to_bytes(4, "big")


def _checked_timestamp(timestamp: bytes) -> bytes:
    if len(timestamp) != _TAI64N_SIZE_BYTES:
        raise RemoteProtocolError(f"a timestamp has {_TAI64N_SIZE_BYTES} bytes")
    if timestamp[0] & 0x80 or int.from_bytes(timestamp[8:], "big") >= _NANOSECONDS:
        raise RemoteProtocolError("a timestamp that is no TAI64N label")
    return timestamp


def _acknowledgement(read: signaling_pb2.SessionMessage) -> Acknowledgement | None:
    if not read.acknowledged_session_id:
        if read.acknowledged_version or read.bound:
            raise RemoteProtocolError("an acknowledgement without a session id")
        return None
    if len(read.acknowledged_session_id) != SESSION_ID_SIZE_BYTES or not read.acknowledged_version:
        raise RemoteProtocolError("an acknowledgement without session id and version")
    return Acknowledgement(read.acknowledged_session_id, read.acknowledged_version)


def _check_texts(texts: Sequence[str], kind: str, count_max: int, size_max_bytes: int) -> None:
    if len(texts) > count_max:
        raise ValueError(f"at most {count_max} {kind}s, these are {len(texts)}")
    for text in texts:
        if len(text) > size_max_bytes or not _PRINTABLE.fullmatch(text):
            raise ValueError(f"a {kind} is 1 to {size_max_bytes} printable ASCII characters")
