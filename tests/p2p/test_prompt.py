"""A limit in time that is set only once there is something to wait for."""

import pytest
import trio
import trio.testing

from p2p.prompt import finish_within

LIMIT_S = 5.0


async def at_once(value: str) -> str:
    return value


async def after(wait: trio.Event, value: str) -> str:
    await wait.wait()
    await wait.wait()
    return value


async def test_what_is_there_is_had_without_a_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio, "fail_after", None)
    assert await finish_within(LIMIT_S, at_once("here"), is_shielded=True) == "here"


async def test_what_is_waited_for_comes(autojump_clock: trio.testing.MockClock) -> None:
    come = trio.Event()

    async def later() -> None:
        await trio.sleep(LIMIT_S - 1)
        come.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later)
        assert await finish_within(LIMIT_S, after(come, "late")) == "late"


async def test_what_takes_longer_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    began_s = trio.current_time()
    with pytest.raises(trio.TooSlowError):
        await finish_within(LIMIT_S, after(trio.Event(), "never"))
    assert trio.current_time() - began_s == pytest.approx(LIMIT_S)


async def test_errors_are_those_of_what_is_awaited() -> None:
    async def fails(*, is_slow: bool) -> None:
        if is_slow:
            await trio.lowlevel.checkpoint()
        raise ValueError("broken")

    for is_slow in (False, True):
        with pytest.raises(ValueError, match="broken"):
            await finish_within(LIMIT_S, fails(is_slow=is_slow))


async def test_only_what_is_not_shielded_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    done: list[str] = []
    written = trio.Event()

    async def write(name: str) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        await written.wait()
        done.append(name)

    async def let_write() -> None:
        await trio.sleep(LIMIT_S - 1)
        written.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(let_write)
        for is_shielded in (False, True):
            for wait_s in (-1.0, 0.5):
                name = f"shielded: {is_shielded}, cancelled after {wait_s} s"
                with trio.CancelScope() as scope:
                    scope.deadline = trio.current_time() + wait_s
                    await finish_within(LIMIT_S, write(name), is_shielded=is_shielded)
    assert done == [
        "shielded: True, cancelled after -1.0 s",
        "shielded: True, cancelled after 0.5 s",
    ]
