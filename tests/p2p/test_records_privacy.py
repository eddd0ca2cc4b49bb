"""What a stored record shows: to a node that holds it, and to one that holds many."""

import base64
import ipaddress
import random
from collections.abc import Iterator

import pytest

from p2p.records import Node, Presence, build_record, verify_record
from wice.keys import (
    EPOCH_LENGTH_S,
    CommunitySecret,
    EpochSigner,
    LocalKeyHolder,
    PrivateKey,
    edwards_public_key,
)

# Seeded, because a search for four bytes in random ones would find them now and then.
random_bytes = random.Random(7).randbytes

EPOCH = 20_000
NOW = EPOCH * EPOCH_LENGTH_S + 50_000.0
NAME = "the-harbour-of-secrets"
HOLDER = LocalKeyHolder(PrivateKey(bytes(range(32))), random_bytes)
LIBP2P_KEY = bytes(range(100, 132))
PEER_ID = b"\x00\x24\x08\x01\x12\x20" + LIBP2P_KEY
ANCHOR_ID = b"\x00\x24\x08\x01\x12\x20" + bytes(range(200, 232))
HOSTS = ("192.0.2.77", "2001:db8:1234:5678:9abc:def0:1234:5678", "203.0.113.10")
PORT = 40_961
PRESENCE = Presence(
    Node(PEER_ID, (f"/ip4/{HOSTS[0]}/tcp/{PORT}", f"/ip6/{HOSTS[1]}/tcp/{PORT}")),
    (Node(ANCHOR_ID, (f"/ip4/{HOSTS[2]}/tcp/{PORT}",)),),
)
SECRETS = [
    CommunitySecret.from_name(NAME),
    CommunitySecret.from_passphrase(NAME, b"the passphrase of the harbour"),
]

# Version, expiry and the certificate's version and epoch: alike for all peers at a time.
PUBLIC_FIELDS = [(0, 1), (9, 26)]
LINK_SIZE = 4


@pytest.fixture(params=SECRETS, ids=["name", "passphrase"])
def community(request: pytest.FixtureRequest) -> CommunitySecret:
    secret: CommunitySecret = request.param
    return secret


def stored(holder: LocalKeyHolder, community: CommunitySecret, epoch: int) -> tuple[bytes, bytes]:
    """The DHT key and the value that a node stores."""
    signer = EpochSigner(holder, community, epoch, random_bytes)
    record = build_record(signer, PRESENCE, now_wall=NOW, random_bytes=random_bytes)
    return signer.blinded_key.dht_key(), record


def needles() -> Iterator[bytes]:
    yield bytes(HOLDER.public_key)
    yield edwards_public_key(HOLDER.public_key)
    yield LIBP2P_KEY
    yield PEER_ID
    yield ANCHOR_ID
    yield PORT.to_bytes(2, "big") * 2  # two bytes alone occur by chance
    yield NAME.encode()
    yield b"the passphrase"
    for host in HOSTS:
        yield host.encode()
        yield ipaddress.ip_address(host).packed
        yield ipaddress.ip_address(host).packed[::-1]
    yield from (b"/ip4", b"/ip6", b"/tcp")


def forms(needle: bytes) -> Iterator[bytes]:
    """The needle as it may hide in text or base64 of any alignment, backwards too."""
    yield needle
    yield needle[::-1]
    yield needle.hex().encode()
    yield needle.hex().upper().encode()
    yield base58(needle)
    yield base64.b32encode(needle).rstrip(b"=")
    yield base64.b32encode(needle).rstrip(b"=").lower()
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + needle)
        # Characters at either end mix with the neighbours.
        inner = encoded.rstrip(b"=")[2 * (shift > 0) + (shift > 1) : -1]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")


def base58(data: bytes) -> bytes:
    alphabet = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, digits = int.from_bytes(data, "big"), bytearray()
    while number:
        number, digit = divmod(number, 58)
        digits.append(alphabet[digit])
    return bytes(digits[::-1])


def shown(haystack: bytes) -> set[bytes]:
    return {needle for needle in needles() for form in forms(needle) if form in haystack}


def test_the_search_would_find_them() -> None:
    for needle in needles():
        for wrapped in (needle, base64.b64encode(b"?" + needle), needle.hex().encode()):
            assert needle in shown(b"12345" + wrapped + b"67890")


@pytest.mark.parametrize("epoch", [EPOCH, EPOCH + 1])
def test_it_shows_no_key_address_or_name(community: CommunitySecret, epoch: int) -> None:
    dht_key, record = stored(HOLDER, community, epoch)
    assert not shown(dht_key)
    assert not shown(record)


def hidden_parts(record: bytes) -> bytes:
    """The record without what is alike for all peers at a time."""
    hidden = bytearray(record)
    for start, end in PUBLIC_FIELDS:
        hidden[start:end] = random_bytes(end - start)
    return bytes(hidden)


def common(first: bytes, second: bytes) -> set[bytes]:
    def pieces(data: bytes) -> set[bytes]:
        return {data[i : i + LINK_SIZE] for i in range(len(data) - LINK_SIZE + 1)}

    return pieces(first) & pieces(second)


def test_records_of_two_epochs_share_nothing_that_those_of_two_peers_do_not(
    community: CommunitySecret,
) -> None:
    today_key, today = stored(HOLDER, community, EPOCH)
    tomorrow_key, tomorrow = stored(HOLDER, community, EPOCH + 1)
    other = LocalKeyHolder(PrivateKey(bytes(32)), random_bytes)
    _, of_another = stored(other, community, EPOCH)
    for start, end in PUBLIC_FIELDS:
        assert today[start:end] == of_another[start:end]
    assert not common(hidden_parts(today), hidden_parts(tomorrow))
    assert not common(today_key.removeprefix(b"/wice/"), tomorrow_key.removeprefix(b"/wice/"))
    assert len(today) == len(tomorrow) == len(of_another)


def test_sequences_of_two_epochs_are_not_near_each_other(community: CommunitySecret) -> None:
    sequences = sorted(
        verify_record(*stored(HOLDER, community, epoch), NOW).sequence
        for epoch in (EPOCH - 1, EPOCH, EPOCH + 1)
    )
    # Were they the time or a counter, they would differ by little.
    assert sequences[1] - sequences[0] > 2**48
    assert sequences[2] - sequences[1] > 2**48


def test_records_of_one_peer_in_one_epoch_do_not_tell_whether_it_moved(
    community: CommunitySecret,
) -> None:
    signer = EpochSigner(HOLDER, community, EPOCH, random_bytes)
    moved = Presence(Node(PEER_ID, ("/ip4/198.51.100.1/tcp/1",)))
    first, same, other = (
        build_record(signer, presence, now_wall=NOW, random_bytes=random_bytes)
        for presence in (PRESENCE, PRESENCE, moved)
    )
    assert len(first) == len(same) == len(other)
    assert not common(first[122:-64], same[122:-64])
    assert not common(first[122:-64], other[122:-64])
