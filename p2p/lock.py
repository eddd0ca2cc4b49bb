"""A lock that costs nothing where nobody holds it."""

from types import TracebackType

import trio


class PromptLock:
    """Like ``trio.Lock``, but a free one is taken without letting every other task run first.

    Held for a few statements a hundred times a message, that is most of what locks cost. Who waits
    is served in turn. What is done while it is held must let others run, or be short.
    """

    __slots__ = ("_is_held", "_waiting")

    def __init__(self) -> None:
        self._is_held = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def acquire(self) -> None:
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
