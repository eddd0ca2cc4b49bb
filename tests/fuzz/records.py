"""What a peer says of itself to the overlay: records, subscriptions, certificates."""

import struct
from pathlib import Path
from random import Random

from nacl import bindings

from p2p.records import (
    ADDRESSES_MAX,
    ANCHORS_MAX,
    Node,
    Presence,
    accept_record,
    build_record,
    open_record,
    sign_subscription,
    verify_record,
    verify_subscription,
)
from tests.fuzz.mutation import PROTOBUF
from tests.fuzz.target import Case, Target
from wice.keys import (
    EPOCH_LENGTH_S,
    BlindedKey,
    CommunitySecret,
    EpochSigner,
    LocalKeyHolder,
    PrivateKey,
    verify_certificate,
)
from wice.proto import record_pb2

EPOCH = 20_000
NOW = EPOCH * EPOCH_LENGTH_S + 1_000.0
RANDOM = Random(1)
HARBOUR = CommunitySecret.from_name("harbour")
HOLDER = LocalKeyHolder(PrivateKey(bytes(range(32))), RANDOM.randbytes)
SIGNER = EpochSigner(HOLDER, HARBOUR, EPOCH, RANDOM.randbytes)
NEXT_SIGNER = EpochSigner(HOLDER, HARBOUR, EPOCH + 1, RANDOM.randbytes)
DHT_KEY = SIGNER.blinded_key.dht_key()
ANCHOR_ID = b"a" * 38
PRESENCE = Presence(
    Node(b"p" * 38, ("/ip4/192.0.2.7/tcp/4001", "/ip6/2001:db8::7/tcp/4001")),
    (Node(ANCHOR_ID, ("/ip4/192.0.2.8/tcp/4001",)),) * 2,
)
RECORD = build_record(SIGNER, PRESENCE, now_wall=NOW, random_bytes=RANDOM.randbytes)
SUBSCRIPTION = sign_subscription(SIGNER, ANCHOR_ID, int(NOW) + 600)


def record(_: Path) -> Case:
    """As a storing node sees it, which holds one already."""
    held = verify_record(DHT_KEY, RECORD, NOW)
    newer = build_record(SIGNER, PRESENCE, now_wall=NOW + 9, random_bytes=RANDOM.randbytes)
    return Case([RECORD, newer], lambda data: accept_record(DHT_KEY, data, held, NOW))


def payload(_: Path) -> Case:
    """As a member reads it, from an owner who seals and signs whatever he likes."""
    sample = record_pb2.Presence(
        peer_id=b"p" * 38,
        addresses=PRESENCE.node.addresses,
        anchors=[record_pb2.Anchor(peer_id=ANCHOR_ID, addresses=["/a", "/b"])] * 3,
    ).SerializeToString()

    def read(data: bytes) -> None:
        content = (len(data) & 0xFFFF).to_bytes(2, "big") + data
        verified = verify_record(DHT_KEY, _sealed(content[:1_024].ljust(1_024, b"\0")), NOW)
        presence = open_record(verified, HOLDER.public_key, HARBOUR)
        assert len(presence.anchors) <= ANCHORS_MAX
        for node in (presence.node, *presence.anchors):
            assert len(node.addresses) <= ADDRESSES_MAX

    return Case([sample], read)


def _sealed(padded: bytes) -> bytes:
    """A record with any padded payload, from the layout in docs/reference/records.md alone."""
    header = struct.pack(">BQQ", 1, 2**63, int(NOW // 3_600 + 2) * 3_600)
    key = HARBOUR.derive(b"wice record secrets v1", HOLDER.public_key, EPOCH)[:32]
    nonce = RANDOM.randbytes(24)
    ciphertext = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(padded, header, nonce, key)
    body = header + SIGNER.certificate + nonce + ciphertext
    return body + SIGNER.sign(b"wice record v1", body)


def certificate(_: Path) -> Case:
    samples = [SIGNER.certificate]
    return Case(samples, lambda data: verify_certificate(data, SIGNER.blinded_key, NOW))


def subscription(_: Path) -> Case:
    samples = [SUBSCRIPTION, sign_subscription(NEXT_SIGNER, ANCHOR_ID, int(NOW) + 60)]
    return Case(samples, lambda data: verify_subscription(data, ANCHOR_ID, NOW))


def dht_key(_: Path) -> Case:
    def read(data: bytes) -> None:
        assert BlindedKey.from_dht_key(data).dht_key() == data

    return Case([DHT_KEY, NEXT_SIGNER.blinded_key.dht_key()], read)


TARGETS = (
    Target("presence record", record),
    Target("presence record, payload of a hostile owner", payload, changes=PROTOBUF),
    Target("epoch certificate", certificate),
    Target("subscription", subscription),
    Target("DHT key", dht_key),
)
