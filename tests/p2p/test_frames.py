"""Frames: what was put in comes out, however the stream cuts it; the rest is refused."""

import contextlib

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from p2p.frames import FrameDecoder, encode_frame, parse
from wice.errors import RemoteProtocolError
from wice.proto.overlay_pb2 import (
    AnchorMessage,
    EnvelopeMessage,
    KadMessage,
    KadRecord,
    RelayAnswer,
    RelayRequest,
    TopicMessage,
    WatchRequest,
)

SIZE_MAX_BYTES = 300


@given(st.lists(st.binary(max_size=SIZE_MAX_BYTES)), st.data())
def test_frames_survive_any_cuts(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(encode_frame, payloads))
    decoder = FrameDecoder(SIZE_MAX_BYTES)
    frames = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        decoder.feed(stream[:cut])
        stream = stream[cut:]
        frames += list(decoder)
    assert frames == payloads


def test_a_frame_that_is_too_long_is_refused_before_it_comes() -> None:
    decoder = FrameDecoder(SIZE_MAX_BYTES)
    decoder.feed(encode_frame(bytes(SIZE_MAX_BYTES + 1))[:2])
    with pytest.raises(RemoteProtocolError):
        decoder.next_frame()


@pytest.mark.parametrize("length", [b"\xff\xff\xff", b"\x80\x00", b"\x81\x80\x00"])
def test_lengths_that_nobody_writes_are_refused(length: bytes) -> None:
    decoder = FrameDecoder(SIZE_MAX_BYTES)
    decoder.feed(length)
    with pytest.raises(RemoteProtocolError):
        decoder.next_frame()


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_are_frames_or_refused(chunks: list[bytes]) -> None:
    decoder = FrameDecoder(SIZE_MAX_BYTES)
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            assert all(len(frame) <= SIZE_MAX_BYTES for frame in decoder)
    except RemoteProtocolError:
        pass


VALID = {
    KadMessage: KadMessage(
        type=KadMessage.PUT_VALUE,
        key=b"/wice/key",
        record=KadRecord(key=b"/wice/key", value=bytes(40)),
        closer_peers=[KadMessage.Peer(id=b"peer", addrs=[b"address"])],
    ),
    WatchRequest: WatchRequest(watches=[WatchRequest.Watch(key=b"/wice/key", lifetime_s=600)]),
    AnchorMessage: AnchorMessage(deliver=AnchorMessage.Deliver(id=1, envelope=bytes(40))),
    TopicMessage: TopicMessage(
        publish=TopicMessage.Publish(blinded_key=bytes(32), envelope=bytes(40), hops_left=8)
    ),
    EnvelopeMessage: EnvelopeMessage(send=EnvelopeMessage.Send(id=1, envelope=bytes(40))),
    RelayRequest: RelayRequest(hour=480_000, proof=bytes(32)),
    RelayAnswer: RelayAnswer(loan=RelayAnswer.Loan(port=3_478, username="u", password="p")),
}


@pytest.mark.parametrize("kind", VALID)
@given(at=st.integers(0, 100), cut=st.integers(0, 4), put=st.binary(max_size=8))
def test_a_mutated_message_is_one_or_refused(
    kind: type[Message], at: int, cut: int, put: bytes
) -> None:
    valid = VALID[kind].SerializeToString()
    message = kind()
    with contextlib.suppress(RemoteProtocolError):
        parse(message, valid[:at] + put + valid[at + cut :])
        message.SerializeToString()


def test_unknown_fields_are_ignored() -> None:
    message = KadMessage()
    parse(message, KadMessage(key=b"k").SerializeToString() + b"\xf8\x3f\x01")
    assert message.key == b"k"
