import os
import struct

import pytest

from p2p.records import (
    ADDRESS_SIZE_MAX_BYTES,
    ADDRESSES_MAX,
    ANCHORS_MAX,
    EXPIRY_GRANULARITY_S,
    PADDED_SIZES_BYTES,
    PEER_ID_SIZE_MAX_BYTES,
    RECORD_LIFETIME_MAX_S,
    RECORD_LIFETIME_S,
    RECORD_SIZE_MAX_BYTES,
    SUBSCRIPTION_LIFETIME_MAX_S,
    SUBSCRIPTION_SIZE_BYTES,
    Node,
    Presence,
    SubscriptionClaim,
    VerifiedRecord,
    accept_record,
    build_record,
    is_newer,
    open_record,
    sign_subscription,
    verify_record,
    verify_subscription,
)
from wice.errors import RemoteProtocolError
from wice.keys import (
    CLOCK_SKEW_MAX_S,
    EPOCH_LENGTH_S,
    CommunitySecret,
    EpochSigner,
    LocalKeyHolder,
    PrivateKey,
)

EPOCH = 20_000
NOW = EPOCH * EPOCH_LENGTH_S + 1_000.5
HARBOUR = CommunitySecret.from_name("harbour")
HOLDER = LocalKeyHolder(PrivateKey(bytes(range(32))), os.urandom)
STRANGER = LocalKeyHolder(PrivateKey(bytes(32)), os.urandom)
ANCHOR = Node(b"\x00\x24\x08\x01\x12\x20" + b"a" * 32, ("/ip4/203.0.113.10/tcp/4001",))
PRESENCE = Presence(
    Node(b"\x00\x24\x08\x01\x12\x20" + b"p" * 32, ("/ip4/192.0.2.7/tcp/4001", "/ip6/2001:db8::7")),
    (ANCHOR,),
)
SIGNER = EpochSigner(HOLDER, HARBOUR, EPOCH, os.urandom)
DHT_KEY = SIGNER.blinded_key.dht_key()


def build(signer: EpochSigner = SIGNER, now_wall: float = NOW, previous_sequence: int = 0) -> bytes:
    return build_record(
        signer,
        PRESENCE,
        now_wall=now_wall,
        random_bytes=os.urandom,
        previous_sequence=previous_sequence,
    )


def with_expiry(record: bytes, expiry: int, signer: EpochSigner = SIGNER) -> bytes:
    """The same record with another expiry, signed anew by its owner."""
    body = record[:9] + struct.pack(">Q", expiry) + record[17:-64]
    return body + signer.sign(b"wice record v1", body)


def test_who_knows_key_and_secret_reads_it() -> None:
    verified = verify_record(DHT_KEY, build(), NOW)
    assert verified.blinded_key == SIGNER.blinded_key
    assert verified.epoch == EPOCH
    assert open_record(verified, HOLDER.public_key, HARBOUR) == PRESENCE


def test_the_record_of_the_next_epoch_is_good_now() -> None:
    tomorrow = EpochSigner(HOLDER, HARBOUR, EPOCH + 1, os.urandom)
    verified = verify_record(tomorrow.blinded_key.dht_key(), build(tomorrow), NOW)
    assert open_record(verified, HOLDER.public_key, HARBOUR) == PRESENCE


def test_who_knows_another_key_or_secret_cannot_open_it() -> None:
    verified = verify_record(DHT_KEY, build(), NOW)
    with pytest.raises(RemoteProtocolError, match="another peer"):
        open_record(verified, STRANGER.public_key, HARBOUR)
    with pytest.raises(RemoteProtocolError, match="another peer"):
        open_record(verified, HOLDER.public_key, CommunitySecret.from_name("quay"))


def test_a_payload_under_another_key_does_not_open() -> None:
    record = build()
    body = record[:146] + bytes(len(record) - 146 - 64)
    forged = body + SIGNER.sign(b"wice record v1", body)
    verified = verify_record(DHT_KEY, forged, NOW)
    with pytest.raises(RemoteProtocolError, match="does not open"):
        open_record(verified, HOLDER.public_key, HARBOUR)


def test_a_record_under_another_dht_key_is_refused() -> None:
    theirs = EpochSigner(STRANGER, HARBOUR, EPOCH, os.urandom)
    with pytest.raises(RemoteProtocolError, match="forged epoch certificate"):
        verify_record(theirs.blinded_key.dht_key(), build(), NOW)
    with pytest.raises(RemoteProtocolError, match="rendezvous key"):
        verify_record(b"/wice/harbour", build(), NOW)


def test_a_member_who_knows_everything_but_the_private_key_cannot_forge() -> None:
    body = build()[:-64]
    theirs = EpochSigner(STRANGER, HARBOUR, EPOCH, os.urandom)
    own_certificate = body[:17] + theirs.certificate + body[17 + 105 :]
    for forged in (body, own_certificate):
        with pytest.raises(RemoteProtocolError, match="forged"):
            verify_record(DHT_KEY, forged + theirs.sign(b"wice record v1", forged), NOW)


