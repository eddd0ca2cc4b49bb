"""Letting other tasks run from loops that never have to wait."""

from typing import Final

import trio

PROMPT_STEPS_MAX: Final = 64
"""Steps that end at once until other tasks get their turn: a millisecond of frames."""


class Turns:
    """Counts the steps of a loop that a remote can keep busy; after so many, others run."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = PROMPT_STEPS_MAX

    async def step(self) -> None:
        """To be called before anything is taken: this may be where the task is cancelled."""
        self._left -= 1
        if self._left <= 0:
            self._left = PROMPT_STEPS_MAX
            await trio.lowlevel.checkpoint()
