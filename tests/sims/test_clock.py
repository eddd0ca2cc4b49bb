"""Virtual time jumps to what is due, timers and deadlines in one order."""

import time
from functools import partial

import trio

from sims.runtime.clock import VirtualClock


def test_a_day_passes_at_once() -> None:
    async def main() -> float:
        before_s = trio.current_time()
        await trio.sleep(86_400)
        return trio.current_time() - before_s

    began_s = time.monotonic()
    assert trio.run(main, clock=VirtualClock()) == 86_400
    assert time.monotonic() - began_s < 86_400


def test_timers_and_deadlines_share_one_order() -> None:
    clock = VirtualClock()
    log: list[tuple[float, str]] = []

    def note(what: str) -> None:
        log.append((clock.now_s - started_at_s, what))

    async def main() -> None:
        clock.call_later(2.0, lambda: note("timer at 2"))
        clock.call_later(4.0, lambda: note("timer at 4"))
        clock.call_later(1.0, lambda: clock.call_later(0.5, lambda: note("timer from a timer")))
        clock.call_later(3.0, lambda: note("cancelled")).cancel()
        await trio.sleep(3.0)
        note("task at 3")
        await trio.sleep(3.0)
        note("task at 6")

    started_at_s = clock.now_s
    trio.run(main, clock=clock)
    assert log == [
        (1.5, "timer from a timer"),
        (2.0, "timer at 2"),
        (3.0, "task at 3"),
        (4.0, "timer at 4"),
        (6.0, "task at 6"),
    ]


def test_timers_of_one_instant_run_in_the_order_they_were_made_and_wake_one_batch() -> None:
    clock = VirtualClock()
    log: list[str] = []

    async def wait(event: trio.Event, name: str) -> None:
        await event.wait()
        log.append(name)

    async def main() -> None:
        events = [trio.Event() for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for number, event in enumerate(events):
                nursery.start_soon(wait, event, f"task {number}")
                clock.call_later(1.0, partial(log.append, f"timer {number}"))
                clock.call_later(1.0, event.set)

    trio.run(main, clock=clock)
    assert log[:3] == ["timer 0", "timer 1", "timer 2"]
    assert sorted(log[3:]) == ["task 0", "task 1", "task 2"]


def test_a_timer_never_turns_time_back() -> None:
    clock = VirtualClock()
    seen: list[float] = []

    async def main() -> None:
        await trio.sleep(5)
        clock.call_at(clock.now_s - 3, lambda: seen.append(clock.now_s))
        await trio.sleep(1)

    started_at_s = clock.now_s
    trio.run(main, clock=clock)
    assert seen == [started_at_s + 5]
