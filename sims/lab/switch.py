"""A switch whose cables have latency, jitter, loss and a rate: the core of an imperfect internet.

Each port does to what comes in what its link says, and the switch hands it out at once where it
has to go. So between two machines a link acts once each way, however many there are. ARP and
neighbour discovery pass unharmed: there are no cables of 25 ms with a broadcast domain on them.
"""

import struct
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from sims.lab.link import Link

QUEUED_FRAMES_MAX: Final = 4_096
"""Frames on one cable; what comes then is lost, as in a full buffer."""
QUEUEING_MAX_S: Final = 0.25
"""How long a frame may wait for its turn on a cable with a rate; then it is lost."""
STATIONS_MAX: Final = 1_024
"""Addresses that the switch remembers the port of."""

FRAME_SIZE_MIN_BYTES: Final = 14
FRAME_OVERHEAD_BYTES: Final = 24
"""What Ethernet adds on the wire: preamble, check sum, gap."""

_ADDRESS_SIZE: Final = 6
_ARP: Final = 0x0806
_IPV6: Final = 0x86DD
_ICMPV6: Final = 58
_ICMPV6_NEIGHBOUR: Final = range(133, 138)
"""Router and neighbour solicitation and advertisement, redirect (RFC 4861)."""


@dataclass(slots=True)
class _Cable:
    """One port's way in. busy_until_s: when the last frame has been put on the wire."""

    link: Link
    frames: deque[tuple[float, bytes]] = field(default_factory=deque)
    busy_until_s: float = 0.0
    arrives_s: float = 0.0


class Switch:
    """A learning switch without I/O: frames and the time in, frames and ports out."""

    def __init__(self, links: Sequence[Link], random: Random) -> None:
        """links: what each port does to frames that come in, by port number."""
        self.counts: Counter[str] = Counter()
        """Frames: ``carried``, ``lost`` on purpose, ``queue full``, ``malformed``."""
        self._cables = [_Cable(link) for link in links]
        self._random = random
        self._ports: dict[bytes, int] = {}

    def receive(self, port: int, frame: bytes, now: float) -> list[tuple[int, bytes]]:
        """A frame came into ``port``; give what goes out at once, as (port, frame)."""
        if len(frame) < FRAME_SIZE_MIN_BYTES:
            self.counts["malformed"] += 1
            return []
        cable = self._cables[port]
        if cable.link.is_plain or is_of_the_wire(frame):
            return self._forward(port, frame)
        link = cable.link
        if link.loss and self._random.random() < link.loss:
            self.counts["lost"] += 1
            return []
        sent_s = now
        if link.rate_bits_s is not None:
            size_bits = 8 * (len(frame) + FRAME_OVERHEAD_BYTES)
            sent_s = max(cable.busy_until_s, now) + size_bits / link.rate_bits_s
        if len(cable.frames) >= QUEUED_FRAMES_MAX or sent_s - now > QUEUEING_MAX_S:
            self.counts["queue full"] += 1
            return []
        cable.busy_until_s = sent_s
        jitter_s = link.jitter_s * self._random.uniform(-1, 1) if link.jitter_s else 0.0
        # A cable does not change the order.
        cable.arrives_s = max(cable.arrives_s, sent_s + link.latency_s + jitter_s)
        cable.frames.append((cable.arrives_s, frame))
        return []

    def handle_timeout(self, now: float) -> list[tuple[int, bytes]]:
        """Give the frames that have come through by now, as (port, frame)."""
        out = []
        for port, cable in enumerate(self._cables):
            frames = cable.frames
            while frames and frames[0][0] <= now:
                out += self._forward(port, frames.popleft()[1])
        return out

    def deadline(self) -> float | None:
        """When ``handle_timeout`` is next needed, or None."""
        return min((c.frames[0][0] for c in self._cables if c.frames), default=None)

    def _forward(self, port: int, frame: bytes) -> list[tuple[int, bytes]]:
        self.counts["carried"] += 1
        destination, source = frame[:_ADDRESS_SIZE], frame[_ADDRESS_SIZE : 2 * _ADDRESS_SIZE]
        if source in self._ports or len(self._ports) < STATIONS_MAX:
            self._ports[source] = port
        is_group = destination[0] & 1
        known = None if is_group else self._ports.get(destination)
        if known is not None:
            return [(known, frame)] if known != port else []
        return [(other, frame) for other in range(len(self._cables)) if other != port]


def is_of_the_wire(frame: bytes) -> bool:
    """Whether a frame is ARP or IPv6 neighbour discovery, which only finds who is on the wire."""
    (kind,) = struct.unpack_from("!H", frame, 2 * _ADDRESS_SIZE)
    if kind == _ARP:
        return True
    return (
        kind == _IPV6
        and len(frame) > FRAME_SIZE_MIN_BYTES + 40
        and frame[FRAME_SIZE_MIN_BYTES + 6] == _ICMPV6
        and frame[FRAME_SIZE_MIN_BYTES + 40] in _ICMPV6_NEIGHBOUR
    )