def test_an_expired_record_is_refused() -> None:
    record = build()
    expiry = verify_record(DHT_KEY, record, NOW).expiry
    verify_record(DHT_KEY, record, expiry - 1)
    with pytest.raises(RemoteProtocolError, match="expired"):
        verify_record(DHT_KEY, record, expiry)


def test_lifetimes_are_bounded() -> None:
    hour = EXPIRY_GRANULARITY_S
    latest = int(NOW + RECORD_LIFETIME_MAX_S + CLOCK_SKEW_MAX_S) // hour * hour
    verify_record(DHT_KEY, with_expiry(build(), latest), NOW)
    for expiry in (latest + hour, 2**64 - hour):
        with pytest.raises(RemoteProtocolError, match="too far"):
            verify_record(DHT_KEY, with_expiry(build(), expiry), NOW)
    with pytest.raises(ValueError, match="at most"):
        build_record(
            SIGNER,
            PRESENCE,
            now_wall=NOW,
            random_bytes=os.urandom,
            lifetime_s=RECORD_LIFETIME_MAX_S + 1,
        )


def test_expiries_are_whole_hours() -> None:
    verified = verify_record(DHT_KEY, build(), NOW)
    assert verified.expiry % EXPIRY_GRANULARITY_S == 0
    assert 0 <= verified.expiry - (NOW + RECORD_LIFETIME_S) < EXPIRY_GRANULARITY_S
    with pytest.raises(RemoteProtocolError, match="on the hour"):
        verify_record(DHT_KEY, with_expiry(build(), verified.expiry + 1), NOW)


def test_a_record_of_an_old_epoch_is_refused_though_it_has_not_expired() -> None:
    late = NOW + 2 * EPOCH_LENGTH_S
    record = build(SIGNER, late)
    with pytest.raises(RemoteProtocolError, match="out of its time"):
        verify_record(DHT_KEY, record, late)


def test_an_unknown_version_is_refused() -> None:
    body = b"\x02" + build()[1:-64]
    with pytest.raises(RemoteProtocolError, match="version 2"):
        verify_record(DHT_KEY, body + SIGNER.sign(b"wice record v1", body), NOW)


def test_a_signature_for_another_purpose_is_refused() -> None:
    body = build()[:-64]
    with pytest.raises(RemoteProtocolError, match="forged"):
        verify_record(DHT_KEY, body + SIGNER.sign(b"wice subscription v1", body), NOW)


def test_records_come_in_two_sizes() -> None:
    node = Node(b"p" * PEER_ID_SIZE_MAX_BYTES, ("/" + "a" * (ADDRESS_SIZE_MAX_BYTES - 1),) * 8)
    assert len(node.addresses) == ADDRESSES_MAX
    largest = build_record(
        SIGNER, Presence(node, (node,) * ANCHORS_MAX), now_wall=NOW, random_bytes=os.urandom
    )
    smallest = build_record(SIGNER, Presence(Node(b"p", ())), now_wall=NOW, random_bytes=os.urandom)
    assert len(largest) == RECORD_SIZE_MAX_BYTES == 226 + PADDED_SIZES_BYTES[1]
    assert len(smallest) == len(build()) == 226 + PADDED_SIZES_BYTES[0]
    verified = verify_record(DHT_KEY, largest, NOW)
    presence = open_record(verified, HOLDER.public_key, HARBOUR)
    assert presence == Presence(node, (node,) * ANCHORS_MAX)


@pytest.mark.parametrize(
    "presence",
    [
        Presence(Node(b"", ())),
        Presence(Node(b"p" * (PEER_ID_SIZE_MAX_BYTES + 1), ())),
        Presence(Node(b"p", ("/a",) * (ADDRESSES_MAX + 1))),
        Presence(Node(b"p", ("/" + "a" * ADDRESS_SIZE_MAX_BYTES,))),
        Presence(Node(b"p", ("a",))),
        Presence(Node(b"p", ("",))),
        Presence(Node(b"p", ("/é",))),
        Presence(Node(b"p", ("/a\n",))),
        Presence(Node(b"p", ("/a /b",))),
        Presence(Node(b"p", ()), (Node(b"", ()),)),
        Presence(Node(b"p", ()), (Node(b"p", ("/a",) * (ADDRESSES_MAX + 1)),)),
        Presence(Node(b"p", ()), (Node(b"p", ()),) * (ANCHORS_MAX + 1)),
    ],
)
def test_we_publish_nothing_beyond_the_limits(presence: Presence) -> None:
    with pytest.raises(ValueError, match=r"peer id|address|anchors"):
        build_record(SIGNER, presence, now_wall=NOW, random_bytes=os.urandom)


def test_sequences_grow_with_the_clock_and_above_the_previous_one() -> None:
    first = verify_record(DHT_KEY, build(now_wall=NOW), NOW)
    later = verify_record(DHT_KEY, build(now_wall=NOW + 0.001), NOW)
    assert is_newer(later, first)
    assert later.sequence == first.sequence + 1
    clock_set_back = build(now_wall=NOW - 300, previous_sequence=later.sequence)
    assert is_newer(verify_record(DHT_KEY, clock_set_back, NOW), later)


