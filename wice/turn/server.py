"""A TURN server over UDP (RFC 8656), without I/O.

The driver owns the sockets: it hands in what arrives, sends what ``poll_transmit`` gives, and
opens and closes relay sockets as ``poll_event`` says. Departures from the RFC are in
docs/reference/turn.md.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Accounts,
    Attribute,
    Authenticated,
    BindingServer,
    Class,
    Message,
    Method,
    ServerAuthentication,
    SourceRateLimit,
    TokenBucket,
    encode,
    pack_address,
    pack_error_code,
    pack_unknown_attributes,
    pack_xor_address,
    parse,
    unpack_xor_address,
)
from wice.turn.allocation import Allocation, ClientPath, Relay
from wice.turn.budgets import Budgets, Ledger, Usage
from wice.turn.messages import (
    ALLOCATION_LIFETIME_MAX_S,
    ALLOCATION_LIFETIME_S,
    CHANNEL_MIN,
    CHANNEL_TAKEN_MAX,
    DATA_SIZE_MAX_BYTES,
    UDP,
    ErrorCode,
    Family,
    family_of,
    is_channel_data,
    pack_address_error,
    pack_channel_header,
    parse_channel_data,
    unpack_family,
)
from wice.turn.peer_policy import PeerPolicy

TRANSMITS_MAX: Final = 1_024
"""Datagrams waiting for ``poll_transmit``; who drains after each call never has so many."""

RELAY_OPEN_TIMEOUT_S: Final = 10.0
"""How long the driver may take to open the sockets of an allocation."""

REQUEST_BURST: Final = 200
REQUEST_RATE_PER_S: Final = 100.0
"""Requests of one source address that are looked at: each may cost several hashes."""

REFUSAL_BURST: Final = 20
REFUSAL_RATE_PER_S: Final = 5.0
"""Refusals that one source address gets: they may go to somebody who asked for nothing."""

REFUSALS_BURST: Final = 400
REFUSALS_RATE_PER_S: Final = 200.0
"""Refusals to everybody."""

ANSWERS_MAX: Final = 1_024
ANSWER_AGE_MAX_S: Final = 40.0
"""How long a request may come again, and gets the answer that it had (RFC 8489 section 6.3.1): a
late copy of one that ends an allocation must not end the next one."""

UNKNOWN_ATTRIBUTES_MAX: Final = 8

_BINDING_REQUEST: Final = b"\x00\x01"
_SEND_INDICATION: Final = b"\x00\x16"

_UNDERSTOOD: Final = frozenset(
    {
        Attribute.USERNAME,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.REALM,
        Attribute.NONCE,
        Attribute.USERHASH,
        Attribute.PASSWORD_ALGORITHM,
        Attribute.CHANNEL_NUMBER,
        Attribute.LIFETIME,
        Attribute.XOR_PEER_ADDRESS,
        Attribute.DATA,
        Attribute.REQUESTED_ADDRESS_FAMILY,
        Attribute.EVEN_PORT,
        Attribute.REQUESTED_TRANSPORT,
        Attribute.RESERVATION_TOKEN,
    }
)


class ServerTransmit(NamedTuple):
    """A datagram to send to ``remote``.

    relay: the id of the relay socket that it leaves through; None for the listening socket, and
    then ``local`` is the address that it leaves from, None where that is the kernel's choice.
    """

    data: bytes
    remote: Endpoint
    local: str | None
    relay: int | None


@dataclass(frozen=True, slots=True)
class OpenRelay:
    """Open a relay socket, then call ``relay_opened`` or ``relay_failed``.

    local: the address of ours that the client asked, of whichever family. is_even: the port must
    be even (EVEN-PORT).
    """

    relay: int
    family: Family
    local: str | None
    is_even: bool


@dataclass(frozen=True, slots=True)
class CloseRelay:
    """Close a relay socket."""

    relay: int


ServerEvent = OpenRelay | CloseRelay


@dataclass(frozen=True, slots=True)
class AllocationStatus:
    """One allocation for a person. name: of the user."""

    name: str
    client: Endpoint
    relayed: tuple[Endpoint, ...]
    expires_in_s: float


class _Refused(Exception):  # noqa: N818
    """A request of somebody known is answered with an error."""

    def __init__(self, code: ErrorCode, *attributes: tuple[int, bytes]) -> None:
        super().__init__(code.name)
        self.code = code
        self.attributes = attributes


class TurnServer:
    """Relays for members, within budgets. ``counts`` says what was done and what was dropped."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        realm: str,
        random_bytes: Callable[[int], bytes],
        now: float,
        budgets: Budgets | None = None,
        policy: PeerPolicy | None = None,
        families: Sequence[Family] = (Family.IPV4, Family.IPV6),
        alternates: Sequence[Endpoint] = (),
    ) -> None:
        """families: of which the driver can open relay sockets. alternates: servers that clients
        are sent to when this one is full (ALTERNATE-SERVER), at most one a family.
        """
        self.counts: Counter[str] = Counter()
        self._random_bytes = random_bytes
        self._authentication = ServerAuthentication(accounts, realm, random_bytes)
        self._ledger = Ledger(budgets or Budgets(), now)
        self._policy = policy or PeerPolicy()
        self._families = frozenset(families)
        self._alternates = {alternate.is_ipv6: alternate for alternate in alternates}
        self._binding = BindingServer()
        self._request_limit = SourceRateLimit(REQUEST_BURST, REQUEST_RATE_PER_S)
        self._refusal_limit = SourceRateLimit(REFUSAL_BURST, REFUSAL_RATE_PER_S)
        self._refusals = TokenBucket(REFUSALS_BURST, REFUSALS_RATE_PER_S, now)
        self._allocations: dict[ClientPath, Allocation] = {}
        self._relays: dict[int, Relay] = {}
        self._relays_by_endpoint: dict[Endpoint, Relay] = {}
        self._relay_hosts: Counter[str] = Counter()
        self._next_relay_id = 1
        self._transmits: deque[ServerTransmit] = deque(maxlen=TRANSMITS_MAX)
        self._events: deque[ServerEvent] = deque()
        self._answers: OrderedDict[tuple[ClientPath, bytes], tuple[float, bytes]] = OrderedDict()
        self._deadline: float | None = None
        self._handlers: dict[Method, Callable[[Message, ClientPath, Authenticated, float], bytes]]
        self._handlers = {
            Method.ALLOCATE: self._allocate,
            Method.REFRESH: self._refresh,
            Method.CREATE_PERMISSION: self._create_permission,
            Method.CHANNEL_BIND: self._bind_channel,
        }

    # What arrives

    def receive(self, data: bytes, source: Endpoint, now: float, local: str | None = None) -> None:
        """Take a datagram from the listening socket; never raises for what it holds.

        local: the address of ours that it came to.
        """
        path = ClientPath(source, local)
        if is_channel_data(data):
            self._receive_channel_data(data, path, now)
        elif data[:2] == _SEND_INDICATION:
            self._receive_send(data, path, now)
        elif data[:2] == _BINDING_REQUEST:
            response = self._binding.respond(data, source, now)
            if response is not None:
                self._transmit(response.data, path)
        elif not self._request_limit.allows(source.host, now):
            self.counts["rate limited"] += 1
        else:
            self._receive_request(data, path, now)

    def receive_relayed(self, relay_id: int, data: bytes, source: Endpoint, now: float) -> None:
        """Take a datagram from a relay socket."""
        relay = self._relays.get(relay_id)
        if relay is not None:
            self._relay_in(relay, data, source, now)

    def relay_opened(self, relay_id: int, endpoint: Endpoint, now: float) -> bool:
        """A relay socket is there, reached by peers at ``endpoint``.

        Give False where it is no longer wanted: its CloseRelay may have been polled before.
        """
        relay = self._relays.get(relay_id)
        if relay is None:
            return False
        relay.endpoint = endpoint
        self._relays_by_endpoint[endpoint] = relay
        self._relay_hosts[endpoint.host] += 1
        self._answer_when_open(relay.allocation, now)
        return True

    def relay_failed(self, relay_id: int, now: float) -> None:
        """A relay socket could not be opened."""
        relay = self._relays.pop(relay_id, None)
        if relay is None:
            return
        self.counts["relay sockets that could not be opened"] += 1
        allocation = relay.allocation
        del allocation.relays[relay.family]
        allocation.failed[relay.family] = ErrorCode.INSUFFICIENT_CAPACITY
        self._answer_when_open(allocation, now)

    # What leaves

    def poll_transmit(self) -> ServerTransmit | None:
        return self._transmits.popleft() if self._transmits else None

    def poll_event(self) -> ServerEvent | None:
        return self._events.popleft() if self._events else None

    def deadline(self) -> float | None:
        """When to call ``handle_timeout``; None while there is nothing to wait for."""
        if self._deadline is None and self._allocations:
            self._deadline = min(a.expires_at_s for a in self._allocations.values())
        return self._deadline

    def handle_timeout(self, now: float) -> None:
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return
        for allocation in [a for a in self._allocations.values() if a.expires_at_s <= now]:
            self.counts["allocations expired"] += 1
            self._delete(allocation)
        self._deadline = None

    def allocations(self, now: float) -> list[AllocationStatus]:
        """What there is now, for status and tests."""
        return [
            AllocationStatus(
                allocation.usage.name,
                allocation.path.client,
                tuple(r.endpoint for r in allocation.relays.values() if r.endpoint is not None),
                allocation.expires_at_s - now,
            )
            for allocation in self._allocations.values()
        ]

    # Data

    def _receive_channel_data(self, data: bytes, path: ClientPath, now: float) -> None:
        allocation = self._allocations.get(path)
        if allocation is None:
            self.counts["data without an allocation"] += 1
            return
        try:
            number, payload = parse_channel_data(data)
        except RemoteProtocolError:
            self.counts["malformed"] += 1
            return
        channel = allocation.channel(number, now)
        if channel is None:
            self.counts["data on no channel"] += 1
            return
        self._relay_out(allocation, channel.peer, payload, now)

    def _receive_send(self, data: bytes, path: ClientPath, now: float) -> None:
        allocation = self._allocations.get(path)
        if allocation is None:
            self.counts["data without an allocation"] += 1
            return
        try:
            message = parse(data)
            if message.unknown_required(_UNDERSTOOD):
                raise RemoteProtocolError("a Send indication that is not understood")
            payload = message.require(Attribute.DATA)
            value = message.require(Attribute.XOR_PEER_ADDRESS)
            peer = unpack_xor_address(value, message.transaction_id)
        except RemoteProtocolError:
            self.counts["malformed"] += 1
            return
        self._relay_out(allocation, peer, payload, now)

    def _relay_out(self, allocation: Allocation, peer: Endpoint, data: bytes, now: float) -> None:
        relay = allocation.relays.get(family_of(peer.host))
        if relay is None or relay.endpoint is None or not peer.port:
            self.counts["data that no relay can send"] += 1
            return
        if not allocation.has_permission(peer.host, now):
            self.counts["data without a permission"] += 1
            return
        if not self._spend(allocation.usage, data, now):
            return
        target = self._relays_by_endpoint.get(peer)
        if target is not None:
            # From one relay of ours to another: it need not leave the process.
            self._relay_in(target, data, relay.endpoint, now)
        elif peer.host in self._relay_hosts and not self._policy.is_exempt(peer.host):
            self.counts["data to an address of ours that is no relay"] += 1
        else:
            self.counts["data relayed to peers"] += 1
            self._transmits.append(ServerTransmit(data, peer, None, relay.id))

    def _relay_in(self, relay: Relay, data: bytes, source: Endpoint, now: float) -> None:
        allocation = relay.allocation
        if not allocation.has_permission(source.host, now):
            self.counts["data of a peer without a permission"] += 1
            return
        if len(data) > DATA_SIZE_MAX_BYTES:
            self.counts["data too long to relay"] += 1
            return
        if not self._spend(allocation.usage, data, now):
            return
        self.counts["data relayed to clients"] += 1
        channel = allocation.channel_to(source, now)
        if channel is not None:
            self._transmit(pack_channel_header(channel.number, len(data)) + data, allocation.path)
            return
        transaction_id = self._random_bytes(12)
        attributes = (
            (Attribute.XOR_PEER_ADDRESS, pack_xor_address(source, transaction_id)),
            (Attribute.DATA, data),
        )
        indication = encode(
            Method.DATA, Class.INDICATION, transaction_id, attributes, fingerprint=False
        )
        self._transmit(indication, allocation.path)

    def _spend(self, usage: Usage, data: bytes, now: float) -> bool:
        refused = self._ledger.spend(usage, len(data), now)
        if refused:
            self.counts[refused] += 1
        return not refused

    # Requests

    def _receive_request(self, data: bytes, path: ClientPath, now: float) -> None:
        try:
            request = parse(data)
        except RemoteProtocolError:
            self.counts["malformed"] += 1
            return
        handler = self._handlers.get(request.method)
        if handler is None or request.message_class is not Class.REQUEST:
            self.counts["not a request of TURN"] += 1
            return
        given_at_s, given = self._answers.get((path, request.transaction_id), (0.0, b""))
        if given and now - given_at_s <= ANSWER_AGE_MAX_S:
            self.counts["requests that came again"] += 1
            self._transmit(given, path)
            return
        user = self._authentication.check(request, path.client, now)
        if not isinstance(user, Authenticated):
            self._refuse(request, path, user.code, user.attributes, now)
            return
        self.counts[request.method.name.lower()] += 1
        try:
            unknown = request.unknown_required(_UNDERSTOOD)[:UNKNOWN_ATTRIBUTES_MAX]
            if unknown:
                listed = (int(Attribute.UNKNOWN_ATTRIBUTES), pack_unknown_attributes(unknown))
                raise _Refused(ErrorCode.UNKNOWN_ATTRIBUTE, listed)
            response = handler(request, path, user, now)
        except _Refused as refused:
            self.counts[f"error {refused.code:d}"] += 1
            error = (int(Attribute.ERROR_CODE), pack_error_code(refused.code, ""))
            attributes = [error, *refused.attributes]
            response = self._respond(request, user, attributes, Class.ERROR)
        except RemoteProtocolError:
            # A value that is none: it had the size of one, or it would not have been read.
            error = (int(Attribute.ERROR_CODE), pack_error_code(ErrorCode.BAD_REQUEST, ""))
            response = self._respond(request, user, [error], Class.ERROR)
        if response:
            self._answer(request, path, response, now)

    def _answer(self, request: Message, path: ClientPath, response: bytes, now: float) -> None:
        if request.method in (Method.ALLOCATE, Method.REFRESH):
            self._answers[path, request.transaction_id] = (now, response)
            if len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
        self._transmit(response, path)

    def _refuse(
        self,
        request: Message,
        path: ClientPath,
        code: int,
        attributes: tuple[tuple[int, bytes], ...],
        now: float,
    ) -> None:
        host = path.client.host
        if not self._refusal_limit.allows(host, now) or not self._refusals.take(1, now):
            self.counts["refusals held back"] += 1
            return
        self.counts[f"error {code}"] += 1
        response = encode(
            request.method,
            Class.ERROR,
            request.transaction_id,
            attributes,
            fingerprint=request.has_fingerprint,
        )
        self._transmit(response, path)

    def _allocate(
        self, request: Message, path: ClientPath, user: Authenticated, now: float
    ) -> bytes:
        present = self._allocations.get(path)
        if present is not None:
            if present.transaction_id == request.transaction_id:
                return present.response
            raise _Refused(ErrorCode.ALLOCATION_MISMATCH)
        asked = _families_asked(request)
        usage = self._ledger.user(user.account.name, now)
        if usage is None or not self._ledger.has_capacity(now):
            raise self._full(path)
        if not self._ledger.has_quota(usage, now):
            raise _Refused(ErrorCode.ALLOCATION_QUOTA_REACHED)
        lacking = [family for family in asked if family not in self._families]
        if len(lacking) == len(asked):
            raise _Refused(ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED)
        allocation = Allocation(path, usage, request.transaction_id)
        allocation.failed = dict.fromkeys(lacking, int(ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED))
        allocation.lifetime_s = _lifetime_s(request)
        allocation.expires_at_s = now + RELAY_OPEN_TIMEOUT_S
        allocation.request = request
        allocation.user = user
        is_even = Attribute.EVEN_PORT in request.attributes
        self._allocations[path] = allocation
        self._ledger.open_allocation(usage)
        self._deadline = None
        for family in asked:
            if family in self._families:
                relay = Relay(self._next_relay_id, family, allocation)
                self._next_relay_id += 1
                allocation.relays[family] = self._relays[relay.id] = relay
                self._events.append(OpenRelay(relay.id, family, path.local, is_even))
        return b""

    def _full(self, path: ClientPath) -> _Refused:
        alternate = self._alternates.get(path.client.is_ipv6)
        if alternate is None:
            return _Refused(ErrorCode.INSUFFICIENT_CAPACITY)
        there = (int(Attribute.ALTERNATE_SERVER), pack_address(alternate))
        return _Refused(ErrorCode.TRY_ALTERNATE, there)

    def _answer_when_open(self, allocation: Allocation, now: float) -> None:
        if any(relay.endpoint is None for relay in allocation.relays.values()):
            return
        request, user, path = allocation.request, allocation.user, allocation.path
        if request is None or user is None:
            return
        if not allocation.relays:
            self._delete(allocation)
            code = ErrorCode.INSUFFICIENT_CAPACITY
            error = (int(Attribute.ERROR_CODE), pack_error_code(code, ""))
            self.counts[f"error {code:d}"] += 1
            self._answer(request, path, self._respond(request, user, [error], Class.ERROR), now)
            return
        transaction_id = request.transaction_id
        attributes: list[tuple[int, bytes]] = [
            (Attribute.XOR_RELAYED_ADDRESS, pack_xor_address(relay.endpoint, transaction_id))
            for relay in allocation.relays.values()
            if relay.endpoint is not None
        ]
        attributes += [
            (Attribute.ADDRESS_ERROR_CODE, pack_address_error(family, code))
            for family, code in allocation.failed.items()
        ]
        attributes += [
            (Attribute.LIFETIME, allocation.lifetime_s.to_bytes(4, "big")),
            (Attribute.XOR_MAPPED_ADDRESS, pack_xor_address(path.client, transaction_id)),
        ]
        allocation.response = self._respond(request, user, attributes)
        allocation.request = allocation.user = None
        allocation.expires_at_s = now + allocation.lifetime_s
        self._deadline = None
        self.counts["allocations made"] += 1
        self._answer(request, path, allocation.response, now)

    def _refresh(
        self, request: Message, path: ClientPath, user: Authenticated, now: float
    ) -> bytes:
        allocation = self._allocation(path, user)
        family = None
        value = request.attributes.get(Attribute.REQUESTED_ADDRESS_FAMILY)
        if value is not None:
            family = unpack_family(value)
            if family not in allocation.relays:
                raise _Refused(ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH)
        lifetime_s = _lifetime_s(request, may_be_zero=True)
        if lifetime_s:
            allocation.lifetime_s = lifetime_s
            allocation.expires_at_s = now + lifetime_s
            self._deadline = None
        elif family is not None and len(allocation.relays) > 1:
            self._close_relay(allocation.relays.pop(family))
            allocation.revoke(family)
        else:
            self.counts["allocations ended"] += 1
            self._delete(allocation)
        lifetime = (int(Attribute.LIFETIME), lifetime_s.to_bytes(4, "big"))
        return self._respond(request, user, [lifetime])

    def _create_permission(
        self, request: Message, path: ClientPath, user: Authenticated, now: float
    ) -> bytes:
        allocation = self._allocation(path, user)
        values = request.values(Attribute.XOR_PEER_ADDRESS)
        if not values:
            raise _Refused(ErrorCode.BAD_REQUEST)
        hosts = {unpack_xor_address(value, request.transaction_id).host for value in values}
        self._permit(allocation, hosts, now)
        return self._respond(request, user, [])

    def _bind_channel(
        self, request: Message, path: ClientPath, user: Authenticated, now: float
    ) -> bytes:
        allocation = self._allocation(path, user)
        number = int.from_bytes(request.require(Attribute.CHANNEL_NUMBER)[:2], "big")
        value = request.require(Attribute.XOR_PEER_ADDRESS)
        peer = unpack_xor_address(value, request.transaction_id)
        if not CHANNEL_MIN <= number <= CHANNEL_TAKEN_MAX or not peer.port:
            raise _Refused(ErrorCode.BAD_REQUEST)
        if not allocation.may_bind(number, peer, now):
            raise _Refused(ErrorCode.BAD_REQUEST)
        self._permit(allocation, {peer.host}, now)
        if not allocation.bind(number, peer, now):
            raise _Refused(ErrorCode.INSUFFICIENT_CAPACITY)
        return self._respond(request, user, [])

    def _permit(self, allocation: Allocation, hosts: set[str], now: float) -> None:
        if any(family_of(host) not in allocation.relays for host in hosts):
            raise _Refused(ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH)
        if not all(host in self._relay_hosts or self._policy.allows(host) for host in hosts):
            raise _Refused(ErrorCode.FORBIDDEN)
        if not allocation.permit(hosts, now):
            raise _Refused(ErrorCode.INSUFFICIENT_CAPACITY)

    def _allocation(self, path: ClientPath, user: Authenticated) -> Allocation:
        allocation = self._allocations.get(path)
        if allocation is None or not allocation.response:
            raise _Refused(ErrorCode.ALLOCATION_MISMATCH)
        # By name and not by user name, which is another one when the credentials were renewed.
        if allocation.usage.name != user.account.name:
            raise _Refused(ErrorCode.WRONG_CREDENTIALS)
        return allocation

    def _delete(self, allocation: Allocation) -> None:
        del self._allocations[allocation.path]
        self._ledger.close_allocation(allocation.usage)
        for relay in allocation.relays.values():
            self._close_relay(relay)
        allocation.relays.clear()
        self._deadline = None

    def _close_relay(self, relay: Relay) -> None:
        del self._relays[relay.id]
        if relay.endpoint is not None:
            del self._relays_by_endpoint[relay.endpoint]
            self._relay_hosts[relay.endpoint.host] -= 1
            if not self._relay_hosts[relay.endpoint.host]:
                del self._relay_hosts[relay.endpoint.host]
        self._events.append(CloseRelay(relay.id))

    def _respond(
        self,
        request: Message,
        user: Authenticated,
        attributes: Sequence[tuple[int, bytes]],
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

    def _transmit(self, data: bytes, path: ClientPath) -> None:
        self._transmits.append(ServerTransmit(data, path.client, path.local, None))


def _families_asked(request: Message) -> tuple[Family, ...]:
    """Which relays an Allocate asks for, or _Refused (RFC 8656 section 7.2)."""
    attributes = request.attributes
    if attributes.get(Attribute.REQUESTED_TRANSPORT) is None:
        raise _Refused(ErrorCode.BAD_REQUEST)
    if attributes[Attribute.REQUESTED_TRANSPORT][:1] != UDP[:1]:
        raise _Refused(ErrorCode.UNSUPPORTED_TRANSPORT)
    has_token = Attribute.RESERVATION_TOKEN in attributes
    requested = attributes.get(Attribute.REQUESTED_ADDRESS_FAMILY)
    additional = attributes.get(
        Attribute.ADDITIONAL_ADDRESS_FAMILY,
        attributes.get(Attribute.ADDITIONAL_ADDRESS_FAMILY_DRAFT),
    )
    exclusive = (has_token, requested is not None, additional is not None)
    if sum(exclusive) > 1 or (has_token and Attribute.EVEN_PORT in attributes):
        raise _Refused(ErrorCode.BAD_REQUEST)
    if additional is not None and unpack_family(additional) is not Family.IPV6:
        raise _Refused(ErrorCode.BAD_REQUEST)
    if has_token or attributes.get(Attribute.EVEN_PORT, b"\x00")[0] & 0x80:
        # Pairs of ports were for RTP and RTCP: no port is held back here.
        raise _Refused(ErrorCode.INSUFFICIENT_CAPACITY)
    if additional is not None:
        return (Family.IPV4, Family.IPV6)
    if requested is None:
        return (Family.IPV4,)
    family = unpack_family(requested)
    if family is None:
        raise _Refused(ErrorCode.ADDRESS_FAMILY_NOT_SUPPORTED)
    return (family,)


def _lifetime_s(request: Message, *, may_be_zero: bool = False) -> int:
    value = request.attributes.get(Attribute.LIFETIME)
    if value is None:
        return ALLOCATION_LIFETIME_S
    asked_s = int.from_bytes(value, "big")
    if may_be_zero and not asked_s:
        return 0
    return min(max(asked_s, ALLOCATION_LIFETIME_S), ALLOCATION_LIFETIME_MAX_S)
