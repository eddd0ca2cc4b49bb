import os
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings
from nacl.signing import VerifyKey

from wice.keys import (
    ANY,
    PrivateKey,
    PublicKey,
    edwards_public_key,
    is_valid_identity,
    xeddsa_sign,
    xeddsa_verify,
)
from wice.keys._edwards import verify

P = 2**255 - 19
RAW_KEY = st.binary(min_size=32, max_size=32)
private_keys = RAW_KEY.map(PrivateKey)


def as_key(u: int) -> PublicKey:
    return PublicKey(u.to_bytes(32, "little"))


@given(private_keys, st.binary(max_size=200), st.binary(min_size=64, max_size=64))
def test_the_ordinary_verification_of_libsodium_and_openssl_accepts(
    private_key: PrivateKey, message: bytes, randomness: bytes
) -> None:
    signature = xeddsa_sign(private_key, message, randomness)
    point = edwards_public_key(private_key.public_key())
    assert VerifyKey(point).verify(message, signature) == message
    Ed25519PublicKey.from_public_bytes(point).verify(signature, message)
    assert xeddsa_verify(private_key.public_key(), message, signature)


@settings(max_examples=20)
@given(private_keys, st.binary(max_size=64))
def test_signatures_equal_those_of_plain_integer_arithmetic(
    reference: Any, private_key: PrivateKey, message: bytes
) -> None:
    randomness = bytes(range(64))
    scalar = reference.signing_scalar(bytes(private_key))
    expected = reference.sign(scalar, message, randomness)
    assert xeddsa_sign(private_key, message, randomness) == expected


def test_both_signs_of_the_public_point_occur_and_sign() -> None:
    signs = set()
    for first in range(16):
        private_key = PrivateKey(bytes([8 * first]) * 32)
        scalar = bindings.crypto_core_ed25519_scalar_reduce(bytes(private_key) + bytes(32))
        signs.add(bindings.crypto_scalarmult_ed25519_base_noclamp(scalar)[31] >> 7)
        signature = xeddsa_sign(private_key, b"message", bytes(64))
        assert xeddsa_verify(private_key.public_key(), b"message", signature)
    assert signs == {0, 1}


@given(private_keys, st.binary(max_size=50), st.integers(0, 511))
def test_any_changed_bit_is_refused(private_key: PrivateKey, message: bytes, bit: int) -> None:
    signature = xeddsa_sign(private_key, message, bytes(64))
    changed = bytearray(signature)
    changed[bit // 8] ^= 1 << bit % 8
    public_key = private_key.public_key()
    assert not xeddsa_verify(public_key, message, bytes(changed))
    assert not xeddsa_verify(public_key, message + b"\0", signature)
    assert not xeddsa_verify(public_key, message, signature[:-1])
    assert not xeddsa_verify(public_key, message, signature + b"\0")


def test_no_byte_moves_between_key_signature_and_message() -> None:
    private_key = PrivateKey(bytes(range(32)))
    signature = xeddsa_sign(private_key, b"message", bytes(64))
    point = edwards_public_key(private_key.public_key())
    assert verify(point, b"message", signature)
    assert not verify(point, b"essage", signature + b"m")
    assert not verify(point, signature[-1:] + b"message", signature[:-1])
    assert not verify(point + b"\0", b"message", signature)


def test_randomness_and_message_change_the_nonce() -> None:
    private_key = PrivateKey(bytes(range(32)))
    nonces = {
        xeddsa_sign(private_key, message, randomness)[:32]
        for message in (b"one", b"two")
        for randomness in (bytes(64), os.urandom(64))
    }
    assert len(nonces) == 4


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_randomness_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="64 random bytes"):
        xeddsa_sign(PrivateKey(bytes(32)), b"", bytes(size))


@given(private_keys)
def test_every_key_pair_is_an_identity(private_key: PrivateKey) -> None:
    assert is_valid_identity(private_key.public_key())


@given(RAW_KEY)
def test_identities_are_the_points_libsodium_accepts(raw: bytes) -> None:
    u = int.from_bytes(raw, "little")
    if u >= P - 1:
        assert not is_valid_identity(PublicKey(raw))
        return
    point = ((u - 1) * pow(u + 1, -1, P) % P).to_bytes(32, "little")
    assert is_valid_identity(PublicKey(raw)) == bindings.crypto_core_ed25519_is_valid_point(point)


# The u-coordinates of low order on Curve25519 and its twist, as RFC 7748's security
# considerations mean them.
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
]


@pytest.mark.parametrize("u", LOW_ORDER)
def test_keys_of_low_order_are_no_identity(u: int) -> None:
    assert not is_valid_identity(as_key(u))
    assert not xeddsa_verify(as_key(u), b"", bytes(64))


def test_the_key_without_an_edwards_form_is_named_as_such() -> None:
    with pytest.raises(ValueError, match="no Edwards form"):
        edwards_public_key(as_key(P - 1))


@pytest.mark.parametrize("u", [P, P + 1, 2**255 - 1, 2**255 + 9, 2**256 - 1])
def test_keys_not_in_canonical_form_are_no_identity(u: int) -> None:
    assert is_valid_identity(as_key(9))
    assert not is_valid_identity(as_key(u))


def test_a_key_outside_the_prime_order_subgroup_is_no_identity() -> None:
    # A valid point plus the point of order 2 (0, -1): (x, y) becomes (-x, -y), u becomes 1/u.
    u = int.from_bytes(bytes(PrivateKey(bytes(range(32))).public_key()), "little")
    assert is_valid_identity(as_key(u))
    assert not is_valid_identity(as_key(pow(u, -1, P)))


def test_the_wildcard_is_no_identity() -> None:
    assert not is_valid_identity(ANY)


def test_a_signature_of_another_key_is_refused() -> None:
    ours, theirs = PrivateKey(bytes(32)), PrivateKey(b"\x08" * 32)
    signature = xeddsa_sign(theirs, b"message", bytes(64))
    assert not xeddsa_verify(ours.public_key(), b"message", signature)
    point = edwards_public_key(ours.public_key())
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(point).verify(signature, b"message")
