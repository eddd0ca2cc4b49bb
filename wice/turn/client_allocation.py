"""The allocation of a client: getting one, keeping it up, losing it (RFC 8656 sections 7 and 8)."""

import ipaddress
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Message,
    Method,
    TokenBucket,
    unpack_address,
    unpack_xor_address,
)
from wice.turn.events import (
    Allocated,
    AllocationFailed,
    AllocationLost,
    ClientEvent,
    CredentialsRefused,
    Redirected,
)
from wice.turn.exchange import Exchange
from wice.turn.messages import UDP, ErrorCode, Family, family_of
from wice.turn.peer_policy import PeerPolicy
from wice.turn.refusals import reason_of, wait_after
from wice.turn.requests import Answer, Build, Request
from wice.turn.timing import Timing

REDIRECTS_MAX: Final = 3
MISMATCHES_MAX: Final = 2
"""How often an allocation that an earlier run left behind is ended to make room for ours."""
LIFETIME_MIN_S: Final = 60
"""An allocation that ends sooner is none: each that is lost is told to every peer."""
RENEWALS_BURST: Final = 4
RENEWALS_RATE_PER_S: Final = 1 / 60
"""How often an allocation that was lost is asked for again without waiting."""


class State(Enum):
    """waiting: for the time to try again. ending: an old allocation that is in our way."""

    WAITING = auto()
    ASKING = auto()
    ENDING = auto()
    ALLOCATED = auto()
    CLOSING = auto()
    CLOSED = auto()


