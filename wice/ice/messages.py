"""The Binding messages of connectivity checks (RFC 8445 section 7)."""

from dataclasses import dataclass
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice.pair import Remote
from wice.stun import (
    Attribute,
    Class,
    IntegrityKey,
    Message,
    Method,
    encode,
    pack_error_code,
    pack_unknown_attributes,
    pack_xor_address,
    unpack_error_code,
    unpack_xor_address,
)

ROLE_CONFLICT: Final = 487
UNKNOWN_ATTRIBUTE: Final = 420

_UNDERSTOOD: Final = frozenset(
    {
        Attribute.USERNAME,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.ERROR_CODE,
        Attribute.UNKNOWN_ATTRIBUTES,
        Attribute.MAPPED_ADDRESS,
        Attribute.XOR_MAPPED_ADDRESS,
        Attribute.PRIORITY,
        Attribute.USE_CANDIDATE,
    }
)


@dataclass(frozen=True, slots=True)
class Request:
    """A check that came in, its integrity verified. tie_breaker: the remote's. nomination: the
    number of a renomination, 0 where none came.
    """

    transaction_id: bytes
    remote_ufrag: str
    priority: int
    is_controlling: bool
    tie_breaker: int
    use_candidate: bool
    nomination: int
    unknown: tuple[int, ...]


def encode_request(
    remote: Remote,
    transaction_id: bytes,
    *,
    priority: int,
    controlling: bool,
    tie_breaker: int,
    nominating: bool,
    nomination: int = 0,
) -> bytes:
    """``nomination`` other than 0 is for a remote that knows renomination
    (draft-thatcher-ice-renomination).
    """
    role = Attribute.ICE_CONTROLLING if controlling else Attribute.ICE_CONTROLLED
    attributes = [
        (Attribute.USERNAME, remote.username),
        (Attribute.PRIORITY, priority.to_bytes(4, "big")),
        (role, tie_breaker.to_bytes(8, "big")),
    ]
    if nominating:
        attributes.append((Attribute.USE_CANDIDATE, b""))
    if nomination:
        attributes.append((Attribute.NOMINATION, nomination.to_bytes(4, "big")))
    return encode(Method.BINDING, Class.REQUEST, transaction_id, attributes, key=remote.key)


def encode_success(transaction_id: bytes, mapped: Endpoint, key: IntegrityKey) -> bytes:
    attributes = [(Attribute.XOR_MAPPED_ADDRESS, pack_xor_address(mapped, transaction_id))]
    return encode(Method.BINDING, Class.SUCCESS, transaction_id, attributes, key=key)


def encode_role_conflict(transaction_id: bytes, key: IntegrityKey) -> bytes:
    attributes = [(Attribute.ERROR_CODE, pack_error_code(ROLE_CONFLICT, "Role Conflict"))]
    return encode(Method.BINDING, Class.ERROR, transaction_id, attributes, key=key)


def encode_unknown_attributes(
    transaction_id: bytes, unknown: tuple[int, ...], key: IntegrityKey
) -> bytes:
    attributes = [
        (Attribute.ERROR_CODE, pack_error_code(UNKNOWN_ATTRIBUTE, "Unknown Attribute")),
        (Attribute.UNKNOWN_ATTRIBUTES, pack_unknown_attributes(unknown)),
    ]
    return encode(Method.BINDING, Class.ERROR, transaction_id, attributes, key=key)


def encode_keepalive(transaction_id: bytes) -> bytes:
    """A Binding indication (RFC 8445 section 11)."""
    return encode(Method.BINDING, Class.INDICATION, transaction_id)


def request_ufrag(message: Message) -> str:
    """The ufrag that a request is addressed to: of the receiver. Raise RemoteProtocolError."""
    return _usernames(message)[0]


def read_request(message: Message, local_ufrag: str, key: IntegrityKey) -> Request:
    """Verify a request and read it; raise RemoteProtocolError for one that gets no answer."""
    if not message.has_fingerprint:
        raise RemoteProtocolError("a check without FINGERPRINT")
    ufrag, remote_ufrag = _usernames(message)
    if ufrag != local_ufrag:
        raise RemoteProtocolError("a check for another ufrag")
    message.verify_integrity(key)
    controlling = message.attributes.get(Attribute.ICE_CONTROLLING)
    controlled = message.attributes.get(Attribute.ICE_CONTROLLED)
    tie_breaker = controlling or controlled
    nomination = message.attributes.get(Attribute.NOMINATION, b"")
    if tie_breaker is None or (controlling and controlled):
        raise RemoteProtocolError("a check without exactly one role")
    return Request(
        transaction_id=message.transaction_id,
        remote_ufrag=remote_ufrag,
        priority=int.from_bytes(message.require(Attribute.PRIORITY), "big") & 0x7FFF_FFFF,
        is_controlling=controlling is not None,
        tie_breaker=int.from_bytes(tie_breaker, "big"),
        use_candidate=Attribute.USE_CANDIDATE in message.attributes,
        nomination=int.from_bytes(nomination, "big"),
        unknown=tuple(message.unknown_required(_UNDERSTOOD)),
    )


def read_response(message: Message, key: IntegrityKey) -> Endpoint | int:
    """Verify a response and read it: the mapped address, or the number of an error.

    Raise RemoteProtocolError for what is to be dropped.
    """
    if not message.has_fingerprint:
        raise RemoteProtocolError("an answer to a check without FINGERPRINT")
    message.verify_integrity(key)
    if message.unknown_required(_UNDERSTOOD):
        raise RemoteProtocolError("an answer with attributes that are not understood")
    if message.message_class is Class.ERROR:
        return unpack_error_code(message.require(Attribute.ERROR_CODE))
    mapped = message.require(Attribute.XOR_MAPPED_ADDRESS)
    return unpack_xor_address(mapped, message.transaction_id)


def _usernames(message: Message) -> tuple[str, str]:
    username = message.require(Attribute.USERNAME)
    ours, colon, theirs = username.partition(b":")
    if not colon or not username.isascii():
        raise RemoteProtocolError("a check whose user name is not two ufrags")
    return ours.decode("ascii"), theirs.decode("ascii")
