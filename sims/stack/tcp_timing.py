"""When a TCP sender gives a segment up for lost, and how much it sends at once."""

import math
from collections.abc import Callable
from typing import Final, Protocol

from sims.runtime.clock import TICKS_S, Timer, tick_at

RTO_INITIAL_S: Final = 1.0
"""RFC 6298 section 2.1."""
RTO_VARIANCE_MIN_S: Final = 0.2
"""Linux's TCP_RTO_MIN, which it adds to the smoothed round trip; covers a delayed ACK."""
RTO_MAX_S: Final = 120.0
"""Linux's TCP_RTO_MAX."""

INITIAL_WINDOW_SEGMENTS: Final = 10
"""RFC 6928."""
DUPLICATE_ACKS: Final = 3
"""RFC 5681 section 3.2."""


class TimerHost(Protocol):
    """What timers ask of their host."""

    @property
    def now_s(self) -> float: ...

    def call_at(self, at_s: float, callback: Callable[[], None]) -> Timer: ...

    def call_when_awake(self, callback: Callable[[], None]) -> bool:
        """False when the host is awake; else ``callback`` will be called when it is again."""
        ...


def next_tick_s(at_s: float) -> float:
    """The instant at or after ``at_s`` at which packets arrive, too, so that both are one batch."""
    return tick_at(at_s) / TICKS_S


class LazyTimer:
    """One deadline that moves a lot: put off, it costs nothing until the former one comes."""

    def __init__(self, host: TimerHost, callback: Callable[[], None]) -> None:
        self._host = host
        self._callback = callback
        self._due_s = math.inf
        self._timer: Timer | None = None

    @property
    def is_pending(self) -> bool:
        return self._due_s != math.inf

    def expect_within(self, wait_s: float) -> None:
        """Call the callback then, and not at the time that was set before."""
        due_s = next_tick_s(self._host.now_s + wait_s)
        self._due_s = due_s
        if self._timer is not None:
            if self._timer.at_s <= due_s:
                return
            self._timer.cancel()
        self._timer = self._host.call_at(due_s, self._fire)

    def stop(self) -> None:
        self._due_s = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        if self._due_s == math.inf or self._host.call_when_awake(self._fire):
            return
        if self._host.now_s < self._due_s:
            self._timer = self._host.call_at(self._due_s, self._fire)
            return
        self._due_s = math.inf
        self._callback()


class RetransmissionTimeout:
    """RFC 6298, with Linux's bounds."""

    def __init__(self) -> None:
        self._base_s = RTO_INITIAL_S
        self._smoothed_s: float | None = None
        self._variance_s = 0.0
        self._doublings = 0

    def sample(self, round_trip_s: float) -> None:
        """A round trip of a segment that was sent once only (Karn's algorithm)."""
        if self._smoothed_s is None:
            self._smoothed_s = round_trip_s
            self._variance_s = round_trip_s / 2
        else:
            self._variance_s += (abs(self._smoothed_s - round_trip_s) - self._variance_s) / 4
            self._smoothed_s += (round_trip_s - self._smoothed_s) / 8
        self._base_s = self._smoothed_s + max(4 * self._variance_s, RTO_VARIANCE_MIN_S)

    def back_off(self) -> None:
        self._doublings += 1

    def progress(self) -> None:
        """Something new was acknowledged."""
        self._doublings = 0

    @property
    def wait_s(self) -> float:
        return min(self._base_s * 2.0**self._doublings, RTO_MAX_S)


class CongestionWindow:
    """NewReno (RFC 5681, RFC 6582); sequences are those of the connection."""

    def __init__(self, mss_bytes: int) -> None:
        self.mss_bytes = mss_bytes
        self.size_bytes = INITIAL_WINDOW_SEGMENTS * mss_bytes
        self._threshold_bytes = 1 << 30
        self._recover: int | None = None
        """While in recovery: it ends when all that was sent when it began is acknowledged."""
        self._duplicates = 0

    def take_progress(self, acknowledgement: int, acknowledged_bytes: int) -> bool:
        """Whether the next segment is known to be lost too."""
        self._duplicates = 0
        if self._recover is None:
            if self.size_bytes < self._threshold_bytes:
                self.size_bytes += acknowledged_bytes
            else:
                self.size_bytes += max(1, self.mss_bytes * acknowledged_bytes // self.size_bytes)
            return False
        if acknowledgement >= self._recover:
            self._recover = None
            self.size_bytes = self._threshold_bytes
            return False
        remaining_bytes = self.size_bytes - acknowledged_bytes + self.mss_bytes
        self.size_bytes = max(remaining_bytes, self.mss_bytes)
        return True

    def take_duplicate(self, flight_bytes: int, sent: int) -> bool:
        """Whether the first unacknowledged segment is to be sent again."""
        self._duplicates += 1
        if self._recover is not None:
            self.size_bytes += self.mss_bytes
            return False
        if self._duplicates < DUPLICATE_ACKS:
            return False
        self._recover = sent
        self._threshold_bytes = max(flight_bytes // 2, 2 * self.mss_bytes)
        self.size_bytes = self._threshold_bytes + DUPLICATE_ACKS * self.mss_bytes
        return True

    def take_timeout(self, flight_bytes: int) -> None:
        self._threshold_bytes = max(flight_bytes // 2, 2 * self.mss_bytes)
        self.size_bytes = self.mss_bytes
        self._recover = None
        self._duplicates = 0
