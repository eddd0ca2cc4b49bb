"""The client's side of long-term credentials (RFC 8489 sections 9.2.3 and 9.2.5), without I/O."""

from dataclasses import dataclass, field
from typing import Final

from wice.errors import RemoteProtocolError
from wice.stun.attributes import Attribute, unpack_error_code
from wice.stun.long_term import (
    BAD_REQUEST,
    STALE_NONCE,
    UNAUTHENTICATED,
    PasswordAlgorithm,
    SecurityFeature,
    long_term_key,
    nonce_features,
    opaque_string,
    pack_password_algorithm,
    unpack_password_algorithms,
    userhash,
)
from wice.stun.message import Class, IntegrityKey, Message

_SUPPORTED: Final = frozenset(PasswordAlgorithm)


@dataclass(frozen=True, slots=True)
class LongTermCredentials:
    """A user name and a password for a server. Raise ValueError for text that is neither."""

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        opaque_string(self.username)
        opaque_string(self.password)
        if len(self.username.encode()) > 508:
            raise ValueError("a user name of more than 508 bytes")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a server said of itself in a 401 or 438, and the key that follows from it.

    attributes: those that go into a request, before its integrity.
    """

    realm: str
    nonce: bytes
    key: IntegrityKey
    algorithm: PasswordAlgorithm
    attributes: tuple[tuple[int, bytes], ...]


class ClientAuthentication:
    """One user at one server: the challenge is kept, so that it is paid for once.

    ``challenge`` is None before the server has answered; requests then go without credentials.
    """

    def __init__(self, credentials: LongTermCredentials) -> None:
        self.credentials = credentials
        self.challenge: Challenge | None = None

    def renew(self, credentials: LongTermCredentials) -> None:
        """Use other credentials from now on, under the realm and nonce that are known."""
        if credentials == self.credentials:
            return
        self.credentials = credentials
        if self.challenge is not None:
            old = dict(self.challenge.attributes)
            self.challenge = self._challenge(
                self.challenge.realm, self.challenge.nonce, old.get(Attribute.PASSWORD_ALGORITHMS)
            )

    def check_response(self, message: Message, sent_with: Challenge | None) -> int:
        """Give the error of a response, 0 for a success, or raise RemoteProtocolError.

        sent_with: the challenge that the request was under. What is raised for is to be dropped
        as if it had not come, and retransmission goes on.
        """
        code = 0
        if message.message_class is Class.ERROR:
            code = unpack_error_code(message.require(Attribute.ERROR_CODE))
        if code in (UNAUTHENTICATED, STALE_NONCE):
            return code
        attributes = message.attributes
        features = nonce_features(attributes.get(Attribute.NONCE, b""))
        if (
            features & SecurityFeature.PASSWORD_ALGORITHMS
            and Attribute.PASSWORD_ALGORITHMS not in attributes
        ):
            raise RemoteProtocolError("a STUN response whose password algorithms were taken out")
        if sent_with is not None:
            message.verify_integrity(sent_with.key)
        elif code == BAD_REQUEST and not _has_integrity(message):
            raise RemoteProtocolError("a STUN 400 that anybody may have sent")
        return code

    def take_challenge(self, message: Message, code: int, sent_with: Challenge | None) -> bool:
        """Learn from a 401 or 438; give whether the request is worth another try.

        Raise RemoteProtocolError for a response that lacks what it must have, or from which
        somebody has taken the better algorithms (RFC 8489 section 9.2.5).
        """
        nonce = message.require(Attribute.NONCE)
        realm = self._realm(message, code)
        algorithms = message.attributes.get(Attribute.PASSWORD_ALGORITHMS)
        features = nonce_features(nonce)
        if features & SecurityFeature.PASSWORD_ALGORITHMS and algorithms is None:
            raise RemoteProtocolError("a STUN challenge whose password algorithms were taken out")
        found = self._challenge(realm, nonce, algorithms)
        if sent_with is not None:
            if found.algorithm < sent_with.algorithm:
                raise RemoteProtocolError("a STUN challenge that asks for a weaker algorithm")
            key_is_new = self.challenge is not sent_with and self.challenge is not None
            if code == UNAUTHENTICATED and found.realm == sent_with.realm and not key_is_new:
                return False
        self.challenge = found
        return True

    def _realm(self, message: Message, code: int) -> str:
        value = message.attributes.get(Attribute.REALM)
        if value is None and code == STALE_NONCE and self.challenge is not None:
            return self.challenge.realm
        if value is None:
            raise RemoteProtocolError("a STUN challenge without REALM")
        try:
            realm = value.decode()
            opaque_string(realm)
        except ValueError as error:
            raise RemoteProtocolError("a STUN challenge whose REALM is no text") from error
        return realm

    def _challenge(self, realm: str, nonce: bytes, algorithms: bytes | None) -> Challenge:
        username, password = self.credentials.username, self.credentials.password
        algorithm = PasswordAlgorithm.MD5
        more: list[tuple[int, bytes]] = []
        if algorithms is not None:
            offered = [n for n in unpack_password_algorithms(algorithms) if n in _SUPPORTED]
            if not offered:
                raise RemoteProtocolError("a STUN challenge without an algorithm that we know")
            algorithm = PasswordAlgorithm(offered[0])
            more = [
                (Attribute.PASSWORD_ALGORITHMS, algorithms),
                (Attribute.PASSWORD_ALGORITHM, pack_password_algorithm(algorithm)),
            ]
        if nonce_features(nonce) & SecurityFeature.USERNAME_ANONYMITY:
            user = (int(Attribute.USERHASH), userhash(username, realm))
        else:
            user = (int(Attribute.USERNAME), opaque_string(username).encode())
        key = long_term_key(
            username, realm, password, algorithm, with_sha256=algorithms is not None
        )
        attributes = (user, (Attribute.REALM, realm.encode()), (Attribute.NONCE, nonce), *more)
        return Challenge(realm, nonce, key, algorithm, attributes)


def _has_integrity(message: Message) -> bool:
    return (
        Attribute.MESSAGE_INTEGRITY in message.attributes
        or Attribute.MESSAGE_INTEGRITY_SHA256 in message.attributes
    )
