"""Virtual time: it stands still while anything can run, then jumps to what is due next."""

import heapq
import math
from collections.abc import Callable
from typing import Final

import trio

STARTS_AT_S: Final = 1_000.0
"""The monotonic clock of a run when it starts; like a real one, it is not zero."""

TIMERS_AT_ONCE_MAX: Final = 100_000
"""Calls of one instant until somebody looks whether there is an end to them."""

TICKS_S: Final = 1_000
"""In a second: packets arrive at ticks only, so that what all of one tick wake is one batch."""

_TICK_SLACK: Final = 1e-4
"""How much of a tick too late is rounding of floats: what is that late is not put off by one."""

IDLE_S: Final = 0.05
"""Real seconds to wait for a signal when nothing is due ever."""


def tick_at(at_s: float) -> int:
    """The number of the first tick at or after ``at_s``; its time is ``number / TICKS_S``."""
    return math.ceil(at_s * TICKS_S - _TICK_SLACK)


class Timer:
    """A call that is due at ``at_s``, until cancelled."""

    __slots__ = ("_callback", "at_s")

    def __init__(self, at_s: float, callback: Callable[[], object]) -> None:
        self.at_s = at_s
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Do not call; harmless afterwards."""
        self._callback = None

    @property
    def is_pending(self) -> bool:
        return self._callback is not None

    def fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class VirtualClock(trio.abc.Clock):
    """trio's clock for one run: ``trio.run(…, clock=clock)``.

    What the network has under way are ``Timer``s here and not tasks, which would cost more than
    ten times as much: those due before the next of trio's deadlines run when no task can, in the
    order of time, and of ``call_at`` where times are equal.
    """

    def __init__(self) -> None:
        self.now_s = STARTS_AT_S
        self.timers_fired = 0
        self._timers: list[tuple[float, int, Timer]] = []
        """A heap by time, then by number: tuples compare faster than objects do."""
        self._sequence = 0

    def call_at(self, at_s: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback``, which may not raise, at ``at_s``, at once if that is past."""
        self._sequence += 1
        timer = Timer(max(at_s, self.now_s), callback)
        heapq.heappush(self._timers, (timer.at_s, self._sequence, timer))
        return timer

    def call_later(self, wait_s: float, callback: Callable[[], object]) -> Timer:
        return self.call_at(self.now_s + wait_s, callback)

    # What trio asks of a clock

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self.now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Asked only when no task can run: go on to what is due, and let nobody sleep."""
        timers = self._timers
        while timers and not timers[0][2].is_pending:
            heapq.heappop(timers)
        if not timers or timers[0][0] > deadline:
            if deadline == math.inf:
                return IDLE_S
            self.now_s = max(self.now_s, deadline)
            return 0
        due_s = timers[0][0]
        self.now_s = max(self.now_s, due_s)
        # All of one instant, so that the tasks they wake are one batch; unless they never end.
        for _ in range(TIMERS_AT_ONCE_MAX):
            if not timers or timers[0][0] > due_s:
                break
            _, _, timer = heapq.heappop(timers)
            if timer.is_pending:
                self.timers_fired += 1
                timer.fire()
        return 0
