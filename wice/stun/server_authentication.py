"""The server's side of long-term credentials (RFC 8489 section 9.2.4), without I/O.

A nonce says itself when it expires and for whom it was made, under a key of the server: nothing
is remembered for who has not proved anything.
"""

import base64
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun.attributes import Attribute, pack_error_code
from wice.stun.long_term import (
    BAD_REQUEST,
    STALE_NONCE,
    UNAUTHENTICATED,
    PasswordAlgorithm,
    SecurityFeature,
    long_term_key,
    nonce_cookie,
    opaque_string,
    pack_password_algorithms,
    unpack_password_algorithms,
    userhash,
)
from wice.stun.message import IntegrityKey, Message

NONCE_LIFETIME_S: Final = 3_600.0
"""RFC 8656 section 5 asks for a new nonce at least once an hour."""

KEYS_MAX: Final = 1_024
"""Keys of users that are kept made; the one used longest ago is made anew."""

_NONCE_MAC_SIZE: Final = 12
_EXPIRY_SIZE: Final = 6

SHA256_THEN_MD5: Final = (PasswordAlgorithm.SHA256, PasswordAlgorithm.MD5)


@dataclass(frozen=True, slots=True)
class Account:
    """A user. name: what budgets are kept under, the same for all credentials of one user."""

    name: str
    username: str
    password: str = field(repr=False)


class Accounts(Protocol):
    """Who may use a server."""

    @property
    def knows_userhashes(self) -> bool:
        """Whether ``find_userhash`` can find anyone."""
        ...

    def find(self, username: str) -> Account | None:
        """The account of a user name that is valid now."""
        ...

    def find_userhash(self, value: bytes) -> Account | None: ...


class StaticAccounts:
    """Users and passwords that are known beforehand."""

    def __init__(self, passwords: Mapping[str, str], realm: str = "") -> None:
        """realm: the server's, for USERHASH; empty leaves that out."""
        self._accounts = {
            name: Account(name, name, word)
            for name, word in ((opaque_string(n), w) for n, w in passwords.items())
        }
        self._by_userhash = {
            userhash(name, realm): account for name, account in self._accounts.items() if realm
        }

    @property
    def knows_userhashes(self) -> bool:
        return bool(self._by_userhash)

    def find(self, username: str) -> Account | None:
        return self._accounts.get(username)

    def find_userhash(self, value: bytes) -> Account | None:
        return self._by_userhash.get(value)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A request that is who it says. key: what the response is signed with."""

    account: Account
    key: IntegrityKey


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error to answer with; it is not signed."""

    code: int
    attributes: tuple[tuple[int, bytes], ...]


