"""The private parts of trio that a run needs, all of them; each is looked at before it is used.

trio shuffles the tasks that can run, on purpose and unseeded. A run has to shuffle them from its
seed. And a machine that sleeps has timers that are not due before it wakes: trio has no word for
that, but every timer is the deadline of a cancel scope.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Final

import trio
import trio.testing
from trio._core import _run

from wice.errors import WiceError

_PROBE_TASKS: Final = 12


@contextmanager
def seeded_scheduling(random: Random) -> Iterator[None]:
    """Shuffle from ``random`` the tasks that can run, in every trio run within the context.

    Raise WiceError when this trio does not let itself be seeded.
    """
    with _scheduling_from(Random(0)):
        _check()
    with _scheduling_from(random):
        yield


def postpone_deadlines(until_s: float, is_concerned: Callable[[trio.lowlevel.Task], bool]) -> None:
    """Have no cancel scope expire before ``until_s`` around a task that ``is_concerned``."""
    deadlines = _run.GLOBAL_RUN_CONTEXT.runner.deadlines
    scopes = [scope for _, _, scope in deadlines._heap if scope.deadline < until_s]
    for scope in scopes:
        status = scope._cancel_status
        if status is None or scope._registered_deadline == math.inf:
            continue
        # The oldest says whose it is: a scope of a machine spans no other.
        oldest = min(_tasks_within(status), key=lambda task: task._counter, default=None)
        if oldest is not None and is_concerned(oldest):
            scope.deadline = until_s


def throw_into(task: trio.lowlevel.Task, error: BaseException) -> None:
    """Have ``error`` raised where a task waits that is about to step."""
    task._next_send_fn, task._next_send = task.coro.throw, error


def is_interrupted() -> bool:
    """Whether Ctrl-C waits for the tasks that are about to run."""
    return _run.GLOBAL_RUN_CONTEXT.runner.ki_pending


def age_of(task: trio.lowlevel.Task) -> int:
    """How many tasks there were before it."""
    return task._counter


def _tasks_within(status: Any) -> Iterator[trio.lowlevel.Task]:
    """All below a cancel status, in no order."""
    yield from status._tasks
    for inner in status._children:
        yield from _tasks_within(inner)


@contextmanager
def _scheduling_from(random: Random) -> Iterator[None]:
    module: Any = _run
    try:
        before = module._ALLOW_DETERMINISTIC_SCHEDULING, module._r
    except AttributeError as error:
        raise _unknown_trio(str(error)) from None
    module._ALLOW_DETERMINISTIC_SCHEDULING, module._r = True, random
    try:
        yield
    finally:
        module._ALLOW_DETERMINISTIC_SCHEDULING, module._r = before


def _check() -> None:
    """See that the order of tasks is what the seed says, and that deadlines can be postponed."""
    expected = list(range(_PROBE_TASKS))
    # What trio does: sort a batch by age, shuffle it, and take from its end.
    shuffler = Random(1)
    shuffler.shuffle(expected)
    expected.reverse()
    order: list[int] = []

    async def note(number: int, start: trio.Event) -> None:
        await start.wait()
        order.append(number)

    async def main() -> bool:
        start = trio.Event()
        async with trio.open_nursery() as nursery:
            for number in range(_PROBE_TASKS):
                nursery.start_soon(note, number, start)
            await trio.testing.wait_all_tasks_blocked()
            module: Any = _run
            module._r.seed(1)
            start.set()
        here = trio.lowlevel.current_task()
        with trio.move_on_after(1) as scope:
            await trio.lowlevel.checkpoint()
            postpone_deadlines(math.inf, lambda task: task is here)
        return scope.deadline == math.inf

    try:
        is_postponed = trio.run(main)
    except (AttributeError, TypeError, ValueError) as error:
        raise _unknown_trio(str(error)) from None
    if order != expected:
        raise _unknown_trio("tasks do not run in the order of the seed")
    if not is_postponed:
        raise _unknown_trio("deadlines cannot be postponed")


def _unknown_trio(why: str) -> WiceError:
    return WiceError(
        f"the simulator does not know trio {trio.__version__}: {why}; install the version that "
        "requirements.lock names"
    )
