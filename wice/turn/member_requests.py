"""What a TURN server does for those who proved who they are (RFC 8656 sections 7 to 12)."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Authenticated,
    Class,
    Message,
    Method,
    encode,
    pack_address,
    pack_error_code,
    pack_unknown_attributes,
    pack_xor_address,
    unpack_xor_address,
)
from wice.turn.allocation import Allocation, ClientPath
from wice.turn.allocation_table import AllocationTable
from wice.turn.budgets import Ledger, Usage
from wice.turn.messages import (
    ALLOCATION_LIFETIME_MAX_S,
    ALLOCATION_LIFETIME_S,
    CHANNEL_MIN,
    CHANNEL_TAKEN_MAX,
    UDP,
    UNDERSTOOD,
    ErrorCode,
    Family,
    family_of,
    pack_address_error,
    unpack_family,
)
from wice.turn.peer_policy import PeerPolicy

UNKNOWN_ATTRIBUTES_MAX: Final = 8

Attributes = Sequence[tuple[int, bytes]]
Handler = Callable[[Message, ClientPath, Authenticated, float], Attributes | None]


class _RefusedError(Exception):
    """A request of somebody known is answered with an error."""

    def __init__(self, code: ErrorCode, *attributes: tuple[int, bytes]) -> None:
        super().__init__(code.name)
        self.code = code
        self.attributes = attributes


class MemberRequests:
    """Allocate, Refresh, CreatePermission and ChannelBind."""

    def __init__(
        self,
        table: AllocationTable,
        ledger: Ledger,
        policy: PeerPolicy,
        families: Sequence[Family],
        alternates: Sequence[Endpoint],
        counts: Counter[str],
    ) -> None:
        self._table = table
        self._ledger = ledger
        self._policy = policy
        self._families = frozenset(families)
        self._alternates = {alternate.is_ipv6: alternate for alternate in alternates}
        self._counts = counts
        self._handlers: dict[Method, Handler] = {
            Method.ALLOCATE: self._allocate,
            Method.REFRESH: self._refresh,
            Method.CREATE_PERMISSION: self._create_permission,
            Method.CHANNEL_BIND: self._bind_channel,
        }

    def knows(self, method: Method) -> bool:
        return method in self._handlers

    def answer(
        self, request: Message, path: ClientPath, user: Authenticated, now: float
    ) -> bytes | None:
        """The answer to a request of a method that is known; None where it is not due yet."""
        try:
            unknown = request.unknown_required(UNDERSTOOD)[:UNKNOWN_ATTRIBUTES_MAX]
            if unknown:
                listed = (int(Attribute.UNKNOWN_ATTRIBUTES), pack_unknown_attributes(unknown))
                raise _RefusedError(ErrorCode.UNKNOWN_ATTRIBUTE, listed)
            attributes = self._handlers[request.method](request, path, user, now)
        except _RefusedError as refused:
            return self._error(request, user, refused.code, refused.attributes)
        except RemoteProtocolError:
            # A value that is none: it had the size of one, or it would not have been read.
            return self._error(request, user, ErrorCode.BAD_REQUEST)
        return None if attributes is None else _respond(request, user, attributes)

    def answer_when_open(self, allocation: Allocation, now: float) -> bytes | None:
        """The answer to an Allocate, once every relay has its socket or none."""
        if any(relay.endpoint is None for relay in allocation.relays.values()):
            return None
        request, user = allocation.request, allocation.user
        if request is None or user is None:
            return None
        if not allocation.relays:
            self._table.delete(allocation)
            return self._error(request, user, ErrorCode.INSUFFICIENT_CAPACITY)
        allocation.response = _respond(request, user, _allocated(allocation, request))
        allocation.request = allocation.user = None
        self._table.extend(allocation, allocation.lifetime_s, now)
        self._counts["allocations made"] += 1
        return allocation.response

    def _error(
        self, request: Message, user: Authenticated, code: ErrorCode, attributes: Attributes = ()
    ) -> bytes:
        self._counts[f"error {code:d}"] += 1
        error = (int(Attribute.ERROR_CODE), pack_error_code(code, ""))
        return _respond(request, user, [error, *attributes], Class.ERROR)

    def _allocate(
        self, request: Message, path: ClientPath, user: Authenticated, now: float
    ) -> None:
        if path in self._table.by_path:
            raise _RefusedError(ErrorCode.ALLOCATION_MISMATCH)
        asked = _families_asked(request)
        offered = [family for family in asked if family in self._families]
        if not offered:
            raise _RefusedError(ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED)
        usage = self._ledger.user(user.account.name, now)
        if usage is None or not self._ledger.has_bytes_left(now):
            raise self._full(path)
        if not self._ledger.has_bytes_left_for(usage, now):
            raise _RefusedError(ErrorCode.ALLOCATION_QUOTA_REACHED)
        self._make_room(path, usage, now)
        allocation = Allocation(path, usage, request, user, _lifetime_s(request))
        for family in asked:
            if family not in offered:
                allocation.failed[family] = ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED
        is_even = Attribute.EVEN_PORT in request.attributes
        self._table.add(allocation, offered, now, is_even=is_even)

    def _make_room(self, path: ClientPath, usage: Usage, now: float) -> None:
        """One more allocation is within all budgets then, at the cost of another one if need be."""
        if not self._ledger.has_room_for(usage):
            displaced = self._table.silent_of(usage.name, now)
            if displaced is None:
                raise _RefusedError(ErrorCode.ALLOCATION_QUOTA_REACHED)
        elif not self._ledger.has_room:
            displaced = self._table.surplus_beside(path)
            if displaced is None:
                raise self._full(path)
        else:
            return
        self._counts["allocations displaced"] += 1
        self._table.delete(displaced)

    def _full(self, path: ClientPath) -> _RefusedError:
        alternate = self._alternates.get(path.client.is_ipv6)
        if alternate is None:
            return _RefusedError(ErrorCode.INSUFFICIENT_CAPACITY)
        there = (int(Attribute.ALTERNATE_SERVER), pack_address(alternate))
        return _RefusedError(ErrorCode.TRY_ALTERNATE, there)

    def _refresh(
        self, request: Message, path: ClientPath, user: Authenticated, now: float
    ) -> Attributes:
        allocation = self._allocation(path, user, now)
        family = None
        value = request.attributes.get(Attribute.REQUESTED_ADDRESS_FAMILY)
        if value is not None:
            family = unpack_family(value)
            if family not in allocation.relays:
                raise _RefusedError(ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH)
        lifetime_s = _lifetime_s(request, may_be_zero=True)
        if lifetime_s:
            self._table.extend(allocation, lifetime_s, now)
        elif family is not None and len(allocation.relays) > 1:
            self._table.end_family(allocation, family)
        else:
            self._counts["allocations ended"] += 1
            self._table.delete(allocation)
        return [(Attribute.LIFETIME, lifetime_s.to_bytes(4, "big"))]

    def _create_permission(
        self, request: Message, path: ClientPath, user: Authenticated, now: float
    ) -> Attributes:
        allocation = self._allocation(path, user, now)
        values = request.values(Attribute.XOR_PEER_ADDRESS)
        if not values:
            raise _RefusedError(ErrorCode.BAD_REQUEST)
        hosts = {unpack_xor_address(value, request.transaction_id).host for value in values}
        self._permit(allocation, hosts, now)
        return ()

    def _bind_channel(
        self, request: Message, path: ClientPath, user: Authenticated, now: float
    ) -> Attributes:
        allocation = self._allocation(path, user, now)
        number = int.from_bytes(request.require(Attribute.CHANNEL_NUMBER)[:2], "big")
        value = request.require(Attribute.XOR_PEER_ADDRESS)
        peer = unpack_xor_address(value, request.transaction_id)
        if not CHANNEL_MIN <= number <= CHANNEL_TAKEN_MAX or not peer.port:
            raise _RefusedError(ErrorCode.BAD_REQUEST)
        if not allocation.may_bind(number, peer, now):
            raise _RefusedError(ErrorCode.BAD_REQUEST)
        self._permit(allocation, {peer.host}, now)
        if not allocation.bind(number, peer, now):
            raise _RefusedError(ErrorCode.INSUFFICIENT_CAPACITY)
        return ()

    def _permit(self, allocation: Allocation, hosts: set[str], now: float) -> None:
        if any(family_of(host) not in allocation.relays for host in hosts):
            raise _RefusedError(ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH)
        own = self._table.relay_hosts
        if not all(host in own or self._policy.allows(host) for host in hosts):
            raise _RefusedError(ErrorCode.FORBIDDEN)
        if not allocation.permit(hosts, now):
            raise _RefusedError(ErrorCode.INSUFFICIENT_CAPACITY)

    def _allocation(self, path: ClientPath, user: Authenticated, now: float) -> Allocation:
        allocation = self._table.by_path.get(path)
        if allocation is None or not allocation.response:
            raise _RefusedError(ErrorCode.ALLOCATION_MISMATCH)
        # By name and not by user name, which is another one when the credentials were renewed.
        if allocation.usage.name != user.account.name:
            raise _RefusedError(ErrorCode.WRONG_CREDENTIALS)
        allocation.heard_at_s = now
        return allocation


def _respond(
    request: Message,
    user: Authenticated,
    attributes: Attributes,
    message_class: Class = Class.SUCCESS,
) -> bytes:
    return encode(
        request.method,
        message_class,
        request.transaction_id,
        attributes,
        key=user.key,
        fingerprint=request.has_fingerprint,
    )


def _allocated(allocation: Allocation, request: Message) -> Attributes:
    transaction_id = request.transaction_id
    relayed = [
        (int(Attribute.XOR_RELAYED_ADDRESS), pack_xor_address(relay.endpoint, transaction_id))
        for relay in allocation.relays.values()
        if relay.endpoint is not None
    ]
    failed = [
        (int(Attribute.ADDRESS_ERROR_CODE), pack_address_error(family, code))
        for family, code in allocation.failed.items()
    ]
    return [
        *relayed,
        *failed,
        (Attribute.LIFETIME, allocation.lifetime_s.to_bytes(4, "big")),
        (Attribute.XOR_MAPPED_ADDRESS, pack_xor_address(allocation.path.client, transaction_id)),
    ]


def _families_asked(request: Message) -> tuple[Family, ...]:
    """Which relays an Allocate asks for, or _RefusedError (RFC 8656 section 7.2)."""
    attributes = request.attributes
    if attributes.get(Attribute.REQUESTED_TRANSPORT) is None:
        raise _RefusedError(ErrorCode.BAD_REQUEST)
    if attributes[Attribute.REQUESTED_TRANSPORT][:1] != UDP[:1]:
        raise _RefusedError(ErrorCode.UNSUPPORTED_TRANSPORT)
    has_token = Attribute.RESERVATION_TOKEN in attributes
    requested = attributes.get(Attribute.REQUESTED_ADDRESS_FAMILY)
    additional = attributes.get(
        Attribute.ADDITIONAL_ADDRESS_FAMILY,
        attributes.get(Attribute.ADDITIONAL_ADDRESS_FAMILY_DRAFT),
    )
    exclusive = (has_token, requested is not None, additional is not None)
    if sum(exclusive) > 1 or (has_token and Attribute.EVEN_PORT in attributes):
        raise _RefusedError(ErrorCode.BAD_REQUEST)
    if additional is not None and unpack_family(additional) is not Family.IPV6:
        raise _RefusedError(ErrorCode.BAD_REQUEST)
    if has_token or attributes.get(Attribute.EVEN_PORT, b"\x00")[0] & 0x80:
        # Pairs of ports were for RTP and RTCP: no port is held back here.
        raise _RefusedError(ErrorCode.INSUFFICIENT_CAPACITY)
    if additional is not None:
        return (Family.IPV4, Family.IPV6)
    if requested is None:
        return (Family.IPV4,)
    family = unpack_family(requested)
    if family is None:
        raise _RefusedError(ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED)
    return (family,)


def _lifetime_s(request: Message, *, may_be_zero: bool = False) -> int:
    value = request.attributes.get(Attribute.LIFETIME)
    if value is None:
        return ALLOCATION_LIFETIME_S
    asked_s = int.from_bytes(value, "big")
    if may_be_zero and not asked_s:
        return 0
    return min(max(asked_s, ALLOCATION_LIFETIME_S), ALLOCATION_LIFETIME_MAX_S)
