"""A lock that costs nothing where nobody holds it."""

from types import TracebackType

import trio

from p2p.turns import Turns


class PromptLock:
    """Like ``trio.Lock``, but a free one is taken without letting every other task run first.

    Held for a few statements a hundred times a message, that is most of what locks cost. Who waits
    is served in turn. Others run once in ``PROMPT_STEPS_MAX`` times: a loop may have no other
    place where it lets them, such as one that reads a full buffer byte by byte.
    """

    __slots__ = ("_is_held", "_turns", "_waiting")

    def __init__(self) -> None:
        self._is_held = False
        self._turns = Turns()
        self._waiting = trio.lowlevel.ParkingLot()

    async def acquire(self) -> None:
        await self._turns.step()
        if self._is_held:
            await self._waiting.park()  # it is handed over, and stays held
        else:
            self._is_held = True

    def release(self) -> None:
        if self._waiting:
            self._waiting.unpark()
        else:
            self._is_held = False

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
