"""The pace of checking: from new remote credentials, or a lost path, to a selected pair."""

from wice.ice.timing import Timing


class Run:
    """When the next checks may go out, and when failed pairs are tried again.

    A triggered check waits for no ordinary one: it takes the next slot from them, so that both
    together are one every Ta. is_started: its first check went out. is_exhausted: every pair
    failed, and it was said. patient_until: no verdict before then (RFC 8863); is_failed: it was
    said after. direct_until: a relayed pair that works leaves direct ones this time to work too.
    """

    def __init__(self, timing: Timing, now: float) -> None:
        self._timing = timing
        self.next_ordinary_at = self.next_triggered_at = now
        self.restart(now)

    def restart(self, now: float) -> None:
        self.next_ordinary_at = max(self.next_ordinary_at, now)
        self.is_started = False
        self.is_exhausted = False
        self.is_failed = False
        self.patient_until = now + self._timing.patience_s
        self.direct_until: float | None = None
        self._is_direct_over = False
        self._kinds_begun: set[tuple[str, bool]] = set()
        self.retry_at: float | None = None
        self._retry_s = self._timing.retry_s

    def may_send_ordinary(self, kind: tuple[str, bool], now: float) -> bool:
        """Whether the next check, of a pair of ``kind``, may go out: the first of its kind at once,
        the others one every Ta.
        """
        is_first = kind not in self._kinds_begun and not self._timing.is_by_the_rfc
        return is_first or now >= self.next_ordinary_at

    def sent_ordinary(self, kind: tuple[str, bool], now: float) -> None:
        self._kinds_begun.add(kind)
        self.next_ordinary_at = max(self.next_ordinary_at, now + self._timing.pace_s)

    def sent_triggered(self, kind: tuple[str, bool], now: float) -> None:
        self._kinds_begun.add(kind)
        self.next_triggered_at = now + self._timing.pace_s
        self.next_ordinary_at = max(self.next_ordinary_at, now) + self._timing.pace_s

    def deadline(self) -> float | None:
        """When a retry or a verdict is due, while there is no path."""
        verdict_at = self.patient_until if self.is_exhausted and not self.is_failed else None
        deadlines = (self.retry_at, verdict_at, self.direct_until)
        return min((at for at in deadlines if at is not None), default=None)

    def leaves_direct_time(self, patience_s: float, now: float) -> bool:
        """Whether a relayed pair still waits; the first question starts ``patience_s``."""
        if self.direct_until is None and not self._is_direct_over:
            self.direct_until = now + patience_s
        return not self._is_direct_over

    def pass_time(self, now: float) -> None:
        if self.direct_until is not None and now >= self.direct_until:
            self.direct_until, self._is_direct_over = None, True

    def is_retry_due(self, now: float) -> bool:
        """Ask when every pair has failed: starts the wait, and says when it is over."""
        if self.retry_at is None:
            self.retry_at = now + self._retry_s
            self._retry_s = min(2 * self._retry_s, self._timing.retry_max_s)
            return False
        if now < self.retry_at:
            return False
        self.retry_at = None
        return True
