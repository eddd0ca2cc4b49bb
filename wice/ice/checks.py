"""Our Binding transactions: sending, retransmitting, matching answers (RFC 8489 section 6.2.1)."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice.events import Transmit
from wice.ice.messages import encode_request
from wice.ice.pair import Check, Pair, State
from wice.ice.timing import Timing
from wice.stun import TRANSACTION_ID_SIZE_BYTES

CHECKS_MAX: Final = 1_024
"""Transactions whose answers are still waited for; the oldest are forgotten first."""

_RTO_PER_RTT: Final = 1.25
_BACKOFF: Final = 1.5


class Role(NamedTuple):
    controlling: bool
    tie_breaker: int


class Checks:
    """The transactions of one agent.

    A check replaced by a newer one on its pair is no longer retransmitted, but its answer counts
    (RFC 8445 section 7.3.1.4). An answer counts once, and not after the time of consent: who
    records answers cannot keep a dead path alive with them.
    """

    def __init__(self, timing: Timing, random_bytes: Callable[[int], bytes]) -> None:
        self._timing = timing
        self._random_bytes = random_bytes
        self._outstanding: OrderedDict[bytes, Check] = OrderedDict()

    def start(self, pair: Pair, role: Role, now: float, *, nominating: bool) -> Transmit:
        """Begin a check that is retransmitted until it is answered or has failed."""
        check = self._new(pair, role, now, nominating=nominating)
        pair.check = check
        return Transmit(check.data, pair.path)

    def ask(self, pair: Pair, role: Role, now: float, *, nominating: bool) -> Transmit:
        """Begin a check that is sent once, for consent."""
        return Transmit(self._new(pair, role, now, nominating=nominating).data, pair.path)

    def match(
        self, transaction_id: bytes, source: Endpoint, destination: str | None, now: float
    ) -> Check:
        """The check that an answer is to, before any cryptography; raise RemoteProtocolError.

        It must come from where the check went to, and to where it came from (RFC 8445 section
        7.2.5.2.1).
        """
        check = self._outstanding.get(transaction_id)
        if check is None or now - check.started_at_s > self._timing.consent_expiry_s:
            raise RemoteProtocolError("an answer to no check of ours")
        path = check.pair.path
        if source != path.remote or destination not in (None, path.source):
            raise RemoteProtocolError("an answer from elsewhere than its check went to")
        return check

    def answered(self, check: Check, now: float) -> None:
        """A verified success: the pair works."""
        pair = check.pair
        self.close(check)
        pair.state = State.SUCCEEDED
        pair.rtt_s = now - check.started_at_s
        pair.valid_until = now + self._timing.consent_expiry_s

    def close(self, check: Check) -> None:
        """An answer came, of whatever kind."""
        self._outstanding.pop(check.transaction_id, None)
        if check.pair.check is check:
            check.pair.check = None

    def time_out(self, pairs: Iterable[Pair], now: float) -> tuple[list[Transmit], list[Pair]]:
        """Retransmit what is due; give the datagrams and the pairs that have failed."""
        transmits: list[Transmit] = []
        failed: list[Pair] = []
        for pair in pairs:
            check = pair.check
            if check is None or now < check.next_at_s:
                continue
            if check.sent >= self._transmissions_max(pair):
                pair.check = None
                failed.append(pair)
                continue
            check.sent += 1
            pair.transmissions += 1
            check.rto_s = min(
                _BACKOFF * check.rto_s, max(self._timing.rto_max_s, self._rto_s(pair))
            )
            check.next_at_s = now + check.rto_s
            transmits.append(Transmit(check.data, pair.path))
        return transmits, failed

    def _new(self, pair: Pair, role: Role, now: float, *, nominating: bool) -> Check:
        transaction_id = self._random_bytes(TRANSACTION_ID_SIZE_BYTES)
        data = encode_request(
            pair.remote,
            transaction_id,
            priority=pair.base.reflexive_priority,
            controlling=role.controlling,
            tie_breaker=role.tie_breaker,
            nominating=nominating,
        )
        rto_s = self._rto_s(pair)
        check = Check(
            transaction_id, pair, data, role.controlling, nominating, now, now + rto_s, rto_s
        )
        pair.transmissions += 1
        self._outstanding[transaction_id] = check
        if len(self._outstanding) > CHECKS_MAX:
            self._outstanding.popitem(last=False)
        return check

    def _rto_s(self, pair: Pair) -> float:
        return max(self._timing.rto_s, _RTO_PER_RTT * (pair.rtt_s or 0.0))

    def _transmissions_max(self, pair: Pair) -> int:
        if pair.is_retry:
            return self._timing.retry_transmissions_max
        return self._timing.transmissions_max
