"""A bootstrap node that delivers envelopes again, to who is there and to who is not."""

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from sims.machines.envelope_replay import DELIVERIES_MAX, EnvelopeReplay
from sims.runtime.entropy import Entropy
from wice.keys import BlindedKey

AFTER_S = 2.0
DEAD_S = 5.0

ALIVE, DEAD = BlindedKey(bytes(32)), BlindedKey(bytes([1] * 32))


class Anchor:
    """Notes when each delivery was over; those to DEAD take DEAD_S."""

    def __init__(self) -> None:
        self.ended: list[tuple[float, BlindedKey, bytes]] = []
        self.running = self.running_max = 0

    async def deliver(self, blinded_key: BlindedKey, envelope_id: bytes, _: bytes) -> None:
        self.running += 1
        self.running_max = max(self.running, self.running_max)
        await trio.sleep(DEAD_S if blinded_key == DEAD else 0)
        self.running -= 1
        self.ended.append((trio.current_time(), blinded_key, envelope_id))


def replay_at(anchor: Anchor, spread_s: float = 0.0) -> EnvelopeReplay:
    transport: Any = SimpleNamespace(node=SimpleNamespace(bootstrap=SimpleNamespace(anchor=anchor)))
    return EnvelopeReplay(transport, Entropy(1).random("replay"), AFTER_S, spread_s)


async def test_who_is_dead_keeps_no_envelope_from_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    anchor = Anchor()
    replay = replay_at(anchor)
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(replay.run)
        nursery.start_soon(anchor.deliver, DEAD, b"dead", b"")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(anchor.deliver, ALIVE, b"alive", b"")
        await trio.testing.wait_all_tasks_blocked()
        replay.stop()
    again = [each for each in anchor.ended if each[2] not in (b"dead", b"alive")]
    assert [key for _, key, _ in again] == [ALIVE, DEAD]
    assert again[0][0] - began_s == pytest.approx(AFTER_S)
    assert replay.replayed == 2


async def test_so_many_are_delivered_again_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    anchor = Anchor()
    replay = replay_at(anchor)
    count = 2 * DELIVERIES_MAX + 1
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(anchor.deliver, DEAD, b"", b"")
    replay.stop()
    anchor.running_max = 0
    await replay.run()
    assert replay.replayed == count
    assert anchor.running_max == DELIVERIES_MAX


async def test_what_came_at_once_comes_again_one_by_one_and_in_another_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    anchor = Anchor()
    replay = replay_at(anchor, spread_s=6.0)
    began_s = trio.current_time()
    keys = [BlindedKey(bytes([number] * 32)) for number in range(2, 18)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(replay.run)
        for key in keys:
            await anchor.deliver(key, b"first", b"")
        replay.stop()
    again = [each for each in anchor.ended if each[2] != b"first"]
    after_s = [at_s - began_s for at_s, _, _ in again]
    came = [key for _, key, _ in again]
    assert came != keys
    assert len(came) == len(keys) and set(came) == set(keys)
    assert after_s == sorted(set(after_s))
    assert AFTER_S <= after_s[0] < AFTER_S + 1 and AFTER_S + 5 < after_s[-1] <= AFTER_S + 6
