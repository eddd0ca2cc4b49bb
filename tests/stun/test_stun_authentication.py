"""Client and server of long-term credentials, step by step (RFC 8489 section 9.2)."""

import hashlib
from collections.abc import Sequence
from random import Random

import pytest

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Authenticated,
    Class,
    ClientAuthentication,
    IntegrityKey,
    LongTermCredentials,
    Message,
    Method,
    PasswordAlgorithm,
    Refusal,
    ServerAuthentication,
    StaticAccounts,
    encode,
    pack_error_code,
    parse,
)
from wice.stun import server_authentication as server_module
from wice.stun.long_term import SecurityFeature, nonce_cookie, nonce_features

REALM = "example.org"
SOURCE = Endpoint("198.51.100.7", 40_000)
ALICE = LongTermCredentials("alice", "wonderland")
NOW = 100.0
SHA256, MD5 = PasswordAlgorithm.SHA256, PasswordAlgorithm.MD5


def server(
    algorithms: Sequence[PasswordAlgorithm] = (SHA256, MD5), userhash_realm: str = ""
) -> ServerAuthentication:
    accounts = StaticAccounts({"alice": "wonderland"}, userhash_realm)
    return ServerAuthentication(accounts, REALM, Random(1).randbytes, algorithms=algorithms)


def request(client: ClientAuthentication, *more: tuple[int, bytes]) -> Message:
    challenge = client.challenge
    attributes = [*more, *(challenge.attributes if challenge else ())]
    key = challenge.key if challenge else None
    return parse(encode(Method.ALLOCATE, Class.REQUEST, bytes(12), attributes, key=key))


def error(code: int, *attributes: tuple[int, bytes], key: IntegrityKey | None = None) -> Message:
    listed = [(int(Attribute.ERROR_CODE), pack_error_code(code, "")), *attributes]
    return parse(encode(Method.ALLOCATE, Class.ERROR, bytes(12), listed, key=key))


def refusal(refused: Authenticated | Refusal) -> Message:
    assert isinstance(refused, Refusal)
    return parse(encode(Method.ALLOCATE, Class.ERROR, bytes(12), refused.attributes))


def challenged(asked: ServerAuthentication, now: float = NOW) -> ClientAuthentication:
    client = ClientAuthentication(ALICE)
    message = refusal(asked.check(request(client), SOURCE, now))
    assert client.check_response(message, None) == 401
    assert client.take_challenge(message, 401, None)
    return client


@pytest.mark.parametrize("algorithms", [(SHA256, MD5), (MD5,), (SHA256,), ()])
@pytest.mark.parametrize("userhash_realm", ["", REALM])
def test_one_challenge_is_enough_for_many_requests(
    algorithms: Sequence[PasswordAlgorithm], userhash_realm: str
) -> None:
    asked = server(algorithms, userhash_realm)
    client = challenged(asked)
    assert client.challenge is not None
    assert client.challenge.algorithm == (algorithms or [MD5])[0]
    for later in (0.0, 60.0, 3_500.0):
        message = request(client)
        assert (Attribute.MESSAGE_INTEGRITY_SHA256 in message.attributes) == bool(algorithms)
        assert (Attribute.USERNAME in message.attributes) == (not userhash_realm)
        known = asked.check(message, SOURCE, NOW + later)
        assert isinstance(known, Authenticated)
        assert known.account.name == "alice"
        success = encode(Method.ALLOCATE, Class.SUCCESS, bytes(12), key=known.key)
        assert client.check_response(parse(success), client.challenge) == 0


def test_an_old_nonce_is_stale_and_the_new_one_is_taken() -> None:
    asked = server()
    client = challenged(asked)
    stale = refusal(asked.check(request(client), SOURCE, NOW + 3_601))
    assert client.check_response(stale, client.challenge) == 438
    assert client.take_challenge(stale, 438, client.challenge)
    assert isinstance(asked.check(request(client), SOURCE, NOW + 3_601), Authenticated)


