"""The lines of a scenario at work on Ethernet frames: frames and the time in, frames out. No I/O.

What a line does is the simulator's own (``sims.internet.line``), so both engines have the same
lines and differ in everything behind them.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final

from sims.internet.drops import Drop
from sims.internet.line import Line
from sims.internet.packet import Packet, Protocol
from sims.lab.switch import FRAME_SIZE_MIN_BYTES, is_of_the_wire
from sims.model.link import LineModel, LinkModel
from wice.datagram import Endpoint

QUEUED_FRAMES_MAX: Final = 16_384
"""On all wires together; what comes then is lost."""

_KIND: Final = slice(12, 14)
_IPV4: Final = b"\x08\x00"
_IPV6: Final = b"\x86\xdd"
_NOBODY: Final = {4: Endpoint("0.0.0.0", 0), 6: Endpoint("::", 0)}
_HEADERS_SIZE_BYTES: Final = {_IPV4: FRAME_SIZE_MIN_BYTES + 28, _IPV6: FRAME_SIZE_MIN_BYTES + 48}
"""Of Ethernet, IP and UDP: nothing in them is ever corrupted."""


class Wires:
    """Wire ``n`` has the ends ``2n``, at whose line it is, and ``2n + 1``, nearer to the internet.

    What comes in at one end goes out at the other.
    """

    def __init__(self, lines: Sequence[LineModel], randoms: Callable[[int], Random]) -> None:
        """randoms: gives the generator of an end."""
        self.counts: Counter[str] = Counter()
        """IP packets: ``carried``, and the reasons of those that were not."""
        self._randoms = randoms
        self._lines: list[Line | None] = []
        for wire, line in enumerate(lines):
            self._lines += (self._line(2 * wire, line.up), self._line(2 * wire + 1, line.down))
        self._queued: list[tuple[float, int, int, bytes]] = []
        self._number = 0

    def set_line(self, wire: int, line: LineModel) -> None:
        """Have ``wire`` be another from now on; what is on its way arrives."""
        self._lines[2 * wire] = self._line(2 * wire, line.up)
        self._lines[2 * wire + 1] = self._line(2 * wire + 1, line.down)

    def receive(self, end: int, frame: bytes, now_s: float) -> list[tuple[int, bytes]]:
        """A frame came in at ``end``; give what goes out at once, as (end, frame)."""
        out = end ^ 1
        if len(frame) < FRAME_SIZE_MIN_BYTES:
            return []
        line = self._lines[end]
        kind = frame[_KIND]
        if is_of_the_wire(frame) or kind not in _HEADERS_SIZE_BYTES:
            return [(out, frame)] if line is not None else []
        if line is None:
            self.counts["dead"] += 1
            return []
        headers, packet = _packet(kind, frame)
        arrivals = line.carry(packet, now_s)
        if isinstance(arrivals, Drop):
            self.counts[str(arrivals)] += 1
            return []
        for arrives_at_s, arrived in arrivals:
            if len(self._queued) >= QUEUED_FRAMES_MAX:
                self.counts["no room"] += 1
                return []
            # The simulator's packets have no end; a heap needs an order for what ties.
            self._number += 1
            frame = headers + arrived.payload
            heapq.heappush(self._queued, (arrives_at_s, self._number, out, frame))
        return self.handle_timeout(now_s)

    def handle_timeout(self, now_s: float) -> list[tuple[int, bytes]]:
        """Give the frames that have come through by now, as (end, frame)."""
        out = []
        while self._queued and self._queued[0][0] <= now_s:
            _, _, end, frame = heapq.heappop(self._queued)
            self.counts["carried"] += 1
            out.append((end, frame))
        return out

    def deadline(self) -> float | None:
        """When ``handle_timeout`` is next needed, or None."""
        return self._queued[0][0] if self._queued else None

    def _line(self, end: int, model: LinkModel | None) -> Line | None:
        return None if model is None else Line(model, partial(self._randoms, end))


def _packet(kind: bytes, frame: bytes) -> tuple[bytes, Packet]:
    """The frame's headers, and what is as large to a line as its IP packet."""
    size_bytes = _HEADERS_SIZE_BYTES[kind]
    nobody = _NOBODY[4 if kind == _IPV4 else 6]
    return frame[:size_bytes], Packet(Protocol.UDP, nobody, nobody, frame[size_bytes:])
