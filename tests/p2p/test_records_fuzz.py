"""Whatever comes from the network: RemoteProtocolError, or a record that is exactly as signed."""

import os
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings

from p2p.records import (
    ADDRESS_SIZE_MAX_BYTES,
    ADDRESSES_MAX,
    ANCHORS_MAX,
    PEER_ID_SIZE_MAX_BYTES,
    Node,
    Presence,
    accept_record,
    build_record,
    open_record,
    sign_subscription,
    verify_record,
    verify_subscription,
)
from wice.errors import RemoteProtocolError
from wice.keys import (
    CERTIFICATE_SIZE_BYTES,
    EPOCH_LENGTH_S,
    CommunitySecret,
    EpochSigner,
    LocalKeyHolder,
    PrivateKey,
    verify_certificate,
)
from wice.proto import record_pb2

EPOCH = 20_000
NOW = EPOCH * EPOCH_LENGTH_S + 1_000.0
HARBOUR = CommunitySecret.from_name("harbour")
HOLDER = LocalKeyHolder(PrivateKey(bytes(range(32))), os.urandom)
SIGNER = EpochSigner(HOLDER, HARBOUR, EPOCH, os.urandom)
DHT_KEY = SIGNER.blinded_key.dht_key()
ANCHOR_ID = b"a" * 38
PRESENCE = Presence(Node(b"p" * 38, ("/ip4/192.0.2.7/tcp/4001",)), (Node(ANCHOR_ID, ("/a",)),))
RECORD = build_record(SIGNER, PRESENCE, now_wall=NOW, random_bytes=os.urandom)
SUBSCRIPTION = sign_subscription(SIGNER, ANCHOR_ID, int(NOW) + 600)

Mutation = Callable[[bytes], bytes]


def flip(index: int, change: int) -> Mutation:
    def mutate(data: bytes) -> bytes:
        at = index % len(data)
        return data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]

    return mutate


def splice(index: int, removed: int, inserted: bytes) -> Mutation:
    def mutate(data: bytes) -> bytes:
        at = index % (len(data) + 1)
        return data[:at] + inserted + data[at + removed :]

    return mutate


def overwrite(index: int, inserted: bytes) -> Mutation:
    return splice(index, len(inserted), inserted)


positions = st.integers(0, 10_000)
mutations = st.lists(
    st.one_of(
        st.builds(flip, positions, st.integers(1, 255)),
        st.builds(splice, positions, st.integers(0, 300), st.binary(max_size=300)),
        st.builds(overwrite, positions, st.binary(max_size=64)),
    ),
    min_size=1,
    max_size=4,
)


def mutated(valid: bytes, steps: list[Mutation]) -> bytes:
    for step in steps:
        valid = step(valid) or b"\0"
    return valid


def check_mutations(steps: list[Mutation]) -> None:
    record = mutated(RECORD, steps)
    if record != RECORD:
        with pytest.raises(RemoteProtocolError):
            verify_record(DHT_KEY, record, NOW)
        with pytest.raises(RemoteProtocolError):
            accept_record(DHT_KEY, record, None, NOW)
    subscription = mutated(SUBSCRIPTION, steps)
    if subscription != SUBSCRIPTION:
        with pytest.raises(RemoteProtocolError):
            verify_subscription(subscription, ANCHOR_ID, NOW)
    certificate = mutated(SIGNER.certificate, steps)
    if certificate != SIGNER.certificate:
        with pytest.raises(RemoteProtocolError):
            verify_certificate(certificate, SIGNER.blinded_key, NOW)


@given(mutations)
def test_no_mutation_is_accepted(steps: list[Mutation]) -> None:
    check_mutations(steps)


@pytest.mark.nightly
@settings(max_examples=20_000, deadline=None)
@given(mutations)
def test_no_mutation_is_accepted_at_length(steps: list[Mutation]) -> None:
    check_mutations(steps)


def test_every_byte_of_a_record_and_subscription_is_signed() -> None:
    for index in range(len(RECORD)):
        with pytest.raises(RemoteProtocolError):
            verify_record(DHT_KEY, flip(index, 1)(RECORD), NOW)
    for index in range(len(SUBSCRIPTION)):
        with pytest.raises(RemoteProtocolError):
            verify_subscription(flip(index, 0x80)(SUBSCRIPTION), ANCHOR_ID, NOW)


@given(st.binary(max_size=60), mutations)
def test_any_dht_key_is_refused(noise: bytes, steps: list[Mutation]) -> None:
    for dht_key in (noise, mutated(DHT_KEY, steps)):
        if dht_key != DHT_KEY:
            with pytest.raises(RemoteProtocolError):
                verify_record(dht_key, RECORD, NOW)


