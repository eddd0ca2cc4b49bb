import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings
from nacl.public import Box, SealedBox
from nacl.public import PrivateKey as NaclPrivateKey
from nacl.public import PublicKey as NaclPublicKey

import wice.keys._holder as holder_module
from wice.errors import EnvelopeError
from wice.keys import (
    ANY,
    BlindedKey,
    LocalKeyHolder,
    PrivateKey,
    PublicKey,
    edwards_public_key,
    seal_anonymous,
)

OURS = PrivateKey(bytes(range(32)))
THEIRS = PrivateKey(bytes(range(32, 64)))
NONCE = bytes(range(24))
Q = 2**252 + 27742317777372353535851937790883648493


@pytest.fixture
def ours() -> LocalKeyHolder:
    return LocalKeyHolder(OURS, os.urandom)


@pytest.fixture
def theirs() -> LocalKeyHolder:
    return LocalKeyHolder(THEIRS, os.urandom)


def test_what_one_seals_the_other_opens(ours: LocalKeyHolder, theirs: LocalKeyHolder) -> None:
    sealed = ours.seal(theirs.public_key, b"hello", NONCE)
    assert theirs.open(ours.public_key, sealed, NONCE) == b"hello"


def test_it_is_the_ordinary_nacl_box(ours: LocalKeyHolder) -> None:
    box = Box(NaclPrivateKey(bytes(THEIRS)), NaclPublicKey(bytes(ours.public_key)))
    assert box.decrypt(ours.seal(THEIRS.public_key(), b"hello", NONCE), NONCE) == b"hello"
    sealed = box.encrypt(b"hello", NONCE).ciphertext
    assert ours.open(THEIRS.public_key(), sealed, NONCE) == b"hello"


def test_a_sealed_box_is_the_ordinary_one(ours: LocalKeyHolder) -> None:
    sealed = SealedBox(NaclPublicKey(bytes(ours.public_key))).encrypt(b"hello")
    assert ours.open_sealed(sealed) == b"hello"
    theirs = SealedBox(NaclPrivateKey(bytes(OURS)))
    assert theirs.decrypt(seal_anonymous(ours.public_key, b"hello", os.urandom)) == b"hello"


def test_a_sealed_box_depends_on_the_random_bytes_alone(
    counting_bytes: Callable[[int], bytes],
) -> None:
    recipient = OURS.public_key()
    first = seal_anonymous(recipient, b"hello", counting_bytes)
    assert first == seal_anonymous(recipient, b"hello", counting_bytes)
    assert first != seal_anonymous(recipient, b"hello", os.urandom)


@given(st.binary(max_size=200), st.binary(max_size=40), st.binary(min_size=32, max_size=32))
def test_anything_else_is_an_envelope_error(ciphertext: bytes, nonce: bytes, sender: bytes) -> None:
    holder = LocalKeyHolder(OURS, os.urandom)
    for claimed in (PublicKey(sender), ANY, THEIRS.public_key()):
        with pytest.raises(EnvelopeError):
            holder.open(claimed, ciphertext, nonce)
    with pytest.raises(EnvelopeError):
        holder.open_sealed(ciphertext)


@given(st.integers(0, 20 * 8 + 7))
def test_a_changed_box_does_not_open(bit: int) -> None:
    ours, theirs = LocalKeyHolder(OURS, os.urandom), LocalKeyHolder(THEIRS, os.urandom)
    sealed = bytearray(ours.seal(theirs.public_key, b"hello", NONCE))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EnvelopeError, match="does not open"):
        theirs.open(ours.public_key, bytes(sealed), NONCE)


def test_a_box_from_another_sender_does_not_open(
    ours: LocalKeyHolder, theirs: LocalKeyHolder
) -> None:
    sealed = LocalKeyHolder(PrivateKey(bytes(32)), os.urandom).seal(theirs.public_key, b"", NONCE)
    with pytest.raises(EnvelopeError):
        theirs.open(ours.public_key, sealed, NONCE)


def test_sealing_to_a_key_of_low_order_is_refused(ours: LocalKeyHolder) -> None:
    with pytest.raises(ValueError, match="low order"):
        ours.seal(ANY, b"hello", NONCE)
    with pytest.raises(ValueError, match="low order"):
        seal_anonymous(ANY, b"hello", os.urandom)


def test_shared_keys_are_bounded_and_kept_for_who_proved_itself(
    ours: LocalKeyHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder_module, "SHARED_KEYS_MAX", 2)
    others = [LocalKeyHolder(PrivateKey(bytes([8 * i]) * 32), os.urandom) for i in range(1, 4)]
    for other in others:
        box = other.seal(ours.public_key, b"", NONCE)
        ours.open(other.public_key, box, NONCE)
    kept = list(ours._shared_keys)
    assert kept == [others[1].public_key, others[2].public_key]
    with pytest.raises(EnvelopeError):
        ours.open(others[0].public_key, bytes(16), NONCE)
    assert list(ours._shared_keys) == kept


def test_a_shared_key_in_use_outlives_one_that_is_not(
    ours: LocalKeyHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder_module, "SHARED_KEYS_MAX", 2)
    first, second, third = (PrivateKey(bytes([8 * i]) * 32).public_key() for i in range(1, 4))
    for recipient in (first, second, first, third):
        ours.seal(recipient, b"", NONCE)
    assert list(ours._shared_keys) == [first, third]


def test_a_blinded_signature_verifies_under_the_blinded_key(ours: LocalKeyHolder) -> None:
    factor = (7).to_bytes(32, "little")
    signature = ours.sign_blinded(factor, b"message")
    point = bindings.crypto_scalarmult_ed25519_noclamp(factor, edwards_public_key(ours.public_key))
    assert BlindedKey(point).verify(b"message", signature)
    assert not BlindedKey(point).verify(b"another", signature)
    assert not BlindedKey(edwards_public_key(ours.public_key)).verify(b"message", signature)


def test_each_signature_takes_64_fresh_bytes() -> None:
    sizes: list[int] = []

    def random_bytes(size_bytes: int) -> bytes:
        sizes.append(size_bytes)
        return os.urandom(size_bytes)

    holder = LocalKeyHolder(OURS, random_bytes)
    factor = (7).to_bytes(32, "little")
    assert holder.sign_blinded(factor, b"m")[:32] != holder.sign_blinded(factor, b"m")[:32]
    assert sizes == [64, 64]


def test_a_generator_that_repeats_itself_gives_related_keys_different_nonces(
    counting_bytes: Callable[[int], bytes],
) -> None:
    holder = LocalKeyHolder(OURS, counting_bytes)
    nonces = {holder.sign_blinded(h.to_bytes(32, "little"), b"m")[:32] for h in (1, 2, 3)}
    assert len(nonces) == 3


@pytest.mark.parametrize(
    "factor",
    [b"", bytes(31), bytes(32), Q.to_bytes(32, "little"), (2**256 - 1).to_bytes(32, "little")],
)
def test_factors_that_are_no_scalar_are_refused(ours: LocalKeyHolder, factor: bytes) -> None:
    with pytest.raises(ValueError, match="blinding factor"):
        ours.sign_blinded(factor, b"message")


def test_it_does_not_show_the_private_key(ours: LocalKeyHolder) -> None:
    assert OURS.reveal_base64() not in repr(ours)
    assert ours.public_key.to_base64() in repr(ours)
