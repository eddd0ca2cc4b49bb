"""Virtual time that stands still is seen, and so is who holds it."""

from collections.abc import Awaitable, Callable

import pytest
import trio

import sims.machines.machine
from sims.running import watchdog
from sims.running.run import run
from sims.running.watchdog import NOBODY, StandstillError, Watchdog
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import Entropy
from sims.stack.host import Host, current_host
from tests.sims.results import a_scenario


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PASSES_MAX", 1_000)
    monkeypatch.setattr(watchdog, "TIMERS_MAX", 200_000)


class Guarded:
    """A run of trio with a watchdog, which ends it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.told: list[tuple[str, str]] = []
        self.scope = trio.CancelScope()

    def tell(self, machine: str, where: str) -> None:
        self.told.append((machine, where))
        self.scope.cancel()

    def run(self, *tasks) -> None:  # type: ignore[no-untyped-def]
        async def main() -> None:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    for task in tasks:
                        nursery.start_soon(task)

        trio.run(main, clock=self.clock, instruments=[Watchdog(self.clock, self.tell)])


def on(guarded: Guarded, name: str) -> None:
    current_host.set(Host(name, guarded.clock, Entropy(1).random("host", name), {}))


async def spin() -> None:
    while True:
        await trio.lowlevel.checkpoint()


def test_a_task_that_always_runs_is_named_with_its_machine_and_its_place() -> None:
    guarded = Guarded()

    async def nas() -> None:
        on(guarded, "nas")
        await spin()

    async def laptop() -> None:
        on(guarded, "laptop")
        await trio.sleep(3)

    guarded.run(laptop, nas)
    ((machine, where),) = guarded.told
    assert machine == "nas"
    assert where.startswith("task nas at test_watchdog.py:")
    assert where.endswith(", spin")


def test_steps_too_small_to_get_anywhere_are_a_standstill() -> None:
    guarded = Guarded()

    async def nas() -> None:
        on(guarded, "nas")
        await creep()

    guarded.run(nas)
    assert [machine for machine, _ in guarded.told] == ["nas"]


def test_timers_that_set_timers_for_now_are_a_standstill() -> None:
    guarded = Guarded()

    def again() -> None:
        guarded.clock.call_later(0, again)

    again()
    guarded.run(trio.sleep_forever)
    assert guarded.told == [(NOBODY, "timers that set further ones")]


def test_work_that_goes_on_is_none() -> None:
    guarded = Guarded()

    async def busy() -> None:
        for _ in range(50):
            for _ in range(900):
                await trio.lowlevel.checkpoint()
            await trio.sleep(0.002)

    guarded.run(busy)
    assert guarded.told == []


async def creep() -> None:
    while True:  # noqa: ASYNC110
        await trio.sleep(1e-9)


@pytest.mark.parametrize("hold", [spin, creep])
def test_what_cannot_be_cancelled_is_ended(hold: Callable[[], Awaitable[None]]) -> None:
    guarded = Guarded()

    async def deaf() -> None:
        with trio.CancelScope(shield=True):
            await hold()

    with pytest.raises(BaseExceptionGroup) as caught:
        guarded.run(deaf)
    assert caught.group_contains(StandstillError)
    assert len(guarded.told) == 1


@pytest.mark.parametrize("shield", [False, True])
def test_a_run_ends_and_its_result_names_the_machine(
    monkeypatch: pytest.MonkeyPatch, shield: bool
) -> None:
    async def spinning_daemon(*_: object, task_status: trio.TaskStatus[None]) -> None:
        host = current_host.get()
        task_status.started()
        await trio.sleep(7 if host.name == "pc-2" else 99)
        with trio.CancelScope(shield=shield):
            await spin()

    monkeypatch.setattr(sims.machines.machine, "run_up", spinning_daemon)
    result = run(a_scenario(), 1)
    assert (result.is_ok, result.is_complete) == (False, False)
    assert result.failure.startswith("virtual time stands still at 7.0")
    (violation,) = [one for one in result.violations if one.check == "standstill"]
    assert violation.subject == "pc-2"
    assert violation.at_s == pytest.approx(7, abs=0.1)
    assert "task spinning_daemon at test_watchdog.py:" in violation.detail
