"""Our Binding transactions: sending, retransmitting, matching answers (RFC 8489 section 6.2.1)."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice.events import Transmit
from wice.ice.messages import encode_request
from wice.ice.pair import Check, Effort, Pair, Role, State
from wice.ice.report import NO_ANSWER, REPLACED, Purpose
from wice.ice.timing import Timing
from wice.stun import TRANSACTION_ID_SIZE_BYTES

CHECKS_MAX: Final = 1_024
"""Transactions whose answers are still waited for; the oldest are forgotten first."""

_RTO_PER_RTT: Final = 1.25


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
        self._due_at_s = math.inf
        """Nothing is retransmitted before. It may be early: checks are answered meanwhile."""

    def start(
        self,
        pair: Pair,
        role: Role,
        now: float,
        purpose: Purpose,
        *,
        nomination: int = 0,
        is_numbered: bool = False,
        load: int = 0,
    ) -> Transmit:
        """Begin a check that is retransmitted until it is answered or has failed.

        nomination: its number, 0 for none; it is written where ``is_numbered``. load: pairs that
        wait or are being checked.
        """
        if pair.check is not None:
            self._note(pair.check, REPLACED, now)
        rto_s = max(self._rto_s(pair), self._timing.pace_s * load)
        check = self._new(pair, role, now, purpose, nomination, is_numbered, rto_s)
        pair.check = check
        self._due_at_s = min(self._due_at_s, check.next_at_s)
        return Transmit(check.data, pair.path)

    def ask(
        self, pair: Pair, role: Role, now: float, *, nomination: int, is_numbered: bool
    ) -> Transmit:
        """Begin a check that is sent once, for consent."""
        check = self._new(pair, role, now, Purpose.CONSENT, nomination, is_numbered, 0.0)
        return Transmit(check.data, pair.path)

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
        pair.took(now - check.started_at_s, is_exact=check.sent == 1)
        pair.history.answered(check.purpose, check.started_at_s, check.sent, now)
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
        if now < self._due_at_s:
            return transmits, failed
        due_at_s = math.inf
        for pair in pairs:
            check = pair.check
            if check is None:
                continue
            if now < check.next_at_s:
                due_at_s = min(due_at_s, check.next_at_s)
                continue
            transmissions_max = self._transmissions_max(pair)
            if check.sent >= transmissions_max:
                pair.check = None
                self._note(check, NO_ANSWER, now)
                failed.append(pair)
                continue
            check.sent += 1
            pair.history.sent_one(now)
            check.rto_s = min(
                self._timing.backoff * check.rto_s,
                max(self._timing.rto_max_s, self._rto_s(pair)),
            )
            check.next_at_s = now + check.rto_s
            if self._timing.last_wait_rtos and check.sent == transmissions_max:
                check.next_at_s = now + self._timing.last_wait_rtos * self._timing.rto_s
            due_at_s = min(due_at_s, check.next_at_s)
            transmits.append(Transmit(check.data, pair.path))
        self._due_at_s = due_at_s
        return transmits, failed

    def refused(self, check: Check, code: int, now: float) -> None:
        """An error came."""
        self.close(check)
        self._note(check, f"error {code}", now)

    def _new(
        self,
        pair: Pair,
        role: Role,
        now: float,
        purpose: Purpose,
        nomination: int,
        is_numbered: bool,
        rto_s: float,
    ) -> Check:
        transaction_id = self._random_bytes(TRANSACTION_ID_SIZE_BYTES)
        data = encode_request(
            pair.remote,
            transaction_id,
            priority=pair.base.reflexive_priority,
            controlling=role.controlling,
            tie_breaker=role.tie_breaker,
            nominating=nomination > 0,
            nomination=nomination if is_numbered else 0,
        )
        check = Check(
            transaction_id, pair, data, role, purpose, nomination, now, now + rto_s, rto_s
        )
        pair.history.sent_one(now)
        self._outstanding[transaction_id] = check
        if len(self._outstanding) > CHECKS_MAX:
            self._outstanding.popitem(last=False)
        return check

    @staticmethod
    def _note(check: Check, outcome: str, now: float) -> None:
        history = check.pair.history
        history.note(check.purpose, outcome, check.started_at_s, check.sent, now)

    def _rto_s(self, pair: Pair) -> float:
        if pair.rtt_s is None:
            return self._timing.rto_s
        return max(self._timing.rto_min_s, _RTO_PER_RTT * pair.rtt_s)

    def _transmissions_max(self, pair: Pair) -> int:
        match pair.effort:
            case Effort.RETRY:
                return self._timing.retry_transmissions_max
            case Effort.SPARE:
                return self._timing.spare_transmissions_max
            case Effort.FULL:
                return self._timing.transmissions_max