def test_a_restart_continues_the_sequence_without_any_state() -> None:
    before = verify_record(DHT_KEY, build(), NOW)
    restarted = EpochSigner(HOLDER, HARBOUR, EPOCH, os.urandom)
    after = accept_record(DHT_KEY, build(restarted, NOW + 1), before, NOW + 1)
    assert after.sequence == before.sequence + 1_000


def test_the_highest_sequence_found_cannot_stop_us() -> None:
    record = build(previous_sequence=2**64 - 1)
    assert verify_record(DHT_KEY, record, NOW).sequence == 2**64 - 1


def test_of_equal_sequences_all_nodes_keep_the_same() -> None:
    one = verify_record(DHT_KEY, build(previous_sequence=2**63), NOW)
    two = verify_record(DHT_KEY, build(previous_sequence=2**63), NOW)
    assert one.sequence == two.sequence
    assert is_newer(one, two) != is_newer(two, one)
    assert not is_newer(one, one)


class TestStorePolicy:
    def accept(self, offered: bytes, held: VerifiedRecord | None, now: float) -> VerifiedRecord:
        return accept_record(DHT_KEY, offered, held, now)

    def test_the_first_the_newer_and_the_same_are_taken(self) -> None:
        first = build()
        held = self.accept(first, None, NOW)
        assert self.accept(first, held, NOW) == held
        newer = build(now_wall=NOW + 1)
        assert self.accept(newer, held, NOW + 1).raw == newer

    def test_an_older_one_is_refused(self) -> None:
        older = build()
        held = self.accept(build(now_wall=NOW + 1), None, NOW + 1)
        with pytest.raises(RemoteProtocolError, match="older"):
            self.accept(older, held, NOW + 1)

    def test_what_does_not_verify_is_refused_whatever_its_sequence(self) -> None:
        held = self.accept(build(), None, NOW)
        forged = bytearray(build(previous_sequence=2**63))
        forged[-1] ^= 1
        with pytest.raises(RemoteProtocolError):
            self.accept(bytes(forged), held, NOW)
        with pytest.raises(RemoteProtocolError):
            self.accept(bytes(forged), None, NOW)

    def test_the_same_record_is_refused_once_expired(self) -> None:
        record = build()
        held = self.accept(record, None, NOW)
        with pytest.raises(RemoteProtocolError, match="expired"):
            self.accept(record, held, held.expiry)

    def test_an_expired_one_holds_no_place(self) -> None:
        held = self.accept(build(previous_sequence=2**63), None, NOW)
        after = held.expiry + 1.0
        lower = build(now_wall=after)
        assert self.accept(lower, held, after).sequence < held.sequence


class TestSubscription:
    expiry = int(NOW) + 600

    def test_the_anchor_learns_whose_envelopes_to_hand_over(self) -> None:
        subscription = sign_subscription(SIGNER, ANCHOR.peer_id, self.expiry)
        assert len(subscription) == SUBSCRIPTION_SIZE_BYTES
        claim = verify_subscription(subscription, ANCHOR.peer_id, NOW)
        assert claim == SubscriptionClaim(SIGNER.blinded_key, self.expiry)

    def test_one_for_another_anchor_is_refused(self) -> None:
        subscription = sign_subscription(SIGNER, ANCHOR.peer_id, self.expiry)
        for anchor in (b"another", b"", ANCHOR.peer_id + b"\0"):
            with pytest.raises(RemoteProtocolError, match="another anchor"):
                verify_subscription(subscription, anchor, NOW)

    def test_nobody_takes_the_envelopes_of_another(self) -> None:
        theirs = EpochSigner(STRANGER, HARBOUR, EPOCH, os.urandom)
        stolen = bytearray(sign_subscription(theirs, ANCHOR.peer_id, self.expiry))
        stolen[1:33] = bytes(SIGNER.blinded_key)
        with pytest.raises(RemoteProtocolError, match="forged"):
            verify_subscription(bytes(stolen), ANCHOR.peer_id, NOW)
        stolen[41:146] = SIGNER.certificate
        with pytest.raises(RemoteProtocolError, match="forged"):
            verify_subscription(bytes(stolen), ANCHOR.peer_id, NOW)

    def test_it_ends_and_cannot_last(self) -> None:
        subscription = sign_subscription(SIGNER, ANCHOR.peer_id, self.expiry)
        with pytest.raises(RemoteProtocolError, match="expired"):
            verify_subscription(subscription, ANCHOR.peer_id, self.expiry)
        latest = int(NOW) + SUBSCRIPTION_LIFETIME_MAX_S + CLOCK_SKEW_MAX_S
        for expiry in (latest + 1, 2**64 - 1):
            endless = sign_subscription(SIGNER, ANCHOR.peer_id, expiry)
            with pytest.raises(RemoteProtocolError, match="too far"):
                verify_subscription(endless, ANCHOR.peer_id, NOW)

    def test_an_unknown_version_is_refused(self) -> None:
        subscription = b"\x02" + sign_subscription(SIGNER, ANCHOR.peer_id, self.expiry)[1:]
        with pytest.raises(RemoteProtocolError, match="version 2"):
            verify_subscription(subscription, ANCHOR.peer_id, NOW)
