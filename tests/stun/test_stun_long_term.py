"""Long-term credentials: RFC 8489 appendix B.1, keys, user hashes, nonce cookies."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Class,
    IntegrityKey,
    IntegrityKeySHA256,
    Method,
    PasswordAlgorithm,
    encode,
    long_term_key,
    parse,
    userhash,
)
from wice.stun.long_term import (
    SecurityFeature,
    nonce_cookie,
    nonce_features,
    opaque_string,
    pack_password_algorithms,
    unpack_password_algorithms,
)

USERNAME = "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
REALM = "example.org"
PASSWORD = "TheMatrIX"
NONCE = b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"
TRANSACTION_ID = bytes.fromhex("78ad3433c6ad72c029da412e")

# RFC 8489 appendix B.1 as erratum 6268 mends it: PASSWORD-ALGORITHM was missing.
REQUEST = bytes.fromhex(
    "000100902112a44278ad3433c6ad72c029da412e"
    "001e00204a3cf38fef6992bda952c6780417da0f2481941556 9e60b205c46e41407f1704"
    "001500296f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c3946535476793634734100"
    "00000014000b6578616d706c652e6f726700"
    "001d000400020000"
    "001c0020b5c7bf005b6c52a21c51c5e892f819241362 96cb927c431493 09278cc6518e65".replace(" ", "")
)


def test_request_with_sha256_and_userhash() -> None:
    message = parse(REQUEST)
    assert message.require(Attribute.USERHASH) == userhash(USERNAME, REALM)
    assert message.require(Attribute.NONCE) == NONCE
    assert unpack_password_algorithms(message.require(Attribute.PASSWORD_ALGORITHM)) == [2]
    key = long_term_key(USERNAME, REALM, PASSWORD, PasswordAlgorithm.SHA256)
    message.verify_integrity(key)
    written = encode(
        Method.BINDING,
        Class.REQUEST,
        TRANSACTION_ID,
        [
            (Attribute.USERHASH, userhash(USERNAME, REALM)),
            (Attribute.NONCE, NONCE),
            (Attribute.REALM, REALM.encode()),
            (Attribute.PASSWORD_ALGORITHM, b"\x00\x02\x00\x00"),
        ],
        key=key,
        fingerprint=False,
    )
    assert written == REQUEST


@pytest.mark.parametrize(
    "key",
    [
        long_term_key(USERNAME, REALM, "the matrix", PasswordAlgorithm.SHA256),
        long_term_key(USERNAME, REALM, PASSWORD, PasswordAlgorithm.MD5, with_sha256=True),
        long_term_key(USERNAME, REALM, PASSWORD, PasswordAlgorithm.MD5),
    ],
)
def test_no_other_key_verifies(key: IntegrityKey) -> None:
    with pytest.raises(RemoteProtocolError, match="integrity"):
        parse(REQUEST).verify_integrity(key)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_integrity_is_hmac_sha256(password: bytes, data: bytes) -> None:
    assert IntegrityKeySHA256(password).digest(data) == hmac.digest(password, data, "sha256")


def test_keys_are_hashes_of_user_realm_and_password() -> None:
    text = b"alice:wonder:land"
    for algorithm, name in ((PasswordAlgorithm.MD5, "md5"), (PasswordAlgorithm.SHA256, "sha256")):
        key = long_term_key("alice", "wonder", "land", algorithm, with_sha256=False)
        expected = hmac.digest(hashlib.new(name, text).digest(), b"x", "sha1")
        assert key.digest(b"x") == expected


def test_a_truncated_sha256_is_refused() -> None:
    """RFC 8489 section 14.6: truncation is for usages that allow it; ours do not."""
    key = IntegrityKeySHA256(b"k")
    whole = encode(Method.BINDING, Class.REQUEST, TRANSACTION_ID, key=key, fingerprint=False)
    parse(whole).verify_integrity(key)
    header = whole[:2] + (20).to_bytes(2, "big") + whole[4:20]
    short = header + b"\x00\x1c\x00\x10" + key.digest(header)[:16]
    with pytest.raises(RemoteProtocolError, match="does not hold"):
        parse(short).verify_integrity(key)


def test_one_integrity_does_not_stand_for_the_other() -> None:
    sha1 = encode(Method.BINDING, Class.REQUEST, TRANSACTION_ID, key=IntegrityKey(b"k"))
    with pytest.raises(RemoteProtocolError, match="without integrity"):
        parse(sha1).verify_integrity(IntegrityKeySHA256(b"k"))


def test_repeated_attributes_are_all_read_up_to_the_integrity() -> None:
    data = encode(
        Method.BINDING,
        Class.REQUEST,
        TRANSACTION_ID,
        [(0xFF00, b"one"), (Attribute.SOFTWARE, b"-"), (0xFF00, b"second")],
        key=IntegrityKey(b"k"),
        fingerprint=False,
    )
    extended = bytearray(data + b"\xff\x00\x00\x04fake")
    extended[2:4] = (len(extended) - 20).to_bytes(2, "big")
    assert parse(bytes(extended)).values(0xFF00) == [b"one", b"second"]  # type: ignore[arg-type]


@pytest.mark.parametrize("features", [SecurityFeature(bits) for bits in range(4)])
def test_cookies_say_what_a_server_can(features: SecurityFeature) -> None:
    cookie = nonce_cookie(features)
    assert len(cookie) == 13
    assert nonce_features(cookie + b"anything") == features


@pytest.mark.parametrize("nonce", [b"", b"obMatJos2", b"obMatJos2AA", b"obMatJos2A=AB", b"other"])
def test_a_nonce_without_a_cookie_says_nothing(nonce: bytes) -> None:
    assert nonce_features(nonce) == SecurityFeature(0)


def test_the_vector_has_username_anonymity() -> None:
    assert nonce_features(NONCE) == SecurityFeature.USERNAME_ANONYMITY


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("a\u00a0b", "a b"), ("e\u0301", "\u00e9"), ("I\u00e9 \u2003x", "I\u00e9  x"), ("A", "A")],
)
def test_opaque_strings(text: str, prepared: str) -> None:
    assert opaque_string(text) == prepared


@pytest.mark.parametrize("text", ["", "a\x00", "a\n", "\ud800"])
def test_what_is_no_opaque_string(text: str) -> None:
    with pytest.raises(ValueError, match="control"):
        opaque_string(text)


def test_algorithms_come_back_with_those_that_are_unknown() -> None:
    known = pack_password_algorithms([PasswordAlgorithm.SHA256, PasswordAlgorithm.MD5])
    assert known == b"\x00\x02\x00\x00\x00\x01\x00\x00"
    other = b"\x00\x09\x00\x03abc\x00"
    assert unpack_password_algorithms(other + known) == [9, 2, 1]


@pytest.mark.parametrize("value", [b"\x00\x02\x00", b"\x00\x02\x00\x01", b"\x00\x02\x00\x00\x00"])
def test_an_algorithm_that_is_cut_off_is_refused(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="beyond"):
        unpack_password_algorithms(value)