@given(st.binary(min_size=1250, max_size=1250))
def test_noise_of_the_right_size_is_refused(noise: bytes) -> None:
    for record in (noise, b"\x01" + noise[1:], RECORD[:146] + noise[146:]):
        with pytest.raises(RemoteProtocolError):
            verify_record(DHT_KEY, record, NOW)


def sealed_record(padded: bytes) -> bytes:
    """A record with any padded payload, made by its owner from the documented layout alone."""
    expiry = int(NOW // 3_600 + 2) * 3_600
    header = struct.pack(">BQQ", 1, 2**63, expiry)
    key = HARBOUR.derive(b"wice record secrets v1", HOLDER.public_key, EPOCH)[:32]
    nonce = os.urandom(24)
    ciphertext = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(padded, header, nonce, key)
    body = header + SIGNER.certificate + nonce + ciphertext
    return body + SIGNER.sign(b"wice record v1", body)


def open_payload(payload: bytes) -> Presence:
    padded = (len(payload).to_bytes(2, "big") + payload).ljust(1_024, b"\0")
    verified = verify_record(DHT_KEY, sealed_record(padded[:1_024]), NOW)
    return open_record(verified, HOLDER.public_key, HARBOUR)


def assert_within_limits(presence: Presence) -> None:
    assert len(presence.anchors) <= ANCHORS_MAX
    for node in (presence.node, *presence.anchors):
        assert 0 < len(node.peer_id) <= PEER_ID_SIZE_MAX_BYTES
        assert len(node.addresses) <= ADDRESSES_MAX
        for address in node.addresses:
            assert len(address.encode()) <= ADDRESS_SIZE_MAX_BYTES
            assert address.startswith("/")
            assert address.isprintable()


VALID = record_pb2.Presence(
    peer_id=b"p" * 38,
    addresses=["/ip4/192.0.2.7/tcp/4001"],
    anchors=[record_pb2.Anchor(peer_id=ANCHOR_ID, addresses=["/a", "/b"])] * 2,
).SerializeToString()


@given(st.one_of(st.binary(max_size=1_000), mutations.map(lambda steps: mutated(VALID, steps))))
def test_a_payload_of_a_hostile_owner_stays_within_limits_or_is_refused(payload: bytes) -> None:
    try:
        presence = open_payload(payload)
    except RemoteProtocolError:
        return
    assert_within_limits(presence)


@given(st.binary(min_size=1_024, max_size=1_024))
def test_any_padded_payload_stays_within_limits_or_is_refused(padded: bytes) -> None:
    verified = verify_record(DHT_KEY, sealed_record(padded), NOW)
    try:
        presence = open_record(verified, HOLDER.public_key, HARBOUR)
    except RemoteProtocolError:
        return
    assert_within_limits(presence)


@pytest.mark.parametrize("size", [0, 2, 1_023, 1_025, 4_096, 8_191, 8_193, 16_384])
def test_a_payload_of_another_size_is_refused_however_well_signed(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="wrong size"):
        verify_record(DHT_KEY, sealed_record(bytes(size)), NOW)


def test_a_length_beyond_the_payload_is_refused() -> None:
    verified = verify_record(DHT_KEY, sealed_record(b"\xff\xff" + bytes(1_022)), NOW)
    with pytest.raises(RemoteProtocolError, match="longer than its record"):
        open_record(verified, HOLDER.public_key, HARBOUR)


def test_fields_we_do_not_know_are_ignored() -> None:
    field_15_bytes = bytes([15 << 3 | 2, 3]) + b"new"
    presence = open_payload(VALID + field_15_bytes)
    assert presence.node == Node(b"p" * 38, ("/ip4/192.0.2.7/tcp/4001",))
    assert presence.anchors == (Node(ANCHOR_ID, ("/a", "/b")),) * 2


@pytest.mark.parametrize(
    "message",
    [
        record_pb2.Presence(),
        record_pb2.Presence(peer_id=b"p" * 65),
        record_pb2.Presence(peer_id=b"p", addresses=["/a"] * 9),
        record_pb2.Presence(peer_id=b"p", addresses=["a"]),
        record_pb2.Presence(peer_id=b"p", addresses=["/\u202e"]),
        record_pb2.Presence(peer_id=b"p", addresses=["/\x1b[2J"]),
        record_pb2.Presence(peer_id=b"p", addresses=["/" + "a" * 128]),
        record_pb2.Presence(peer_id=b"p", anchors=[record_pb2.Anchor(peer_id=b"a")] * 5),
        record_pb2.Presence(peer_id=b"p", anchors=[record_pb2.Anchor()]),
    ],
)
def test_what_breaks_the_limits_is_refused(message: record_pb2.Presence) -> None:
    with pytest.raises(RemoteProtocolError):
        open_payload(message.SerializeToString())


def test_sizes_are_those_of_the_documents() -> None:
    assert (len(RECORD), len(SUBSCRIPTION), CERTIFICATE_SIZE_BYTES) == (1_250, 210, 105)