def test_a_nonce_is_good_for_one_client_address_and_one_server() -> None:
    asked = server()
    message = request(challenged(asked))
    for elsewhere in (Endpoint(SOURCE.host, 40_001), Endpoint("198.51.100.8", SOURCE.port)):
        assert refused_with(asked, message, elsewhere) == 438
    other = ServerAuthentication(StaticAccounts({}), REALM, Random(2).randbytes)
    assert refused_with(other, message, SOURCE) == 438


def refused_with(asked: ServerAuthentication, message: Message, source: Endpoint = SOURCE) -> int:
    refused = asked.check(message, source, NOW)
    assert isinstance(refused, Refusal)
    return refused.code


@pytest.mark.parametrize(
    "credentials", [LongTermCredentials("alice", "x"), LongTermCredentials("bob", "wonderland")]
)
def test_wrong_credentials_are_refused_once_and_not_tried_again(
    credentials: LongTermCredentials,
) -> None:
    asked = server()
    client = ClientAuthentication(credentials)
    client.take_challenge(refusal(asked.check(request(client), SOURCE, NOW)), 401, None)
    sent_with = client.challenge
    again = refusal(asked.check(request(client), SOURCE, NOW))
    assert client.check_response(again, sent_with) == 401
    assert not client.take_challenge(again, 401, sent_with)
    client.renew(ALICE)
    assert isinstance(asked.check(request(client), SOURCE, NOW), Authenticated)


def test_a_401_of_before_other_credentials_is_worth_another_try() -> None:
    asked = server()
    client = ClientAuthentication(LongTermCredentials("alice", "x"))
    client.take_challenge(refusal(asked.check(request(client), SOURCE, NOW)), 401, None)
    sent_with = client.challenge
    again = refusal(asked.check(request(client), SOURCE, NOW))
    client.renew(ALICE)
    assert client.take_challenge(again, 401, sent_with)


@pytest.mark.parametrize("missing", [Attribute.NONCE, Attribute.REALM, Attribute.USERNAME])
def test_half_of_the_credentials_is_a_bad_request(missing: Attribute) -> None:
    asked = server()
    challenge = challenged(asked).challenge
    assert challenge is not None
    kept = [(kind, value) for kind, value in challenge.attributes if kind != missing]
    data = encode(Method.ALLOCATE, Class.REQUEST, bytes(12), kept, key=challenge.key)
    assert refused_with(asked, parse(data)) == 400


def changed(
    client: ClientAuthentication, kind: Attribute, value: bytes | None, key: IntegrityKey
) -> Message:
    assert client.challenge is not None
    attributes = [
        (k, v if k != kind or value is None else value)
        for k, v in client.challenge.attributes
        if k != kind or value is not None
    ]
    return parse(encode(Method.ALLOCATE, Class.REQUEST, bytes(12), attributes, key=key))


def test_a_server_sees_that_its_algorithms_were_taken_out_or_changed() -> None:
    """Bid-down protection (RFC 8489 section 9.2.4)."""
    asked = server()
    client = challenged(asked)
    assert client.challenge is not None
    key = client.challenge.key
    md5_only = b"\x00\x01\x00\x00"
    for kind, value in (
        (Attribute.PASSWORD_ALGORITHMS, None),
        (Attribute.PASSWORD_ALGORITHMS, md5_only),
        (Attribute.PASSWORD_ALGORITHM, None),
        (Attribute.PASSWORD_ALGORITHM, b"\x00\x07\x00\x00"),
    ):
        assert refused_with(asked, changed(client, kind, value, key)) == 400


def test_an_old_client_is_served_with_md5_and_sha1() -> None:
    asked = server()
    client = challenged(asked)
    assert client.challenge is not None
    plain = [
        (kind, value)
        for kind, value in client.challenge.attributes
        if kind not in (Attribute.PASSWORD_ALGORITHM, Attribute.PASSWORD_ALGORITHMS)
    ]
    key = IntegrityKey(hashlib.md5(b"alice:example.org:wonderland").digest())
    data = encode(Method.ALLOCATE, Class.REQUEST, bytes(12), plain, key=key)
    known = asked.check(parse(data), SOURCE, NOW)
    assert isinstance(known, Authenticated)
    assert known.key.attribute == Attribute.MESSAGE_INTEGRITY


