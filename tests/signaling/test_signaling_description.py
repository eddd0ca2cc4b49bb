"""The session message says what it was given, and refuses what a peer must not say."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wice.errors import RemoteProtocolError
from wice.proto import signaling_pb2
from wice.signaling.description import (
    CANDIDATE_SIZE_MAX_BYTES,
    CANDIDATES_MAX,
    CANDIDATES_SIZE_MAX_BYTES,
    OPTION_SIZE_MAX_BYTES,
    OPTIONS_MAX,
    VERSION_MAX,
    Acknowledgement,
    Description,
    SessionMessage,
    decode_message,
    encode_message,
    fitting_candidates,
    tai64n,
    tai64n_after,
)
from wice.signaling.envelope import MESSAGE_SIZE_MAX_BYTES

PASSWORD = "secretsecretsecretsecret"
CANDIDATE = "candidate:1 1 udp 2130706431 192.0.2.1 51820 typ host"
MESSAGE = SessionMessage(
    session_id=b"session of alice",
    version=3,
    acknowledged=Acknowledgement(b"session of bobby", 2),
    bound=True,
    acknowledgement_wanted=True,
    timestamp=tai64n(1_700_000_000.5),
    description=Description("ufrag", PASSWORD, (CANDIDATE,), True, ("renomination",)),
)

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
ice_chars = st.text("abcXYZ019+/", min_size=22, max_size=40)
ids = st.binary(min_size=16, max_size=16)
versions = st.integers(1, VERSION_MAX)
descriptions = st.builds(
    Description,
    ufrag=ice_chars,
    password=ice_chars,
    candidates=st.lists(printable, max_size=20).map(tuple),
    end_of_candidates=st.booleans(),
    options=st.lists(printable, max_size=OPTIONS_MAX).map(tuple),
)
messages = st.builds(
    SessionMessage,
    session_id=ids,
    version=versions,
    acknowledged=st.builds(Acknowledgement, ids, versions),
    bound=st.booleans(),
    acknowledgement_wanted=st.booleans(),
    timestamp=st.floats(0, 1e11).map(tai64n),
    description=descriptions,
) | st.builds(
    SessionMessage,
    session_id=ids,
    version=versions,
    acknowledged=st.none(),
    bound=st.just(False),
    acknowledgement_wanted=st.booleans(),
    timestamp=st.floats(0, 1e11).map(tai64n),
    description=descriptions,
)


@given(message=messages)
def test_what_was_encoded_is_decoded(message: SessionMessage) -> None:
    assert decode_message(encode_message(message)) == message


def test_the_largest_description_fits_one_message() -> None:
    largest = Description(
        ufrag="u" * 256,
        password="p" * 256,
        candidates=("c" * (CANDIDATES_SIZE_MAX_BYTES // CANDIDATES_MAX),) * CANDIDATES_MAX,
        options=("o" * OPTION_SIZE_MAX_BYTES,) * OPTIONS_MAX,
    )
    encoded = encode_message(dataclasses.replace(MESSAGE, description=largest, version=VERSION_MAX))
    assert len(encoded) <= MESSAGE_SIZE_MAX_BYTES
    assert decode_message(encoded).description == largest


@pytest.mark.parametrize(
    "wrong",
    [
        {"ufrag": "abc"},
        {"ufrag": "ab d"},
        {"ufrag": "u" * 257},
        {"ufrag": "ufräg"},
        {"password": "short"},
        {"password": "p" * 257},
        {"candidates": (CANDIDATE,) * (CANDIDATES_MAX + 1)},
        {"candidates": ("c" * (CANDIDATE_SIZE_MAX_BYTES + 1),)},
        {"candidates": ("c" * CANDIDATE_SIZE_MAX_BYTES,) * 49},
        {"candidates": ("",)},
        {"candidates": ("two\nlines",)},
        {"candidates": ("candidaté",)},
        {"options": ("o",) * (OPTIONS_MAX + 1)},
        {"options": ("o" * (OPTION_SIZE_MAX_BYTES + 1),)},
        {"options": ("",)},
    ],
)
def test_a_description_is_bounded_here_and_on_the_wire(wrong: dict[str, object]) -> None:
    fields = {"ufrag": "ufrag", "password": PASSWORD} | wrong
    with pytest.raises(ValueError, match=r"at most|is \d"):
        Description(**fields)  # type: ignore[arg-type]
    raw = signaling_pb2.SessionMessage.FromString(encode_message(MESSAGE))
    for name, value in wrong.items():
        raw.ClearField(name)
        if isinstance(value, tuple):
            getattr(raw, name).extend(value)
        else:
            setattr(raw, name, value)
    with pytest.raises(RemoteProtocolError):
        decode_message(raw.SerializeToString())


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": 0},
        {"format": 2},
        {"session_id": b""},
        {"session_id": b"short"},
        {"version": 0},
        {"acknowledged_session_id": b""},
        {"acknowledged_session_id": b"short"},
        {"acknowledged_version": 0},
        {"timestamp": b""},
        {"timestamp": bytes(11)},
        {"timestamp": b"\xff" * 12},
        {"timestamp": tai64n(0)[:8] + b"\xff" * 4},
    ],
)
def test_what_a_peer_must_not_say_is_refused(wrong: dict[str, object]) -> None:
    raw = signaling_pb2.SessionMessage.FromString(encode_message(MESSAGE))
    for name, value in wrong.items():
        setattr(raw, name, value)
    with pytest.raises(RemoteProtocolError):
        decode_message(raw.SerializeToString())


def test_bound_to_nothing_is_refused() -> None:
    raw = signaling_pb2.SessionMessage.FromString(encode_message(MESSAGE))
    raw.ClearField("acknowledged_session_id")
    raw.ClearField("acknowledged_version")
    with pytest.raises(RemoteProtocolError):
        decode_message(raw.SerializeToString())
    raw.ClearField("bound")
    assert decode_message(raw.SerializeToString()).acknowledged is None


def test_unknown_fields_are_ignored() -> None:
    assert decode_message(encode_message(MESSAGE) + b"\x98\x06\x2a") == MESSAGE


def test_too_large_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="too large"):
        decode_message(bytes(MESSAGE_SIZE_MAX_BYTES + 1))


@given(data=st.data())
def test_fuzz(data: st.DataObject) -> None:
    mutated = bytearray(encode_message(MESSAGE))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(mutated)))
        end = data.draw(st.integers(start, min(len(mutated), start + 30)))
        mutated[start:end] = data.draw(st.binary(max_size=10))
    try:
        decode_message(bytes(mutated))
    except RemoteProtocolError as error:
        assert PASSWORD not in str(error)


def test_the_password_is_hidden() -> None:
    assert PASSWORD not in repr(MESSAGE)


@given(sizes=st.lists(st.integers(1, CANDIDATE_SIZE_MAX_BYTES), max_size=150))
def test_fitting_candidates_are_the_longest_beginning_that_fits(sizes: list[int]) -> None:
    candidates = ["c" * size for size in sizes]
    fitting = fitting_candidates(candidates)
    assert list(fitting) == candidates[: len(fitting)]
    Description("ufrag", PASSWORD, fitting)
    if len(fitting) < len(candidates):
        with pytest.raises(ValueError, match="at most"):
            Description("ufrag", PASSWORD, tuple(candidates[: len(fitting) + 1]))


def test_tai64n() -> None:
    assert tai64n(0.0).hex() == "400000000000000a00000000"
    assert tai64n(1.5).hex() == "400000000000000b1dcd6500"
    assert tai64n(-math.pi) == tai64n(0.0)
    assert tai64n_after(tai64n(0.0)).hex() == "400000000000000a00000001"
    last = tai64n(0.0)[:8] + (10**9 - 1).to_bytes(4, "big")
    assert tai64n_after(last) == tai64n(1.0)


@given(earlier=st.floats(0, 1e11), later=st.floats(0, 1e11))
def test_tai64n_keeps_the_order(earlier: float, later: float) -> None:
    assert (tai64n(earlier) <= tai64n(later)) or earlier > later
