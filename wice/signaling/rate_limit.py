"""A token bucket over the caller's clock."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """``burst`` at once, then one each ``interval_s``."""

    burst: int
    interval_s: float


class RateLimit:
    """Takes what a ``Rate`` allows."""

    def __init__(self, rate: Rate) -> None:
        self._interval_s = rate.interval_s
        self._slack_s = (rate.burst - 1) * rate.interval_s
        self._full_at = -math.inf

    def ready_at(self) -> float:
        """From when on ``take`` succeeds."""
        return self._full_at - self._slack_s

    def take(self, now: float) -> bool:
        """Take one if there is one."""
        if now < self.ready_at():
            return False
        self._full_at = max(self._full_at, now) + self._interval_s
        return True