def test_a_client_sees_that_the_algorithms_were_taken_out() -> None:
    """Bid-down protection (RFC 8489 section 9.2.5)."""
    nonce = nonce_cookie(SecurityFeature.PASSWORD_ALGORITHMS) + b"n"
    stripped = error(401, (Attribute.REALM, b"r"), (Attribute.NONCE, nonce))
    client = ClientAuthentication(ALICE)
    with pytest.raises(RemoteProtocolError, match="taken out"):
        client.take_challenge(stripped, 401, None)
    assert client.challenge is None
    other = error(437, (Attribute.NONCE, nonce))
    with pytest.raises(RemoteProtocolError, match="taken out"):
        client.check_response(other, None)


def test_a_client_is_not_talked_into_a_weaker_algorithm() -> None:
    client = challenged(server())
    weaker = error(
        438,
        (Attribute.NONCE, nonce_cookie(SecurityFeature.PASSWORD_ALGORITHMS)),
        (Attribute.PASSWORD_ALGORITHMS, b"\x00\x01\x00\x00"),
    )
    before = client.challenge
    with pytest.raises(RemoteProtocolError, match="weaker"):
        client.take_challenge(weaker, 438, before)
    with pytest.raises(RemoteProtocolError, match="weaker"):
        client.take_challenge(error(438, (Attribute.NONCE, b"plain")), 438, before)
    assert client.challenge is before


def test_algorithms_that_nobody_knows_are_no_use() -> None:
    nonce = (Attribute.NONCE, nonce_cookie(SecurityFeature.PASSWORD_ALGORITHMS))
    unknown = error(
        401, (Attribute.REALM, b"r"), nonce, (Attribute.PASSWORD_ALGORITHMS, b"\x00\x09\x00\x00")
    )
    with pytest.raises(RemoteProtocolError, match="that we know"):
        ClientAuthentication(ALICE).take_challenge(unknown, 401, None)


def test_responses_that_are_not_signed_are_dropped() -> None:
    client = challenged(server())
    other_key = IntegrityKey(b"somebody else's")
    for message in (error(437), error(437, key=other_key), error(400)):
        with pytest.raises(RemoteProtocolError, match="integrity"):
            client.check_response(message, client.challenge)
    with pytest.raises(RemoteProtocolError, match="anybody"):
        client.check_response(error(400), None)


def test_the_answer_to_a_stranger_is_short() -> None:
    refused = server().check(request(ClientAuthentication(ALICE)), SOURCE, NOW)
    assert isinstance(refused, Refusal)
    answer = encode(Method.ALLOCATE, Class.ERROR, bytes(12), refused.attributes, fingerprint=False)
    assert len(answer) <= 110
    assert not nonce_features(dict(refused.attributes)[Attribute.NONCE]) & (
        SecurityFeature.USERNAME_ANONYMITY
    )


def test_keys_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "KEYS_MAX", 3)
    names = [f"user{i}" for i in range(9)]
    accounts = StaticAccounts(dict.fromkeys(names, "word"))
    asked = ServerAuthentication(accounts, REALM, Random(1).randbytes)
    for name in names * 2:
        client = ClientAuthentication(LongTermCredentials(name, "word"))
        client.take_challenge(refusal(asked.check(request(client), SOURCE, NOW)), 401, None)
        assert isinstance(asked.check(request(client), SOURCE, NOW), Authenticated)
    assert len(asked._keys) == 3


def test_a_representation_of_credentials_shows_no_password() -> None:
    asked = server()
    user = asked.check(request(challenged(asked)), SOURCE, NOW)
    assert isinstance(user, Authenticated)
    assert user.account.password == "wonderland"
    assert "wonderland" not in repr((ALICE, user))


def test_another_realm_is_refused_even_under_the_right_key() -> None:
    asked = server()
    client = challenged(asked)
    assert client.challenge is not None
    message = changed(client, Attribute.REALM, b"elsewhere", client.challenge.key)
    assert refused_with(asked, message) == 401
