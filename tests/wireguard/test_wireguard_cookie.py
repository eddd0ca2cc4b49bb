"""mac1, mac2 and cookies."""

import hashlib
import random

import pytest

from tests.wireguard.conftest import A_ENDPOINT, Pair
from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.keys import PrivateKey
from wice.wireguard import messages
from wice.wireguard.cookie import COOKIE_LIFETIME_S, CookieChecker, CookieJar
from wice.wireguard.messages import CookieReply

SOURCE = Endpoint("192.0.2.7", 700)
MESSAGE = bytes(range(116))


@pytest.fixture
def sides() -> tuple[CookieJar, CookieChecker]:
    generator = random.Random(3)
    responder = PrivateKey(generator.randbytes(32)).public_key()
    return CookieJar(responder), CookieChecker(responder, generator.randbytes)


Sides = tuple[CookieJar, CookieChecker]


def test_mac1_is_blake2s_keyed_by_label_and_public_key() -> None:
    public_key = PrivateKey(bytes(32)).public_key()
    key = hashlib.blake2s(b"mac1----" + bytes(public_key)).digest()
    mac1 = hashlib.blake2s(MESSAGE, key=key, digest_size=16).digest()
    assert CookieJar(public_key).add_macs(MESSAGE, 0.0) == MESSAGE + mac1 + bytes(16)


def test_every_byte_under_mac1_counts(sides: Sides) -> None:
    jar, checker = sides
    whole = jar.add_macs(MESSAGE, 0.0)
    checker.check_mac1(whole)
    for place in range(len(MESSAGE) + 16):
        bent = bytearray(whole)
        bent[place] ^= 1
        with pytest.raises(RemoteProtocolError, match="mac1"):
            checker.check_mac1(bytes(bent))


def test_a_cookie_is_good_for_its_address_and_its_time(sides: Sides) -> None:
    jar, checker = sides
    first = jar.add_macs(MESSAGE, 0.0)
    assert not checker.has_mac2(first, SOURCE, 0.0)
    jar.consume_reply(checker.create_reply(first, 9, SOURCE, 0.0), 0.0)
    second = jar.add_macs(MESSAGE, 1.0)
    assert checker.has_mac2(second, SOURCE, 1.0)
    assert not checker.has_mac2(second, SOURCE._replace(port=701), 1.0)
    assert not checker.has_mac2(second, Endpoint("192.0.2.8", 700), 1.0)
    assert not checker.has_mac2(second[:5] + b"\xff" + second[6:], SOURCE, 1.0)
    assert not checker.has_mac2(second, SOURCE, COOKIE_LIFETIME_S + 1)
    assert jar.add_macs(MESSAGE, COOKIE_LIFETIME_S + 1)[-16:] == bytes(16)


def test_without_a_cookie_given_out_no_mac2_is_right(sides: Sides) -> None:
    _, checker = sides
    forged = MESSAGE + bytes(16)
    empty_key = hashlib.blake2s(b"", digest_size=16, key=b"").digest()
    forged += hashlib.blake2s(forged, digest_size=16, key=empty_key).digest()
    assert not checker.has_mac2(forged, SOURCE, 0.0)


def test_a_cookie_that_was_not_asked_for_is_refused(sides: Sides) -> None:
    jar, checker = sides
    whole = jar.add_macs(MESSAGE, 0.0)
    reply = checker.create_reply(whole, 9, SOURCE, 0.0)
    jar.add_macs(MESSAGE + b"newer", 0.0)
    with pytest.raises(RemoteProtocolError, match="does not authenticate"):
        jar.consume_reply(reply, 0.0)
    jar.add_macs(MESSAGE, 0.0)
    jar.consume_reply(reply, 0.0)
    with pytest.raises(RemoteProtocolError, match="nobody asked for"):
        jar.consume_reply(reply, 0.0)


def test_under_load_a_stranger_gets_a_cookie_and_no_handshake(pair: Pair) -> None:
    pair.b.is_under_load = True
    pair.a.set_path(pair.b)
    pair.a.send(pair.b)
    pair.run(1.0)
    assert [transmit.data[0] for _, transmit in pair.b.sent] == [messages.COOKIE_REPLY]
    assert not pair.a.completed()
    # The cookie is used by the next attempt, after the rekey timeout, and suffices.
    pair.run(6.0)
    initiations = pair.a.sent_of_type(messages.INITIATION)
    assert initiations[0][1].data[-16:] == bytes(16) != initiations[1][1].data[-16:]
    assert len(pair.b.packets) == 1 and len(pair.a.completed()) == 1


def test_under_load_a_response_wants_a_cookie_too(pair: Pair) -> None:
    pair.a.is_under_load = True
    pair.a.set_path(pair.b)
    pair.a.send(pair.b)
    pair.run(20.0)
    assert pair.a.sent_of_type(messages.COOKIE_REPLY)
    assert len(pair.b.packets) == 1


def test_under_load_one_address_is_limited_even_with_cookies(pair: Pair) -> None:
    pair.a.set_path(pair.b)
    pair.a.send(pair.b)
    pair.b.is_under_load = True
    pair.run(6.0)
    (_, with_cookie) = pair.a.sent_of_type(messages.INITIATION)[-1]
    reasons = [pair.deliver(pair.b, with_cookie.data, A_ENDPOINT) for _ in range(10)]
    assert "too many handshakes from one address" in reasons


def test_mac1_is_checked_before_anything_else(pair: Pair) -> None:
    pair.b.is_under_load = True
    pair.a.set_path(pair.b)
    pair.a.send(pair.b)
    data = pair.a.sent[0][1].data
    bent = data[:-32] + bytes(32)
    assert pair.deliver(pair.b, bent, A_ENDPOINT) == "a handshake message with a wrong mac1"
    assert pair.b.sent == []


def test_a_cookie_for_an_unknown_index_is_refused(connected: Pair) -> None:
    reply = CookieReply(12345, bytes(24), bytes(32)).pack()
    assert connected.deliver(connected.a, reply, A_ENDPOINT) == "a message of no session of ours"


def test_a_forged_cookie_changes_nothing(pair: Pair) -> None:
    pair.a.set_path(pair.b)
    pair.a.send(pair.b)
    index = int.from_bytes(pair.a.sent[0][1].data[4:8], "little")
    forged = CookieReply(index, bytes(24), bytes(32)).pack()
    assert pair.deliver(pair.a, forged, A_ENDPOINT) == "a cookie that does not authenticate"
    pair.run(1.0)
    assert pair.a.completed()
