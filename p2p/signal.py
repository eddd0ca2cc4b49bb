"""A condition that several tasks wait for, and that none of them misses."""

import trio


class Signal:
    """Counts notifications; whoever remembers the count it has seen misses none."""

    def __init__(self) -> None:
        self.count = 0
        self._notified = trio.Event()

    def notify(self) -> None:
        self.count += 1
        self._notified.set()
        self._notified = trio.Event()

    async def wait_beyond(self, seen: int) -> int:
        """Wait until ``count`` is above ``seen``, and give it."""
        while self.count <= seen:
            await self._notified.wait()
        return self.count
