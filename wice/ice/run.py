"""The pace of checking: from new remote credentials, or a lost path, to a selected pair."""

from wice.ice.timing import Timing


class Run:
    """When the next ordinary check may go out, and when failed pairs are tried again.

    is_started: its first check went out. is_exhausted: every pair failed, and it was said.
    """

    def __init__(self, timing: Timing, now: float) -> None:
        self._timing = timing
        self.next_ordinary_at = now
        self.restart(now)

    def restart(self, now: float) -> None:
        self.next_ordinary_at = max(self.next_ordinary_at, now)
        self.is_started = False
        self.is_exhausted = False
        self.retry_at: float | None = None
        self._retry_s = self._timing.retry_s

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
