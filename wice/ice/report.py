"""What was tried on a pair, when, and with which answer: the facts behind ``wice why``."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wice.datagram import Path

ATTEMPTS_MAX: Final = 8
"""Attempts that a pair remembers; the oldest are forgotten first."""

ANSWERED: Final = "answered"
NO_ANSWER: Final = "no answer"
REPLACED: Final = "replaced by a newer check"
WITHHELD: Final = "not sent: too many checks to this address were not answered"


class Purpose(StrEnum):
    """Why a check was sent."""

    ORDINARY = "ordinary"
    TRIGGERED = "triggered"
    NOMINATION = "nomination"
    CONSENT = "consent"
    SPARE = "spare"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One check that is over. outcome: ``answered``, ``no answer``, ``error 487``, …

    took_s: from the first sending to the outcome. transmissions: sendings of it.
    """

    at_s: float
    purpose: Purpose
    outcome: str
    took_s: float
    transmissions: int


@dataclass(slots=True)
class History:
    """Counts and the last attempts of one pair. Times are the agent's clock."""

    sent: int = 0
    answers: int = 0
    checks_received: int = 0
    first_sent_at_s: float | None = None
    last_sent_at_s: float | None = None
    last_answer_at_s: float | None = None
    last_check_received_at_s: float | None = None
    attempts: tuple[Attempt, ...] = ()

    def sent_one(self, now: float) -> None:
        self.sent += 1
        self.last_sent_at_s = now
        if self.first_sent_at_s is None:
            self.first_sent_at_s = now

    def received_check(self, now: float) -> None:
        self.checks_received += 1
        self.last_check_received_at_s = now

    def answered(
        self, purpose: Purpose, started_at_s: float, transmissions: int, now: float
    ) -> None:
        self.answers += 1
        self.last_answer_at_s = now
        is_routine = purpose is Purpose.CONSENT or purpose is Purpose.SPARE
        if is_routine and self.attempts and self.attempts[-1].outcome == ANSWERED:
            return  # The counts tell of it; what is rare must not be pushed out.
        self.note(purpose, ANSWERED, started_at_s, transmissions, now)

    def note(
        self,
        purpose: Purpose,
        outcome: str,
        started_at_s: float,
        transmissions: int,
        now: float,
    ) -> None:
        attempt = Attempt(started_at_s, purpose, outcome, now - started_at_s, transmissions)
        self.attempts = (*self.attempts[1 - ATTEMPTS_MAX :], attempt)


@dataclass(frozen=True, slots=True)
class PairReport:
    """One pair, and everything that was tried on it; times are the agent's clock.

    is_relayed: one of its ends is a relay. checks_sent: requests, retransmissions included.
    checks_received: requests of the remote that came in on it. rtt_s: smoothed, None before the
    first answer. remark: why it is not the selected pair, for a person; empty where the state says
    it all.
    """

    path: Path
    local_type: str
    remote_type: str
    state: str
    priority: int
    is_selected: bool
    is_relayed: bool
    rtt_s: float | None
    checks_sent: int
    answers: int
    checks_received: int
    first_sent_at_s: float | None
    last_sent_at_s: float | None
    last_answer_at_s: float | None
    last_check_received_at_s: float | None
    attempts: tuple[Attempt, ...]
    remark: str
