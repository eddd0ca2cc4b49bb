"""Consent to keep sending along the selected pair (RFC 7675)."""

from collections.abc import Callable
from typing import Final

from wice.ice.timing import Timing

DOUBTED_AFTER: Final = 3
"""Consent checks in a row without an answer, after which other pairs may take over."""


class Consent:
    """When to ask again on one pair, and when the last answer is no longer good.

    A NAT's mapping lives on these checks too. Each is a transaction of its own; any answer
    counts, to an earlier one as well. While one is unanswered the next follows soon: six checks
    in 30 s, all that RFC 7675 sends, are lost together every few minutes where a fifth of the
    datagrams is lost.
    """

    def __init__(self, timing: Timing, random_bytes: Callable[[int], bytes], now: float) -> None:
        self._timing = timing
        self._random_bytes = random_bytes
        self._due_at = self._next_at = self._random_time(now)
        self.answered_at = now
        self.expires_at = now + timing.consent_expiry_s
        self._unanswered = 0

    @property
    def is_doubted(self) -> bool:
        """Several checks went out since the last answer: the path may be gone."""
        return self._unanswered > DOUBTED_AFTER

    def is_due(self, now: float) -> bool:
        return now >= self._next_at

    def asked(self, now: float, rtt_s: float) -> None:
        """A check goes out on a path of ``rtt_s``."""
        self._unanswered += 1
        self._due_at = self._random_time(now)
        retry_at = now + max(self._timing.consent_retry_s, 2 * rtt_s)
        self._next_at = min(retry_at, self._due_at)

    def doubt(self, now: float) -> None:
        """Something else says that the path may be gone: ask now, and let others take over."""
        self._unanswered = DOUBTED_AFTER + 1
        self._next_at = now

    def ask_now(self, now: float) -> None:
        """The path may have become another one: do not wait for the usual time."""
        self._next_at = now

    def answered(self, now: float) -> None:
        self._unanswered = 0
        self.answered_at = now
        self.expires_at = now + self._timing.consent_expiry_s
        self._next_at = self._due_at

    def deadline(self) -> float:
        return min(self._next_at, self.expires_at)

    def _random_time(self, now: float) -> float:
        """80 to 120 per cent of the mean from now."""
        fraction = int.from_bytes(self._random_bytes(2), "big") / 0xFFFF
        return now + self._timing.consent_s * (0.8 + 0.4 * fraction)
