"""The vectors of docs/reference/records.md, computed by p2p.records and again without it."""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt

from p2p.records import (
    Node,
    Presence,
    build_record,
    open_record,
    sign_subscription,
    verify_record,
    verify_subscription,
)
from wice.keys import (
    BlindedKey,
    CommunitySecret,
    EpochSigner,
    LocalKeyHolder,
    PrivateKey,
    edwards_public_key,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "records.md"
VECTORS = tomllib.loads("\n".join(re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)))
RECORD: dict[str, Any] = VECTORS["record"][0]
SUBSCRIPTION: dict[str, Any] = VECTORS["subscription"][0]
unhex = bytes.fromhex


def counting_bytes(size_bytes: int) -> bytes:
    return bytes(range(size_bytes))


def lp(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def signer_of(vector: dict[str, Any]) -> EpochSigner:
    holder = LocalKeyHolder(PrivateKey(unhex(vector["private_key"])), counting_bytes)
    community = CommunitySecret(unhex(vector["secret"]), is_private=True)
    return EpochSigner(holder, community, vector["epoch"], counting_bytes)


def presence_of(vector: dict[str, Any]) -> Presence:
    node = Node(unhex(vector["peer_id"]), tuple(vector["addresses"].split()))
    anchor = Node(unhex(vector["anchor_peer_id"]), (vector["anchor_addresses"],))
    return Presence(node, (anchor,))


def test_every_table_of_the_page_is_read() -> None:
    assert {table: len(vectors) for table, vectors in VECTORS.items()} == {
        "record": 1,
        "subscription": 1,
    }


def test_the_record_is_built_and_read() -> None:
    signer, presence = signer_of(RECORD), presence_of(RECORD)
    now = float(RECORD["now_wall"])
    record = build_record(signer, presence, now_wall=now, random_bytes=counting_bytes)
    assert record == unhex(RECORD["record"])
    verified = verify_record(RECORD["dht_key"].encode(), record, now)
    assert str(verified.sequence) == RECORD["sequence"]
    assert (verified.expiry, verified.epoch) == (RECORD["expiry"], RECORD["epoch"])
    assert open_record(verified, signer.public_key, signer.community) == presence


def test_the_record_is_laid_out_as_the_page_says() -> None:
    record = unhex(RECORD["record"])
    blinded = bytes(BlindedKey.from_dht_key(RECORD["dht_key"].encode()))
    point = edwards_public_key(PrivateKey(unhex(RECORD["private_key"])).public_key())
    epoch = RECORD["epoch"].to_bytes(8, "big")
    fields = (b"wice record secrets v1", point, unhex(RECORD["secret"]), epoch)
    derived = hashlib.sha512(lp(*fields)).digest()

    assert record[0] == 1
    sequence = (int.from_bytes(derived[32:40], "big") >> 2) + RECORD["now_wall"] * 1_000
    assert int.from_bytes(record[1:9], "big") == sequence == int(RECORD["sequence"])
    assert int.from_bytes(record[9:17], "big") == RECORD["expiry"]
    assert record[17:26] == b"\x01" + epoch
    assert record[122:146] == counting_bytes(24)

    assert derived[:32].hex() == RECORD["payload_key"]
    padded = crypto_aead_xchacha20poly1305_ietf_decrypt(
        record[146:-64], record[:17], record[122:146], derived[:32]
    )
    payload = unhex(RECORD["payload"])
    assert padded == (len(payload).to_bytes(2, "big") + payload).ljust(1_024, b"\0")

    # Fields 1 to 3 of Presence, and 1 and 2 of Anchor, each behind its tag and length.
    node, (anchor,) = presence_of(RECORD).node, presence_of(RECORD).anchors
    inner = field(1, anchor.peer_id) + field(2, anchor.addresses[0].encode())
    addresses = b"".join(field(2, address.encode()) for address in node.addresses)
    assert payload == field(1, node.peer_id) + addresses + field(3, inner)

    signed = lp(b"wice record v1", blinded, record[:-64])
    Ed25519PublicKey.from_public_bytes(record[26:58]).verify(record[-64:], signed)


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize("start", [0, 1, 33, 41, 146])
def test_the_subscription_is_laid_out_as_the_page_says(start: int) -> None:
    signer, anchor = signer_of(SUBSCRIPTION), unhex(SUBSCRIPTION["anchor_peer_id"])
    expiry, now = SUBSCRIPTION["expiry"], float(SUBSCRIPTION["now_wall"])
    blinded = bytes(signer.blinded_key)
    time = expiry.to_bytes(8, "big")
    epoch_key = Ed25519PrivateKey.from_private_bytes(counting_bytes(32))
    signature = epoch_key.sign(lp(b"wice subscription v1", blinded, time + anchor))
    parts = {0: b"\x01", 1: blinded, 33: time, 41: signer.certificate, 146: signature}

    subscription = unhex(SUBSCRIPTION["subscription"])
    assert subscription[start : start + len(parts[start])] == parts[start]
    assert len(subscription) == sum(map(len, parts.values()))
    assert sign_subscription(signer, anchor, expiry) == subscription
    claim = verify_subscription(subscription, anchor, now)
    assert (claim.blinded_key, claim.expiry) == (signer.blinded_key, expiry)
