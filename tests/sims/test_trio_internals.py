"""A run's tasks go in the order of its seed, and a machine's timers wait while it sleeps."""

from random import Random
from typing import Any

import pytest
import trio
from trio._core import _run

from sims.runtime.clock import VirtualClock
from sims.runtime.trio_internals import postpone_deadlines, seeded_scheduling
from wice.errors import WiceError


def _order_of_tasks(seed: int) -> list[int]:
    order: list[int] = []

    async def note(number: int) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            order.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(note, number)

    with seeded_scheduling(Random(seed)):
        trio.run(main, clock=VirtualClock())
    return order


def test_the_seed_says_the_order() -> None:
    assert _order_of_tasks(1) == _order_of_tasks(1)
    assert _order_of_tasks(1) != _order_of_tasks(2)


def test_a_trio_that_does_not_shuffle_as_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class SeededOnce(Random):
        """As if trio shuffled by a generator of its own."""

        def seed(self, a: Any = None, version: int = 2) -> None:
            if not hasattr(self, "is_seeded"):
                super().seed(a, version)
            self.is_seeded = True

    monkeypatch.setattr("sims.runtime.trio_internals.Random", SeededOnce)
    with pytest.raises(WiceError, match="does not know trio"), seeded_scheduling(Random(1)):
        pass


def test_a_trio_without_its_private_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_run, "_r")
    with pytest.raises(WiceError, match="does not know trio"), seeded_scheduling(Random(1)):
        pass


def test_postponed_deadlines_expire_when_the_sleep_ends() -> None:
    woke_at_s: dict[str, float] = {}

    async def sleeper(name: str, wait_s: float) -> None:
        await trio.sleep(wait_s)
        woke_at_s[name] = trio.current_time()

    async def main() -> float:
        started_at_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper, "asleep", 1.0, name="asleep")
            nursery.start_soon(sleeper, "asleep, later", 20.0, name="asleep, later")
            nursery.start_soon(sleeper, "awake", 2.0, name="awake")
            await trio.sleep(0.5)
            postpone_deadlines(started_at_s + 10.0, lambda task: task.name.startswith("asleep"))
        return started_at_s

    started_at_s = trio.run(main, clock=VirtualClock())
    assert {name: at_s - started_at_s for name, at_s in woke_at_s.items()} == {
        "asleep": 10.0,
        "asleep, later": 20.0,
        "awake": 2.0,
    }


def test_a_scope_belongs_to_its_oldest_task() -> None:
    """And not to one that the order of a set says, which memory addresses decide."""

    async def sleeper() -> None:
        with trio.CancelScope():
            await trio.sleep_forever()

    async def main() -> tuple[float, float]:
        oldest = trio.lowlevel.current_task()
        with trio.move_on_after(1.0) as scope:
            async with trio.open_nursery() as nursery:
                for _ in range(30):
                    nursery.start_soon(sleeper)
                with trio.CancelScope():
                    await trio.sleep(0.5)
                    before_s = scope.deadline
                    postpone_deadlines(before_s + 9.0, lambda task: task is oldest)
                    postpone_deadlines(before_s + 99.0, lambda task: task is not oldest)
                    await trio.sleep_forever()
        return before_s, trio.current_time()

    before_s, ended_at_s = trio.run(main, clock=VirtualClock())
    assert ended_at_s == before_s + 9.0
