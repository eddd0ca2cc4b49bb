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


def replay_at(anchor: Anchor) -> EnvelopeReplay:
    transport: Any = SimpleNamespace(node=SimpleNamespace(bootstrap=SimpleNamespace(anchor=anchor)))
    return EnvelopeReplay(transport, Entropy(1).stream("replay"), AFTER_S)


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
