import base64
import hashlib
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wice.errors import RemoteProtocolError
from wice.keys import (
    ANY,
    EPOCH_LENGTH_S,
    BlindedKey,
    CommunitySecret,
    LocalKeyHolder,
    PrivateKey,
    blind,
    blinding_factor,
    edwards_public_key,
    epoch_at,
    epochs_to_publish,
    epochs_to_read,
    length_prefixed,
)
from wice.keys._blinding import _nonzero_scalar

Q = 2**252 + 27742317777372353535851937790883648493
HARBOUR = CommunitySecret.from_name("harbour")
OURS = PrivateKey(bytes(range(32)))
raw_32 = st.binary(min_size=32, max_size=32)
epochs = st.integers(0, 2**64 - 1)


@settings(max_examples=15)
@given(raw_32, raw_32, epochs)
def test_blinding_equals_plain_integer_arithmetic_from_both_sides(
    reference: Any, raw: bytes, secret: bytes, epoch: int
) -> None:
    private_key = PrivateKey(raw)
    community = CommunitySecret(secret, is_private=True)
    point = reference.edwards_form(bytes(private_key.public_key()))
    factor = reference.blinding_factor(point, secret, epoch)

    public_side = reference.multiply(factor, reference.decode(point))
    scalar = factor * reference.signing_scalar(bytes(private_key)) % Q
    private_side = reference.multiply(scalar, reference.base)
    assert public_side == private_side

    blinded = blind(private_key.public_key(), community, epoch)
    assert bytes(blinded) == reference.encode(public_side)
    h = blinding_factor(private_key.public_key(), community, epoch)
    assert h == factor.to_bytes(32, "little")
    signed = LocalKeyHolder(private_key, lambda size: bytes(size)).sign_blinded(h, b"message")
    assert signed == reference.sign(scalar, b"message", bytes(64))
    assert blinded.verify(b"message", signed)


@given(raw_32, epochs)
def test_a_blinded_key_signs(raw: bytes, epoch: int) -> None:
    holder = LocalKeyHolder(PrivateKey(raw), os.urandom)
    factor = blinding_factor(holder.public_key, HARBOUR, epoch)
    signature = holder.sign_blinded(factor, b"message")
    assert blind(holder.public_key, HARBOUR, epoch).verify(b"message", signature)
    assert not blind(holder.public_key, HARBOUR, epoch ^ 1).verify(b"message", signature)


def test_key_secret_and_epoch_each_change_the_blinded_key() -> None:
    others = {
        blind(public_key, community, epoch)
        for public_key in (OURS.public_key(), PrivateKey(bytes(32)).public_key())
        for community in (HARBOUR, CommunitySecret.from_name("quay"))
        for epoch in (1, 2)
    }
    assert len(others) == 8


def test_the_blinding_factor_is_never_0() -> None:
    for zero in (bytes(64), Q.to_bytes(64, "little")):
        expected = int.from_bytes(hashlib.sha512(zero).digest(), "little") % Q
        assert int.from_bytes(_nonzero_scalar(zero), "little") == expected
    assert _nonzero_scalar((Q + 1).to_bytes(64, "little")) == (1).to_bytes(32, "little")


def test_a_key_that_is_no_identity_cannot_be_blinded() -> None:
    with pytest.raises(ValueError, match="subgroup"):
        blind(ANY, HARBOUR, 1)


def test_the_dht_key_fits_and_reads_back() -> None:
    blinded = blind(OURS.public_key(), HARBOUR, 20_000)
    dht_key = blinded.dht_key()
    assert len(dht_key) == 49
    assert dht_key.startswith(b"/wice/")
    assert base64.urlsafe_b64decode(dht_key[6:] + b"=") == bytes(blinded)
    assert BlindedKey.from_dht_key(dht_key) == blinded
    assert blinded.topic() == "/wice/topic/1/" + dht_key[6:].decode()


@given(
    st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=60).map(lambda tail: b"/wice/" + tail),
        raw_32.map(lambda raw: b"/wice/" + base64.b64encode(raw)),
        raw_32.map(lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=")),
        raw_32.map(lambda raw: b"/wice/" + base64.urlsafe_b64encode(raw)[:-2] + b"9"),
    )
)
def test_other_dht_keys_are_refused(dht_key: bytes) -> None:
    try:
        blinded = BlindedKey.from_dht_key(dht_key)
    except RemoteProtocolError:
        return
    assert blinded.dht_key() == dht_key


def test_a_dht_key_with_stray_bits_is_refused() -> None:
    dht_key = BlindedKey(bytes(32)).dht_key()
    with pytest.raises(RemoteProtocolError):
        BlindedKey.from_dht_key(dht_key[:-1] + b"B")
    with pytest.raises(RemoteProtocolError):
        BlindedKey.from_dht_key(dht_key.removeprefix(b"/wice/"))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_blinded_keys_and_secrets_have_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        BlindedKey(bytes(size))
    with pytest.raises(ValueError, match="32 bytes"):
        CommunitySecret(bytes(size), is_private=True)


def test_the_secret_of_a_name_is_apart_from_that_of_a_passphrase() -> None:
    by_name = CommunitySecret.from_name("harbour")
    by_passphrase = CommunitySecret.from_passphrase("harbour", b"harbour")
    elsewhere = CommunitySecret.from_passphrase("quay", b"harbour")
    assert len({by_name, by_passphrase, elsewhere}) == 3
    assert by_passphrase == CommunitySecret.from_passphrase("harbour", b"harbour")
    assert by_passphrase.is_private
    assert not by_name.is_private


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(ValueError, match="not empty"):
        CommunitySecret.from_passphrase("harbour", b"")


def test_a_name_counts_however_its_accents_were_typed() -> None:
    assert CommunitySecret.from_name("caf\u00e9") == CommunitySecret.from_name("cafe\u0301")


def test_secrets_do_not_show_themselves() -> None:
    secret = CommunitySecret(b"\xab" * 32, is_private=True)
    assert "hidden" in f"{secret}"
    assert "ab" not in repr(secret).replace("community", "")
    assert "\\xab" not in repr([secret])


def test_what_is_derived_depends_on_the_label() -> None:
    key = OURS.public_key()
    assert HARBOUR.derive(b"one", key, 1) != HARBOUR.derive(b"two", key, 1)
    assert len(HARBOUR.derive(b"one", key, 1)) == 64
    assert edwards_public_key(key) != bytes(key)


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_no_two_lists_encode_alike(first: list[bytes], second: list[bytes]) -> None:
    assert (length_prefixed(*first) == length_prefixed(*second)) == (first == second)


def test_epochs_are_days_of_utc() -> None:
    assert EPOCH_LENGTH_S == 86_400
    assert [epoch_at(t) for t in (-5.0, 0.0, 86_399.9, 86_400.0)] == [0, 0, 0, 1]


@given(st.floats(0, 1e11), st.floats(-EPOCH_LENGTH_S, EPOCH_LENGTH_S))
def test_readers_find_what_is_published_though_clocks_differ_by_a_day(
    wall_time: float, skew: float
) -> None:
    published = set(epochs_to_publish(wall_time))
    assert published & set(epochs_to_read(max(0.0, wall_time + skew)))


def test_the_current_epoch_is_read_first() -> None:
    assert epochs_to_read(10 * EPOCH_LENGTH_S) == (10, 11, 9)
    assert epochs_to_read(0) == (0, 1)
