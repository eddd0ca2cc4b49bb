"""A bootstrap node that cheats: it keeps the envelopes it delivers, and delivers them again.

It is what any anchor of the overlay could do. To the overlay a repeated envelope is a new one,
with an id of its own; that it is old, only its recipient can find out.
"""

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import trio

from p2p.backend import OverlayTransport
from p2p.inboxes import ENVELOPE_ID_SIZE_BYTES
from wice.errors import SignalingUnavailableError
from wice.keys import BlindedKey

if TYPE_CHECKING:
    from p2p.anchors import Status

KEPT_MAX = 256
"""Envelopes that wait to be delivered again."""
DELIVERIES_MAX = 64
"""Envelopes that are being delivered again: who is not there keeps an anchor for seconds."""


class EnvelopeReplay:
    """Turns one anchor for the worse until ``stop``; ``run`` delivers again what it kept."""

    def __init__(
        self, transport: OverlayTransport, random: Random, after_s: float, spread_s: float = 0.0
    ) -> None:
        """Each is delivered again ``after_s`` later, and up to ``spread_s`` more.

        Raise ValueError where the transport is no anchor, or is not up.
        """
        node = transport.node
        if node is None or node.bootstrap is None:
            raise ValueError("only a bootstrap node that is up holds envelopes")
        self.replayed = 0
        self._anchor = node.bootstrap.anchor
        self._random = random
        self._after_s = after_s
        self._spread_s = spread_s
        self._kept, self._due = trio.open_memory_channel[tuple[float, BlindedKey, bytes]](KEPT_MAX)
        # Its own way of delivering, which does what the class says and remembers.
        self._anchor.deliver = self._deliver  # type: ignore[method-assign]

    async def run(self) -> None:
        """Deliver what was kept, each when it is due; ends some time after ``stop``."""
        waiting, room = trio.Semaphore(KEPT_MAX), trio.Semaphore(DELIVERIES_MAX)
        async with trio.open_nursery() as nursery:
            async for due_s, key, envelope in self._due:
                await waiting.acquire()
                nursery.start_soon(self._deliver_again, due_s, key, envelope, waiting, room)

    def stop(self) -> None:
        """Be honest again."""
        del self._anchor.deliver
        self._kept.close()

    async def _deliver_again(
        self,
        due_s: float,
        blinded_key: BlindedKey,
        envelope: bytes,
        waiting: trio.Semaphore,
        room: trio.Semaphore,
    ) -> None:
        await trio.sleep_until(due_s)
        async with room:
            waiting.release()
            envelope_id = self._random.randbytes(ENVELOPE_ID_SIZE_BYTES)
            try:
                await type(self._anchor).deliver(self._anchor, blinded_key, envelope_id, envelope)
            except SignalingUnavailableError:
                return
            self.replayed += 1

    async def _deliver(
        self, blinded_key: BlindedKey, envelope_id: bytes, envelope: bytes
    ) -> "Status":
        with suppress(trio.WouldBlock):
            after_s = self._after_s + self._random.uniform(0.0, self._spread_s)
            self._kept.send_nowait((trio.current_time() + after_s, blinded_key, envelope))
        return await type(self._anchor).deliver(self._anchor, blinded_key, envelope_id, envelope)
