"""A bootstrap node that is slow: each envelope waits for a while of its own, and some overtake."""

from random import Random
from typing import TYPE_CHECKING

import trio

from p2p.backend import OverlayTransport
from wice.keys import BlindedKey

if TYPE_CHECKING:
    from p2p.anchors import Status


class EnvelopeDelay:
    """Turns one anchor slow until ``stop``; senders wait for the answer as they would."""

    def __init__(self, transport: OverlayTransport, random: Random, up_to_s: float) -> None:
        """Raise ValueError where the transport is no anchor, or is not up."""
        node = transport.node
        if node is None or node.bootstrap is None:
            raise ValueError("only a bootstrap node that is up is handed envelopes")
        self._anchor = node.bootstrap.anchor
        self._random = random
        self._up_to_s = up_to_s
        # Its own way of delivering, which does what the class says, later.
        self._anchor.deliver = self._deliver  # type: ignore[method-assign]

    def stop(self) -> None:
        """Be as fast as before; what waits goes on waiting."""
        del self._anchor.deliver

    async def _deliver(
        self, blinded_key: BlindedKey, envelope_id: bytes, envelope: bytes
    ) -> "Status":
        await trio.sleep(self._random.uniform(0.0, self._up_to_s))
        return await type(self._anchor).deliver(self._anchor, blinded_key, envelope_id, envelope)
