import base64
import hashlib
import hmac

import pytest

from wice.turn import RestAccounts, rest_credentials
from wice.turn.credentials import HashName

SECRET = b"north wind"


@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
def test_passwords_are_hmacs_of_user_names(hash_name: HashName) -> None:
    credentials = rest_credentials(SECRET, "alice", 1_700_000_000.7, hash_name)
    assert credentials.username == "1700000000:alice"
    digest = hmac.new(SECRET, b"1700000000:alice", getattr(hashlib, hash_name)).digest()
    assert credentials.password == base64.b64encode(digest).decode()
    accounts = RestAccounts(SECRET, lambda: 1_600_000_000.0, hash_name)
    account = accounts.find(credentials.username)
    assert account is not None
    assert (account.name, account.password) == ("alice", credentials.password)


def test_they_end_when_they_say() -> None:
    for now, is_valid in ((99.0, True), (100.0, False), (101.0, False)):
        accounts = RestAccounts(SECRET, lambda now=now: now)
        assert (accounts.find("100:alice") is not None) == is_valid


def test_a_name_may_have_colons() -> None:
    account = RestAccounts(SECRET, lambda: 0.0).find("100:a:b")
    assert account is not None and account.name == "a:b"


@pytest.mark.parametrize(
    "username",
    [
        "",
        "alice",
        "100",
        "100:",
        ":alice",
        "-1:a",
        "1e9:a",
        "٣:a",
        "1" * 13 + ":a",
        "100:" + "a" * 129,
    ],
)
def test_what_is_no_such_user_name(username: str) -> None:
    assert RestAccounts(SECRET, lambda: 0.0).find(username) is None