class ServerAuthentication:
    """Challenges clients and checks what they answer."""

    def __init__(
        self,
        accounts: Accounts,
        realm: str,
        random_bytes: Callable[[int], bytes],
        *,
        algorithms: Sequence[PasswordAlgorithm] = SHA256_THEN_MD5,
        nonce_lifetime_s: float = NONCE_LIFETIME_S,
    ) -> None:
        """algorithms: those offered, the best first; none leaves MD5 without saying so."""
        self._accounts = accounts
        self._realm = realm
        self._realm_value = realm.encode()
        self._secret = random_bytes(32)
        self._algorithms = pack_password_algorithms(algorithms)
        self._nonce_lifetime_s = nonce_lifetime_s
        self._keys: OrderedDict[tuple[Account, PasswordAlgorithm, bool], IntegrityKey] = (
            OrderedDict()
        )
        features = SecurityFeature(0)
        if algorithms:
            features |= SecurityFeature.PASSWORD_ALGORITHMS
        if accounts.knows_userhashes:
            features |= SecurityFeature.USERNAME_ANONYMITY
        self._cookie = nonce_cookie(features)

    def check(self, message: Message, source: Endpoint, now: float) -> Authenticated | Refusal:
        """Whose request this is, or how to refuse it."""
        attributes = message.attributes
        with_sha256 = Attribute.MESSAGE_INTEGRITY_SHA256 in attributes
        if not with_sha256 and Attribute.MESSAGE_INTEGRITY not in attributes:
            return self._challenge(UNAUTHENTICATED, source, now)
        nonce = attributes.get(Attribute.NONCE)
        has_user = Attribute.USERNAME in attributes or Attribute.USERHASH in attributes
        if nonce is None or not has_user or Attribute.REALM not in attributes:
            return _error(BAD_REQUEST)
        # Before any hash of a password: who repeats an old request learns nothing and costs little.
        if not self._is_nonce(nonce, source, now):
            return self._challenge(STALE_NONCE, source, now)
        try:
            algorithm = self._algorithm(attributes)
        except RemoteProtocolError:
            return _error(BAD_REQUEST)
        account = self._account(attributes)
        if account is None or attributes[Attribute.REALM] != self._realm_value:
            return self._challenge(UNAUTHENTICATED, source, now)
        try:
            message.verify_integrity(self._key(account, algorithm, with_sha256))
        except RemoteProtocolError:
            return self._challenge(UNAUTHENTICATED, source, now)
        is_old = Attribute.PASSWORD_ALGORITHM not in attributes
        return Authenticated(account, self._key(account, algorithm, not is_old))

    def _challenge(self, code: int, source: Endpoint, now: float) -> Refusal:
        refusal = _error(code)
        expiry = int(now + self._nonce_lifetime_s).to_bytes(_EXPIRY_SIZE, "big")
        attributes = [
            *refusal.attributes,
            (int(Attribute.REALM), self._realm_value),
            (int(Attribute.NONCE), self._nonce(expiry, source)),
        ]
        if self._algorithms:
            attributes.append((Attribute.PASSWORD_ALGORITHMS, self._algorithms))
        return Refusal(code, tuple(attributes))

    def _nonce(self, expiry: bytes, source: Endpoint) -> bytes:
        covered = expiry + str(source).encode()
        mac = hmac.digest(self._secret, covered, "sha256")[:_NONCE_MAC_SIZE]
        return self._cookie + base64.b64encode(expiry + mac)

    def _is_nonce(self, nonce: bytes, source: Endpoint, now: float) -> bool:
        try:
            expiry = base64.b64decode(nonce[len(self._cookie) :], validate=True)[:_EXPIRY_SIZE]
        except ValueError:
            return False
        if int.from_bytes(expiry, "big") <= now:
            return False
        return hmac.compare_digest(self._nonce(expiry, source), nonce)

    def _algorithm(self, attributes: Mapping[int, bytes]) -> PasswordAlgorithm:
        """The algorithm of a request under a nonce of ours; raise RemoteProtocolError.

        That the client repeats what was offered shows that nobody in between took the better
        algorithm away.
        """
        one = attributes.get(Attribute.PASSWORD_ALGORITHM)
        offered = attributes.get(Attribute.PASSWORD_ALGORITHMS)
        if (one is None and offered is None) or not self._algorithms:
            return PasswordAlgorithm.MD5
        if one is None or offered != self._algorithms:
            raise RemoteProtocolError("a request that was not offered what was offered")
        chosen = unpack_password_algorithms(one)
        if len(chosen) != 1 or chosen[0] not in unpack_password_algorithms(offered):
            raise RemoteProtocolError("a request with an algorithm that was not offered")
        return PasswordAlgorithm(chosen[0])

    def _account(self, attributes: Mapping[int, bytes]) -> Account | None:
        username = attributes.get(Attribute.USERNAME)
        if username is None:
            value = attributes[Attribute.USERHASH]
            return self._accounts.find_userhash(value)
        try:
            return self._accounts.find(username.decode())
        except UnicodeDecodeError:
            return None

    def _key(
        self, account: Account, algorithm: PasswordAlgorithm, with_sha256: bool
    ) -> IntegrityKey:
        which = (account, algorithm, with_sha256)
        key = self._keys.get(which)
        if key is None:
            key = long_term_key(
                account.username, self._realm, account.password, algorithm, with_sha256=with_sha256
            )
            self._keys[which] = key
            if len(self._keys) > KEYS_MAX:
                self._keys.popitem(last=False)
        else:
            self._keys.move_to_end(which)
        return key


def _error(code: int) -> Refusal:
    # No reason phrase: an answer to a stranger is as short as it can be.
    return Refusal(code, ((int(Attribute.ERROR_CODE), pack_error_code(code, "")),))