class ClientAllocation:
    """One allocation after the other at one server, or at those that it names instead."""

    def __init__(
        self,
        server: Endpoint,
        exchange: Exchange,
        timing: Timing,
        events: deque[ClientEvent],
        *,
        families: Sequence[Family],
        on_allocated: Callable[[float], None],
        now: float,
    ) -> None:
        """on_allocated: there is another one, which has no permissions; it is told the time."""
        self.server = server
        self.state = State.WAITING
        self.relayed: dict[Family, Endpoint] = {}
        self.mapped: Endpoint | None = None
        self.expires_at_s = now
        self._home = server
        self._exchange = exchange
        self._timing = timing
        self._events = events
        self._families = families
        self._on_allocated = on_allocated
        self._retry_at_s = now
        self._retry_s = timing.retry_s
        self._servers_tried: list[Endpoint] = []
        self._mismatches = 0
        self._renewals = TokenBucket(RENEWALS_BURST, RENEWALS_RATE_PER_S, now)
        self._settled_at_s = now
        self._refresh_at_s = now
        self._is_refreshing = False
        self._is_refused = False
        self._silent_since_s: float | None = None

    def handle_timeout(self, now: float) -> None:
        if self.state is State.ALLOCATED and now >= self.expires_at_s:
            self._lose_and_retry("its lifetime is over", now)
        if self.state is State.WAITING and now >= self._retry_at_s:
            self._begin(now)

    def refresh_if_due(self, now: float) -> None:
        is_due = now >= self._refresh_at_s and not self._is_refreshing
        if self.state is State.ALLOCATED and is_due:
            self._refresh(now)

    def deadline(self) -> float | None:
        """When there is something to do besides retransmitting."""
        if self.state is State.WAITING:
            return self._retry_at_s
        if self.state is not State.ALLOCATED:
            return None
        if self._is_refreshing:
            return self.expires_at_s
        return min(self._refresh_at_s, self.expires_at_s)

    def credentials_changed(self, now: float) -> bool:
        """Wait no longer for what the old ones did not open; give whether a server refused them."""
        if self.state is State.WAITING:
            self._retry_at_s = now
        was_refused, self._is_refused = self._is_refused, False
        if was_refused:
            self._refresh_at_s = now
        return was_refused

    def restart(self, now: float) -> None:
        if self.state in (State.CLOSING, State.CLOSED):
            return
        if self.state is State.ALLOCATED:
            self._lose("the network changed")
        self._exchange.clear()
        self._retry_s = self._timing.retry_s
        self._wait_until(now)

    def network_changed(self, now: float) -> None:
        if self.state is State.ALLOCATED:
            self._settled_at_s = now
            if not self._exchange.is_full:
                self._refresh(now)
        else:
            self.restart(now)

    def close(self, now: float) -> None:
        if self.state in (State.CLOSING, State.CLOSED):
            return
        was_allocated = self.state is State.ALLOCATED
        self._exchange.clear()
        self.state = State.CLOSING if was_allocated else State.CLOSED
        if was_allocated:
            self._exchange.ask(Method.REFRESH, _lifetime(0), self._closed, now)

    def mismatched(self, now: float) -> None:
        """The server knows no allocation of ours."""
        self._lose_and_retry("the server does not know it", now)

    def _lose_and_retry(self, reason: str, now: float) -> None:
        """Allocate again at once, unless the server loses what it has only just given, or often."""
        self._lose(reason)
        if now >= self._settled_at_s + self._timing.retry_max_s:
            self._retry_s = self._timing.retry_s
        if now >= self._settled_at_s and self._renewals.take(1, now):
            self._begin(now)
        else:
            self._wait_until(now + self._retry_s)
            self._retry_s = min(2 * self._retry_s, self._timing.retry_max_s)

    # Getting one

    def _begin(self, now: float) -> None:
        if self.server == self._home:
            self._exchange.begin()
        else:
            self.server = self._home
            self._exchange.begin_elsewhere()
        self._servers_tried = [self._home]
        self._mismatches = 0
        self._allocate(now)

    def _allocate(self, now: float) -> None:
        self.state = State.ASKING
        self._exchange.ask(
            Method.ALLOCATE, self._attributes, self._answered, now, self._check_success
        )

    def _attributes(self, _: bytes) -> list[tuple[int, bytes]]:
        attributes: list[tuple[int, bytes]] = [(Attribute.REQUESTED_TRANSPORT, UDP)]
        if len(self._families) > 1:
            # A server knows one of the two and passes over the other.
            for kind in (
                Attribute.ADDITIONAL_ADDRESS_FAMILY,
                Attribute.ADDITIONAL_ADDRESS_FAMILY_DRAFT,
            ):
                attributes.append((kind, Family.IPV6.value_bytes))
        elif self._families[0] is Family.IPV6:
            # IPv4 is what is meant where nothing is said, also by servers that know no more.
            attributes.append((Attribute.REQUESTED_ADDRESS_FAMILY, Family.IPV6.value_bytes))
        return attributes

    def _check_success(self, message: Message) -> None:
        """Raise RemoteProtocolError for a success that gives us nothing we can use."""
        message.require(Attribute.LIFETIME)
        mapped = message.require(Attribute.XOR_MAPPED_ADDRESS)
        unpack_xor_address(mapped, message.transaction_id)
        values = message.values(Attribute.XOR_RELAYED_ADDRESS)
        relayed = [unpack_xor_address(value, message.transaction_id) for value in values]
        families = [family_of(endpoint.host) for endpoint in relayed]
        if (
            not relayed
            or not all(endpoint.port for endpoint in relayed)
            or len(set(families)) < len(families)
            or not set(families) <= set(self._families)
        ):
            raise RemoteProtocolError("an allocation without the addresses that were asked for")

    def _answered(self, request: Request, answer: Answer) -> None:
        now = answer.now
        if answer.code == 0 and _lifetime_s(answer) < LIFETIME_MIN_S:
            self._fail(0, now)
        elif answer.code == 0:
            self._succeeded(request, answer)
        elif answer.code == ErrorCode.ALLOCATION_MISMATCH and self._mismatches < MISMATCHES_MAX:
            # Left behind by an earlier run of ours, or a success that was lost on its way.
            self._mismatches += 1
            self.state = State.ENDING
            self._exchange.ask(Method.REFRESH, _lifetime(0), self._obstacle_ended, now)
        elif (server := self._alternate(answer)) is not None:
            self._redirect(server, now)
        else:
            self._fail(answer.code, now)

    def _obstacle_ended(self, _: Request, answer: Answer) -> None:
        if answer.code in (0, ErrorCode.ALLOCATION_MISMATCH):
            self._allocate(answer.now)
        else:
            self._fail(answer.code, answer.now)

    def _alternate(self, answer: Answer) -> Endpoint | None:
        """The other server that an answer names, but none twice (RFC 8489 section 10)."""
        value = answer.values.get(Attribute.ALTERNATE_SERVER)
        try:
            server = None if value is None else unpack_address(value)
        except RemoteProtocolError:
            # The request is answered all the same: without a next step it would be the last one.
            server = None
        if (
            answer.code != ErrorCode.TRY_ALTERNATE
            or server is None
            or not server.port
            or server.is_ipv6 != self.server.is_ipv6
            or not _may_name(self.server, server)
            or server in self._servers_tried
            or len(self._servers_tried) > REDIRECTS_MAX
        ):
            return None
        return server

    def _redirect(self, server: Endpoint, now: float) -> None:
        self.server = server
        self._servers_tried.append(server)
        self._exchange.begin_elsewhere()
        self._events.append(Redirected(server))
        self._allocate(now)

    def _succeeded(self, request: Request, answer: Answer) -> None:
        endpoints = [unpack_xor_address(value, answer.transaction_id) for value in answer.relayed]
        self.relayed = {family_of(endpoint.host): endpoint for endpoint in endpoints}
        mapped = answer.values[Attribute.XOR_MAPPED_ADDRESS]
        self.mapped = unpack_xor_address(mapped, answer.transaction_id)
        self.state = State.ALLOCATED
        self._settled_at_s = answer.now + self._timing.retry_s
        self._is_refreshing = False
        self._live(request, answer)
        self._on_allocated(answer.now)
        self._events.append(Allocated(tuple(endpoints), self.mapped))

    def _fail(self, code: int | None, now: float) -> None:
        self._wait_until(now + wait_after(code, self._retry_s, self._timing))
        self._retry_s = min(2 * self._retry_s, self._timing.retry_max_s)
        self._events.append(AllocationFailed(code or 0, reason_of(code), self._retry_at_s))
        if code == ErrorCode.UNAUTHENTICATED:
            self._events.append(CredentialsRefused())

    def _wait_until(self, retry_at_s: float) -> None:
        self.state = State.WAITING
        self._retry_at_s = retry_at_s

    # Keeping it up

    def _live(self, request: Request, answer: Answer) -> None:
        lifetime_s = _lifetime_s(answer)
        self.expires_at_s = request.began_at_s + lifetime_s
        self._refresh_at_s = request.began_at_s + min(self._timing.keepalive_s, lifetime_s / 2)
        self._silent_since_s = None
        self._is_refused = False

    def _refresh(self, now: float) -> None:
        self._is_refreshing = True
        self._exchange.ask(Method.REFRESH, _no_attributes, self._refresh_answered, now)

    def _refresh_answered(self, request: Request, answer: Answer) -> None:
        self._is_refreshing = False
        if answer.code == 0 and _lifetime_s(answer) >= LIFETIME_MIN_S:
            self._live(request, answer)
        elif answer.code in (0, ErrorCode.ALLOCATION_MISMATCH, ErrorCode.WRONG_CREDENTIALS):
            self.mismatched(answer.now)
        elif answer.code is None:
            self._bear_silence(request, answer.now)
        else:
            if answer.refuses_credentials:
                self._is_refused = True
                self._events.append(CredentialsRefused())
            self._silent_since_s = None
            self._refresh_at_s = answer.now + self._timing.retry_s

    def _bear_silence(self, request: Request, now: float) -> None:
        if self._silent_since_s is None:
            self._silent_since_s = request.began_at_s
        if now - self._silent_since_s >= self._timing.silence_max_s:
            self._lose("the server does not answer")
            self._retry_s = self._timing.retry_s
            self._wait_until(now + self._retry_s)
        else:
            self._refresh_at_s = now

    def _lose(self, reason: str) -> None:
        self.relayed = {}
        self.mapped = None
        self._exchange.clear()
        self._events.append(AllocationLost(reason))

    def _closed(self, _: Request, __: Answer) -> None:
        self.state = State.CLOSED
        self._exchange.clear()


def _may_name(server: Endpoint, alternate: Endpoint) -> bool:
    """Whether ``server`` is believed that it can be used at ``alternate``.

    It says so before anybody has proved anything: no server outside sends us into our own network.
    """
    here, there = ipaddress.ip_address(server.host), ipaddress.ip_address(alternate.host)
    if there.is_multicast or there.is_unspecified or str(there) == "255.255.255.255":
        return False
    if there.is_loopback:
        return here.is_loopback
    policy = PeerPolicy()
    return policy.allows(alternate.host) or not policy.allows(server.host)


def _lifetime(lifetime_s: int) -> Build:
    value = lifetime_s.to_bytes(4, "big")
    return lambda _: [(Attribute.LIFETIME, value)]


def _lifetime_s(answer: Answer) -> int:
    """What a success grants."""
    return int.from_bytes(answer.values.get(Attribute.LIFETIME, b""), "big")


def _no_attributes(_: bytes) -> list[tuple[int, bytes]]:
    return []
