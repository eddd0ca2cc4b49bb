import pytest
from hypothesis import given
from hypothesis import strategies as st

from wice.keys import PresharedKey, PrivateKey, PublicKey

RAW = bytes(range(32))
TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def test_base64_is_that_of_wg() -> None:
    assert PublicKey.from_base64(TEXT) == PublicKey(RAW)
    assert PublicKey(RAW).to_base64() == str(PublicKey(RAW)) == TEXT
    assert PresharedKey.from_base64(TEXT).reveal_base64() == TEXT


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "=",
        TEXT[:-2] + "9=",  # the same 32 bytes with stray bits at the end
        "!" + TEXT[1:],
        " " + TEXT[1:],
        TEXT[:-1] + "\n",
        "é" + TEXT[1:],
    ],
)
def test_other_text_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match="a private key"):
        PrivateKey.from_base64(text)


@given(st.binary(max_size=64).filter(lambda raw: len(raw) != 32))
def test_other_sizes_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PublicKey(raw)


def test_private_keys_are_clamped_and_give_the_public_key_of_rfc_7748() -> None:
    # RFC 7748 section 6.1.
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bytes(PrivateKey(alice).public_key()).hex() == public
    assert bytes(PrivateKey(b"\xff" * 32)) == b"\xf8" + b"\xff" * 30 + b"\x7f"


def test_secrets_do_not_show_themselves() -> None:
    for secret in (PrivateKey(RAW), PresharedKey(RAW)):
        shown = f"{secret} {secret!r} {[secret]}"
        assert secret.reveal_base64() not in shown
        assert "hidden" in shown


def test_kinds_of_keys_are_not_equal() -> None:
    assert PresharedKey(RAW) != PublicKey(RAW)
    assert len({PresharedKey(RAW), PublicKey(RAW), PublicKey(RAW)}) == 2


def test_public_keys_order_by_their_bytes() -> None:
    assert PublicKey(b"\x00" * 31 + b"\xff") < PublicKey(b"\x01" + b"\x00" * 31)
