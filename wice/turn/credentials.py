"""Credentials that expire, made from a shared secret: the TURN REST API's form.

draft-uberti-behave-turn-rest-00: the user name is ``EXPIRY:NAME``, the password is the base64 of
an HMAC of that user name under the secret. Whoever holds the secret can hand them out; the server
keeps no list of users.
"""

import base64
import hmac
from collections.abc import Callable
from typing import Final, Literal

from wice.stun import Account, LongTermCredentials

HashName = Literal["sha1", "sha256"]

NAME_SIZE_MAX_BYTES: Final = 128
_EXPIRY_DIGITS_MAX: Final = 12


def rest_credentials(
    secret: bytes, name: str, expires_at_wall_s: float, hash_name: HashName = "sha1"
) -> LongTermCredentials:
    """Credentials for ``name`` that are good until a moment in seconds since 1970.

    hash_name: ``sha1`` is what coturn and others have; ``sha256`` needs both sides' consent.
    """
    username = f"{int(expires_at_wall_s)}:{name}"
    return LongTermCredentials(username, _password(secret, username, hash_name))


def _password(secret: bytes, username: str, hash_name: HashName) -> str:
    return base64.b64encode(hmac.digest(secret, username.encode(), hash_name)).decode()


class RestAccounts:
    """Everyone whom a holder of the secret has given credentials that have not expired.

    Budgets go by NAME: renewed credentials are the same user.
    """

    def __init__(
        self, secret: bytes, wall_time: Callable[[], float], hash_name: HashName = "sha1"
    ) -> None:
        """wall_time: seconds since 1970."""
        self._secret = secret
        self._wall_time = wall_time
        self._hash_name = hash_name

    @property
    def knows_userhashes(self) -> bool:
        # The hash of a name that is not on any list cannot be turned back.
        return False

    def find(self, username: str) -> Account | None:
        expiry, colon, name = username.partition(":")
        is_number = expiry.isascii() and expiry.isdigit() and len(expiry) <= _EXPIRY_DIGITS_MAX
        if not colon or not name or not is_number or len(name.encode()) > NAME_SIZE_MAX_BYTES:
            return None
        if int(expiry) <= self._wall_time():
            return None
        return Account(name, username, _password(self._secret, username, self._hash_name))

    def find_userhash(self, value: bytes) -> Account | None:  # noqa: ARG002 (the protocol's)
        return None
