"""A client's requests under way: sending, retransmitting, matching (RFC 8489 section 6.2.1)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from wice.stun import TRANSACTION_ID_SIZE_BYTES, Challenge, Class, Message, Method, encode
from wice.turn.messages import ErrorCode
from wice.turn.timing import Timing

REQUESTS_MAX: Final = 64
"""Requests that are under way at once: those beyond are begun when others are answered."""

_RTO_PER_RTT: Final = 1.5

Build = Callable[[bytes], Sequence[tuple[int, bytes]]]
"""The attributes of a request, by its transaction id: addresses are mixed with it."""

Check = Callable[[Message], None]
"""Raises RemoteProtocolError for a success that lacks what it must have."""


@dataclass(slots=True, eq=False)
class Request:
    """One thing asked of the server, in as many transactions as challenges make it take.

    began_at_s: of the current transaction; what is granted counts from here.
    """

    method: Method
    build: Build
    done: Callable[["Request", "Answer"], None]
    check: Check | None = None
    transaction_id: bytes = b""
    data: bytes = b""
    challenge: Challenge | None = None
    attempts: int = 0
    sent: int = 0
    rto_s: float = 0.0
    began_at_s: float = 0.0
    next_at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended. code: 0 for success, None when nobody answered."""

    code: int | None
    now: float
    values: dict[int, bytes] = field(default_factory=dict)
    relayed: tuple[bytes, ...] = ()
    transaction_id: bytes = b""

    @property
    def refuses_credentials(self) -> bool:
        return self.code in (ErrorCode.UNAUTHENTICATED, ErrorCode.WRONG_CREDENTIALS)


class Requests:
    """The requests of one client."""

    def __init__(self, timing: Timing, random_bytes: Callable[[int], bytes]) -> None:
        self._timing = timing
        self._random_bytes = random_bytes
        self._under_way: dict[bytes, Request] = {}
        self._rtt_s = 0.0

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def is_full(self) -> bool:
        return len(self._under_way) >= REQUESTS_MAX

    def send(self, request: Request, challenge: Challenge | None, now: float) -> bytes:
        """Begin a transaction for ``request``; give its datagram."""
        request.transaction_id = self._random_bytes(TRANSACTION_ID_SIZE_BYTES)
        attributes = [*request.build(request.transaction_id)]
        if challenge is not None:
            attributes += challenge.attributes
        request.challenge = challenge
        request.data = encode(
            request.method,
            Class.REQUEST,
            request.transaction_id,
            attributes,
            key=None if challenge is None else challenge.key,
        )
        request.attempts += 1
        request.sent = 1
        request.rto_s = max(self._timing.rto_s, _RTO_PER_RTT * self._rtt_s)
        request.began_at_s = now
        request.next_at_s = now + request.rto_s
        self._under_way[request.transaction_id] = request
        return request.data

    def get(self, transaction_id: bytes) -> Request | None:
        return self._under_way.get(transaction_id)

    def close(self, request: Request, now: float) -> None:
        """An answer came, of whatever kind."""
        del self._under_way[request.transaction_id]
        if request.sent == 1:
            self._rtt_s = now - request.began_at_s

    def clear(self) -> None:
        """Want no answers any more."""
        self._under_way.clear()

    def deadline(self) -> float | None:
        return min((r.next_at_s for r in self._under_way.values()), default=None)

    def time_out(self, now: float) -> tuple[list[bytes], list[Request]]:
        """Datagrams to send again, and the requests that nobody answered."""
        again: list[bytes] = []
        failed: list[Request] = []
        timing = self._timing
        for request in list(self._under_way.values()):
            if now < request.next_at_s:
                continue
            if request.sent >= timing.transmissions_max:
                del self._under_way[request.transaction_id]
                failed.append(request)
                continue
            request.sent += 1
            request.rto_s = min(timing.rto_factor * request.rto_s, timing.rto_max_s)
            is_last = request.sent == timing.transmissions_max
            request.next_at_s = now + (timing.final_wait_s if is_last else request.rto_s)
            again.append(request.data)
        return again, failed
