"""The test vectors of RFC 5769, byte for byte."""

import hashlib

import pytest

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Class,
    IntegrityKey,
    Method,
    encode,
    pack_xor_address,
    parse,
    unpack_xor_address,
)

PASSWORD = IntegrityKey(b"VOkJxbRl1RmTxUk/WvJxBt")
TRANSACTION_ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")

REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36000600096576746a3a6836765920202000080014"
    "9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
RESPONSE_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200008"
    "0001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
RESPONSE_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200014"
    "0002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275"
    "bfe3ed4180280004c8fb0b4c"
)
LONG_TERM = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe3"
    "82b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b"
    "6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)


def test_request() -> None:
    message = parse(REQUEST)
    assert (message.method, message.message_class) == (Method.BINDING, Class.REQUEST)
    assert message.transaction_id == TRANSACTION_ID
    assert message.has_fingerprint
    assert message.require(Attribute.SOFTWARE) == b"STUN test client"
    assert message.require(Attribute.PRIORITY) == bytes.fromhex("6e0001ff")
    assert message.require(Attribute.ICE_CONTROLLED) == bytes.fromhex("932ff9b151263b36")
    assert message.require(Attribute.USERNAME) == b"evtj:h6vY"
    message.verify_integrity(PASSWORD)
    with pytest.raises(RemoteProtocolError, match="integrity does not hold"):
        message.verify_integrity(IntegrityKey(b"another password of 24 letters"))


@pytest.mark.parametrize(
    ("data", "endpoint"),
    [
        (RESPONSE_IPV4, Endpoint("192.0.2.1", 32853)),
        (RESPONSE_IPV6, Endpoint("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
    ],
)
def test_response(data: bytes, endpoint: Endpoint) -> None:
    message = parse(data)
    assert message.message_class is Class.SUCCESS
    value = message.require(Attribute.XOR_MAPPED_ADDRESS)
    assert unpack_xor_address(value, TRANSACTION_ID) == endpoint
    assert pack_xor_address(endpoint, TRANSACTION_ID) == value
    message.verify_integrity(PASSWORD)
    # The RFC pads with spaces where we pad with zeros, so only the covered part is compared.
    again = encode(
        Method.BINDING,
        Class.SUCCESS,
        TRANSACTION_ID,
        [(Attribute.SOFTWARE, b"test vector"), (Attribute.XOR_MAPPED_ADDRESS, value)],
        key=PASSWORD,
    )
    assert again[20:35] == data[20:35]
    assert again[36:-32] == data[36:-32]
    parse(again).verify_integrity(PASSWORD)


def test_request_with_long_term_authentication() -> None:
    message = parse(LONG_TERM)
    assert not message.has_fingerprint
    username = message.require(Attribute.USERNAME)
    assert username.decode() == "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
    key = hashlib.md5(username + b":example.org:TheMatrIX").digest()
    message.verify_integrity(IntegrityKey(key))
    written = encode(
        Method.BINDING,
        Class.REQUEST,
        message.transaction_id,
        [
            (Attribute.USERNAME, username),
            (Attribute.NONCE, b"f//499k954d6OL34oL9FSTvy64sA"),
            (Attribute.REALM, b"example.org"),
        ],
        key=IntegrityKey(key),
        fingerprint=False,
    )
    assert written == LONG_TERM
