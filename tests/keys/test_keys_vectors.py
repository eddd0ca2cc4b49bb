"""The vectors of docs/reference/keys.md, computed by wice and again without it."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from wice.keys import (
    CommunitySecret,
    EpochSigner,
    LocalKeyHolder,
    PrivateKey,
    PublicKey,
    blind,
    blinding_factor,
    edwards_public_key,
    seal_anonymous,
    verify_certificate,
    xeddsa_sign,
    xeddsa_verify,
)

Vectors = dict[str, list[dict[str, Any]]]
RandomBytes = Callable[[int], bytes]
unhex = bytes.fromhex


def lp(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def secret_of(vector: dict[str, Any]) -> CommunitySecret:
    return CommunitySecret(unhex(vector["secret"]), is_private=True)


def test_every_table_of_the_page_is_read(documented_vectors: Vectors) -> None:
    sizes = {table: len(vectors) for table, vectors in documented_vectors.items()}
    assert sizes == {
        "xeddsa": 2,
        "community": 2,
        "blinding": 2,
        "certificate": 1,
        "sealed_box": 1,
    }


@pytest.mark.parametrize("index", [0, 1])
def test_xeddsa(documented_vectors: Vectors, reference: Any, index: int) -> None:
    vector = documented_vectors["xeddsa"][index]
    private_key = PrivateKey(unhex(vector["private_key"]))
    message, randomness = unhex(vector["message"]), unhex(vector["randomness"])
    signature = unhex(vector["signature"])

    assert bytes(private_key).hex() == vector["private_key"]
    assert private_key.public_key() == PublicKey(unhex(vector["public_key"]))
    assert edwards_public_key(private_key.public_key()).hex() == vector["edwards_form"]
    assert xeddsa_sign(private_key, message, randomness) == signature
    assert xeddsa_verify(private_key.public_key(), message, signature)

    assert reference.edwards_form(unhex(vector["public_key"])).hex() == vector["edwards_form"]
    scalar = reference.signing_scalar(bytes(private_key))
    assert reference.sign(scalar, message, randomness) == signature


def test_the_secret_of_a_name(documented_vectors: Vectors) -> None:
    vector = documented_vectors["community"][0]
    assert CommunitySecret.from_name(vector["name"]) == secret_of(vector)
    digest = hashlib.sha512(lp(b"wice community v1", vector["name"].encode())).digest()
    assert digest[:32].hex() == vector["secret"]


def test_the_secret_of_a_passphrase(documented_vectors: Vectors) -> None:
    vector = documented_vectors["community"][1]
    passphrase = vector["passphrase"].encode()
    assert CommunitySecret.from_passphrase(vector["name"], passphrase) == secret_of(vector)
    salt = hashlib.sha512(lp(b"wice community salt v1", vector["name"].encode())).digest()[:16]
    argon2id = Argon2id(salt=salt, length=32, iterations=3, lanes=1, memory_cost=64 * 1024)
    assert argon2id.derive(passphrase).hex() == vector["secret"]


@pytest.mark.parametrize("index", [0, 1])
def test_blinding(
    documented_vectors: Vectors, reference: Any, counting_bytes: RandomBytes, index: int
) -> None:
    vector = documented_vectors["blinding"][index]
    private_key = PrivateKey(unhex(vector["private_key"]))
    public_key, community, epoch = private_key.public_key(), secret_of(vector), vector["epoch"]
    blinded = blind(public_key, community, epoch)
    factor = blinding_factor(public_key, community, epoch)
    holder = LocalKeyHolder(private_key, counting_bytes)
    signature = holder.sign_blinded(factor, unhex(vector["message"]))

    assert edwards_public_key(public_key).hex() == vector["edwards_form"]
    assert factor.hex() == vector["factor"]
    assert bytes(blinded).hex() == vector["blinded_key"]
    assert blinded.dht_key().decode() == vector["dht_key"]
    assert blinded.topic() == vector["topic"]
    assert signature == unhex(vector["signature"])
    assert blinded.verify(unhex(vector["message"]), signature)

    h = reference.blinding_factor(unhex(vector["edwards_form"]), unhex(vector["secret"]), epoch)
    scalar = h * reference.signing_scalar(bytes(private_key)) % reference.q
    point = reference.encode(reference.multiply(scalar, reference.base))
    assert h.to_bytes(32, "little").hex() == vector["factor"]
    assert point.hex() == vector["blinded_key"]
    assert base64.urlsafe_b64encode(point).decode() == vector["dht_key"][6:] + "="
    randomness = unhex(vector["randomness"])
    assert reference.sign(scalar, unhex(vector["message"]), randomness) == signature


def test_a_certificate(
    documented_vectors: Vectors, reference: Any, counting_bytes: RandomBytes
) -> None:
    vector = documented_vectors["certificate"][0]
    private_key = PrivateKey(unhex(vector["private_key"]))
    community, epoch = secret_of(vector), vector["epoch"]
    holder = LocalKeyHolder(private_key, counting_bytes)
    signer = EpochSigner(holder, community, epoch, counting_bytes)
    label, message = vector["label"].encode(), unhex(vector["message"])

    assert signer.certificate == unhex(vector["certificate"])
    assert bytes(signer.blinded_key).hex() == vector["blinded_key"]
    assert signer.sign(label, message) == unhex(vector["signature"])
    verified = verify_certificate(signer.certificate, signer.blinded_key, epoch * 86_400.0)
    assert verified.verify(label, message, unhex(vector["signature"]))

    epoch_key = Ed25519PrivateKey.from_private_bytes(counting_bytes(32))
    blinded = unhex(vector["blinded_key"])
    body = b"\x01" + epoch.to_bytes(8, "big") + epoch_key.public_key().public_bytes_raw()
    point = reference.edwards_form(bytes(private_key.public_key()))
    h = reference.blinding_factor(point, unhex(vector["secret"]), epoch)
    scalar = h * reference.signing_scalar(bytes(private_key)) % reference.q
    certified = lp(b"wice epoch certificate v1", blinded, body)
    assert body + reference.sign(scalar, certified, counting_bytes(64)) == signer.certificate
    signed = lp(label, blinded, message)
    assert epoch_key.sign(signed) == unhex(vector["signature"])


def test_a_sealed_box(documented_vectors: Vectors, counting_bytes: RandomBytes) -> None:
    vector = documented_vectors["sealed_box"][0]
    recipient = LocalKeyHolder(PrivateKey(unhex(vector["private_key"])), counting_bytes)
    assert bytes(recipient.public_key).hex() == vector["recipient"]
    sealed, plaintext = unhex(vector["sealed"]), unhex(vector["plaintext"])
    assert counting_bytes(32).hex() == vector["ephemeral"]
    assert seal_anonymous(recipient.public_key, plaintext, counting_bytes) == sealed
    assert recipient.open_sealed(sealed) == plaintext
