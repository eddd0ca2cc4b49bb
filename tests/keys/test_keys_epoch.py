import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wice.errors import RemoteProtocolError
from wice.keys import (
    CERTIFICATE_SIZE_BYTES,
    CLOCK_SKEW_MAX_S,
    EPOCH_LENGTH_S,
    CommunitySecret,
    EpochSigner,
    LocalKeyHolder,
    PrivateKey,
    blind,
    blinding_factor,
    length_prefixed,
    verify_certificate,
)

EPOCH = 20_000
NOW = EPOCH * EPOCH_LENGTH_S + 1_000.0
HARBOUR = CommunitySecret.from_name("harbour")
HOLDER = LocalKeyHolder(PrivateKey(bytes(range(32))), os.urandom)
SIGNER = EpochSigner(HOLDER, HARBOUR, EPOCH, os.urandom)


def test_a_certificate_verifies_without_any_secret() -> None:
    assert SIGNER.blinded_key == blind(HOLDER.public_key, HARBOUR, EPOCH)
    assert len(SIGNER.certificate) == CERTIFICATE_SIZE_BYTES == 105
    verified = verify_certificate(SIGNER.certificate, SIGNER.blinded_key, NOW)
    assert (verified.blinded_key, verified.epoch) == (SIGNER.blinded_key, EPOCH)
    signature = SIGNER.sign(b"label", b"message")
    assert verified.verify(b"label", b"message", signature)
    assert not verified.verify(b"label", b"another", signature)
    assert not verified.verify(b"another label", b"message", signature)
    assert not verified.verify(b"label", b"message", b"")


@given(
    st.integers(0, CERTIFICATE_SIZE_BYTES - 1),
    st.integers(1, 255),
    st.sampled_from([b"", b"\0", os.urandom(105)]),
)
def test_a_changed_certificate_is_refused(index: int, change: int, tail: bytes) -> None:
    changed = bytearray(SIGNER.certificate)
    changed[index] ^= change
    for certificate in (bytes(changed) + tail, SIGNER.certificate[:index], tail):
        with pytest.raises(RemoteProtocolError):
            verify_certificate(certificate, SIGNER.blinded_key, NOW)


def test_an_unknown_version_is_refused() -> None:
    body = b"\x02" + SIGNER.certificate[1:41]
    signature = HOLDER.sign_blinded(
        blinding_factor(HOLDER.public_key, HARBOUR, EPOCH),
        length_prefixed(b"wice epoch certificate v1", bytes(SIGNER.blinded_key), body),
    )
    with pytest.raises(RemoteProtocolError, match="version 2"):
        verify_certificate(body + signature, SIGNER.blinded_key, NOW)


def test_a_certificate_of_another_key_is_refused() -> None:
    stranger = LocalKeyHolder(PrivateKey(bytes(32)), os.urandom)
    theirs = EpochSigner(stranger, HARBOUR, EPOCH, os.urandom)
    with pytest.raises(RemoteProtocolError, match="forged"):
        verify_certificate(theirs.certificate, SIGNER.blinded_key, NOW)


def test_the_certificate_of_one_epoch_is_refused_for_the_key_of_another() -> None:
    tomorrow = EpochSigner(HOLDER, HARBOUR, EPOCH + 1, os.urandom)
    with pytest.raises(RemoteProtocolError, match="forged"):
        verify_certificate(SIGNER.certificate, tomorrow.blinded_key, NOW)


@pytest.mark.parametrize(
    ("seconds", "is_valid"),
    [
        (-EPOCH_LENGTH_S - CLOCK_SKEW_MAX_S - 1, False),
        (-EPOCH_LENGTH_S - CLOCK_SKEW_MAX_S, True),
        (0, True),
        (2 * EPOCH_LENGTH_S + CLOCK_SKEW_MAX_S - 1, True),
        (2 * EPOCH_LENGTH_S + CLOCK_SKEW_MAX_S, False),
    ],
)
def test_it_is_valid_from_the_epoch_before_to_the_one_after(seconds: int, is_valid: bool) -> None:
    now = EPOCH * EPOCH_LENGTH_S + seconds
    if is_valid:
        verify_certificate(SIGNER.certificate, SIGNER.blinded_key, now)
        return
    with pytest.raises(RemoteProtocolError, match="out of its time"):
        verify_certificate(SIGNER.certificate, SIGNER.blinded_key, now)


def test_each_signer_has_an_epoch_key_of_its_own() -> None:
    again = EpochSigner(HOLDER, HARBOUR, EPOCH, os.urandom)
    keys = {
        verify_certificate(signer.certificate, signer.blinded_key, NOW).epoch_key
        for signer in (SIGNER, again)
    }
    assert len(keys) == 2


def test_the_private_key_is_asked_once(counting_bytes: Callable[[int], bytes]) -> None:
    class CountingHolder(LocalKeyHolder):
        calls = 0

        def sign_blinded(self, blinding_factor: bytes, message: bytes) -> bytes:
            self.calls += 1
            return super().sign_blinded(blinding_factor, message)

    holder = CountingHolder(PrivateKey(bytes(32)), counting_bytes)
    signer = EpochSigner(holder, HARBOUR, EPOCH, counting_bytes)
    for _ in range(3):
        signer.sign(b"label", b"message")
    assert holder.calls == 1


def test_a_signer_does_not_show_its_keys() -> None:
    assert repr(SIGNER) == f"EpochSigner(epoch={EPOCH})"
