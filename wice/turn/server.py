"""A TURN server over UDP (RFC 8656), without I/O.

The driver owns the sockets: it hands in what arrives, sends what ``poll_transmit`` gives, and
opens and closes relay sockets as ``poll_event`` says. Departures from the RFC are in
docs/reference/turn.md.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Accounts,
    Attribute,
    Authenticated,
    Class,
    Message,
    Method,
    ServerAuthentication,
    SourceRateLimit,
    TokenBucket,
    encode,
    parse,
)
from wice.stun.server_authentication import Refusal
from wice.turn.allocation import Allocation, ClientPath
from wice.turn.allocation_table import AllocationTable
from wice.turn.budgets import Budgets, Ledger
from wice.turn.member_requests import MemberRequests
from wice.turn.messages import ErrorCode, Family, is_channel_data
from wice.turn.peer_policy import PeerPolicy
from wice.turn.relaying import Relaying
from wice.turn.server_events import AllocationStatus, ServerEvent, ServerTransmit

TRANSMITS_MAX: Final = 1_024
"""Datagrams waiting for ``poll_transmit``; who drains after each call never has so many."""

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

_SEND_INDICATION: Final = b"\x00\x16"
_SIGNATURES: Final = frozenset({Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256})


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
        policy = policy or PeerPolicy()
        ledger = Ledger(budgets or Budgets(), now)
        self._authentication = ServerAuthentication(accounts, realm, random_bytes)
        self._request_limit = SourceRateLimit(REQUEST_BURST, REQUEST_RATE_PER_S)
        self._refusal_limit = SourceRateLimit(REFUSAL_BURST, REFUSAL_RATE_PER_S)
        self._refusals = TokenBucket(REFUSALS_BURST, REFUSALS_RATE_PER_S, now)
        self._transmits: deque[ServerTransmit] = deque(maxlen=TRANSMITS_MAX)
        self._answers: OrderedDict[tuple[ClientPath, bytes], tuple[float, bytes]] = OrderedDict()
        self._table = AllocationTable(ledger)
        self._requests = MemberRequests(
            self._table, ledger, policy, families, alternates, self.counts
        )
        self._relaying = Relaying(
            self._table, ledger, policy, random_bytes, self._transmits, self.counts
        )

    # What arrives

    def receive(self, data: bytes, source: Endpoint, now: float, local: str | None = None) -> None:
        """Take a datagram from the listening socket; never raises for what it holds.

        local: the address of ours that it came to.
        """
        path = ClientPath(source, local)
        if is_channel_data(data):
            self._relaying.receive_channel_data(data, path, now)
        elif data[:2] == _SEND_INDICATION:
            self._relaying.receive_send(data, path, now)
        elif not self._request_limit.allows(source.host, now):
            self.counts["rate limited"] += 1
        else:
            self._receive_request(data, path, now)

    def receive_relayed(self, relay_id: int, data: bytes, source: Endpoint, now: float) -> None:
        """Take a datagram from a relay socket."""
        self._relaying.receive_relayed(relay_id, data, source, now)

    def relay_opened(self, relay_id: int, endpoint: Endpoint, now: float) -> bool:
        """A relay socket is there, reached by peers at ``endpoint``.

        Give False where it is no longer wanted: its CloseRelay may have been polled before.
        """
        relay = self._table.relay_opened(relay_id, endpoint)
        if relay is None:
            return False
        self._answer_when_open(relay.allocation, now)
        return True

    def relay_failed(self, relay_id: int, now: float) -> None:
        """A relay socket could not be opened."""
        relay = self._table.relay_failed(relay_id, ErrorCode.INSUFFICIENT_CAPACITY)
        if relay is not None:
            self.counts["relay sockets that could not be opened"] += 1
            self._answer_when_open(relay.allocation, now)

    # What leaves

    def poll_transmit(self) -> ServerTransmit | None:
        return self._transmits.popleft() if self._transmits else None

    def poll_event(self) -> ServerEvent | None:
        events = self._table.events
        return events.popleft() if events else None

    def deadline(self) -> float | None:
        """When to call ``handle_timeout``; None while there is nothing to wait for."""
        return self._table.deadline()

    def handle_timeout(self, now: float) -> None:
        expired = self._table.expire(now)
        if expired:
            self.counts["allocations expired"] += expired

    def allocations(self, now: float) -> list[AllocationStatus]:
        """What there is now, for status and tests."""
        return self._table.statuses(now)

    # Requests

    def _receive_request(self, data: bytes, path: ClientPath, now: float) -> None:
        try:
            request = parse(data)
        except RemoteProtocolError:
            self.counts["malformed"] += 1
            return
        is_request = request.message_class is Class.REQUEST
        if not is_request or not self._requests.knows(request.method):
            self.counts["not a request of TURN"] += 1
            return
        if self._answer_again(request, path, now):
            self.counts["requests that came again"] += 1
            return
        is_signed = not _SIGNATURES.isdisjoint(request.attributes)
        # Before a challenge is made: who forges sources shall not choose how much is hashed here.
        if not is_signed and not self._may_refuse(path.client.host, now):
            return
        user = self._authentication.check(request, path.client, now)
        if not isinstance(user, Authenticated):
            if not is_signed or self._may_refuse(path.client.host, now):
                self._refuse(request, path, user)
            return
        self.counts[request.method.name.lower()] += 1
        response = self._requests.answer(request, path, user, now)
        if response is not None:
            self._answer(request, path, response, now)

    def _answer_again(self, request: Message, path: ClientPath, now: float) -> bool:
        """Whether it is a copy of a request that was answered, or of an Allocate that will be."""
        allocation = self._table.by_path.get(path)
        if allocation is not None and allocation.transaction_id == request.transaction_id:
            given = allocation.response
        else:
            given_at_s, given = self._answers.get((path, request.transaction_id), (0.0, b""))
            if not given or now - given_at_s > ANSWER_AGE_MAX_S:
                return False
        if given:
            self._transmit(given, path)
        return True

    def _answer_when_open(self, allocation: Allocation, now: float) -> None:
        request = allocation.request
        response = self._requests.answer_when_open(allocation, now)
        if response is not None and request is not None:
            self._answer(request, allocation.path, response, now)

    def _answer(self, request: Message, path: ClientPath, response: bytes, now: float) -> None:
        if request.method in (Method.ALLOCATE, Method.REFRESH):
            self._answers[path, request.transaction_id] = (now, response)
            if len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
        self._transmit(response, path)

    def _may_refuse(self, host: str, now: float) -> bool:
        if self._refusal_limit.allows(host, now) and self._refusals.take(1, now):
            return True
        self.counts["refusals held back"] += 1
        return False

    def _refuse(self, request: Message, path: ClientPath, refusal: Refusal) -> None:
        self.counts[f"error {refusal.code}"] += 1
        response = encode(
            request.method,
            Class.ERROR,
            request.transaction_id,
            refusal.attributes,
            fingerprint=request.has_fingerprint,
        )
        self._transmit(response, path)

    def _transmit(self, data: bytes, path: ClientPath) -> None:
        self._transmits.append(ServerTransmit(data, path.client, path.local, None))
