"""Waiting by the wall clock, for what lasts by the wall clock.

trio's clock stands still while the host sleeps, and knows nothing of a wall clock that is set.
"""

import trio

from p2p.signal import Signal
from wice.platform import Platform

STEP_S = 30.0
"""The longest wait between two looks at the wall clock."""
JUMP_S = 10.0
"""By that much the two clocks may drift apart between two looks."""


async def wait_due(platform: Platform, wait_s: float, signal: Signal, seen: int) -> None:
    """Wait until ``signal`` goes beyond ``seen``, or ``wait_s`` have passed on either clock."""
    due, due_wall = trio.current_time() + wait_s, platform.wall_time() + wait_s
    while signal.count <= seen:
        left_s = min(due - trio.current_time(), due_wall - platform.wall_time())
        if left_s <= 0:
            return
        with trio.move_on_after(min(left_s, STEP_S)):
            await signal.wait_beyond(seen)


async def wait_jump(platform: Platform) -> None:
    """Return soon after the host slept or its wall clock was set."""
    offset_s = platform.wall_time() - trio.current_time()
    while True:
        await trio.sleep(STEP_S)
        now_s = platform.wall_time() - trio.current_time()
        if abs(now_s - offset_s) > JUMP_S:
            return
        offset_s = now_s  # a clock that is steered goes a little wrong, all the time
