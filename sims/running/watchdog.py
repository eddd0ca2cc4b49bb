"""Sees when virtual time stands still, and because of whom."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import trio

from sims.runtime.clock import VirtualClock
from sims.runtime.trio_internals import age_of, throw_into
from sims.stack.host import current_host

STANDS_STILL_S: Final = 0.001
"""Who always waits for less than this gets nowhere, too."""
PASSES_MAX: Final = 100_000
"""Passes of the scheduler in so little time; twenty daemons that start at once take 140."""
TIMERS_MAX: Final = 2_000_000
"""Calls of the clock in so little time."""
SAMPLES: Final = 100
"""Passes of which is noted who runs in them."""

NOBODY: Final = "network"

OnStandstill = Callable[[str, str], None]
"""Told which machine keeps time from going on, or ``NOBODY``, and in what."""


class StandstillError(BaseException):
    """Raised in a task that keeps time from going on, and does not let itself be cancelled."""


class Watchdog(trio.abc.Instrument):
    """An instrument of ``trio.run``, asked once in each pass of its scheduler.

    Tells of the first standstill; if that did not end it, ends the task that is in its way.
    """

    def __init__(self, clock: VirtualClock, tell: OnStandstill) -> None:
        self._clock = clock
        self._tell = tell
        self._is_told = False
        self._passes = 0
        self._since_s = clock.now_s
        self._timers_fired = clock.timers_fired
        self._steps: _Steps | None = None

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio's
        clock = self._clock
        if clock.now_s - self._since_s >= STANDS_STILL_S:
            self._start_over()
            return
        self._passes += 1
        if self._passes == PASSES_MAX - SAMPLES:
            self._steps = _Steps()
            trio.lowlevel.add_instrument(self._steps)
        if self._passes >= PASSES_MAX or clock.timers_fired - self._timers_fired >= TIMERS_MAX:
            self._see_standstill()
            self._start_over()

    def _start_over(self) -> None:
        self._passes = 0
        self._since_s = self._clock.now_s
        self._timers_fired = self._clock.timers_fired
        if self._steps is not None:
            trio.lowlevel.remove_instrument(self._steps)
            self._steps = None

    def _see_standstill(self) -> None:
        task = None if self._steps is None else self._steps.most_frequent()
        if self._is_told:
            if task is not None:
                trio.lowlevel.add_instrument(_End(task))
            return
        self._is_told = True
        if task is None:
            self._tell(NOBODY, "timers that set further ones")
            return
        host = task.context.get(current_host)
        self._tell(NOBODY if host is None else host.name, _describe(task))


class _Steps(trio.abc.Instrument):
    """Counts the steps of each task."""

    def __init__(self) -> None:
        self._counts: Counter[trio.lowlevel.Task] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._counts[task] += 1

    def most_frequent(self) -> trio.lowlevel.Task | None:
        """Of those that step most often the oldest: that is the same in every run."""
        counts = self._counts
        return min(counts, key=lambda task: (-counts[task], age_of(task)), default=None)


class _End(trio.abc.Instrument):
    """Ends a task at its next step."""

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self._task = task

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            throw_into(task, StandstillError())
            trio.lowlevel.remove_instrument(self)


def _describe(task: trio.lowlevel.Task) -> str:
    """Its name, and where it waits in code that is not trio's."""
    places = list(_places(task))
    return f"task {task.name.rpartition('.')[2]}" + (f" at {places[-1]}" if places else "")


def _places(task: trio.lowlevel.Task) -> Iterator[str]:
    library = Path(trio.__file__).parent
    for frame, line in task.iter_await_frames():
        path = Path(frame.f_code.co_filename)
        if library not in path.parents:
            yield f"{path.name}:{line}, {frame.f_code.co_name}"
