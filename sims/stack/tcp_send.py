"""The sending half of a TCP connection: what waits, what is under way, what may go now."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sims.stack.tcp_receive import FIRST_SEQUENCE
from sims.stack.tcp_timing import CongestionWindow

BLACK_HOLE_MSS_BYTES: Final = 1_000
"""What is tried where larger segments seem to vanish (RFC 4821 section 7.7)."""


class Segment(NamedTuple):
    """is_last: the stream ends with it."""

    sequence: int
    payload: bytes
    is_last: bool

    @property
    def after(self) -> int:
        """The sequence that follows it; the end counts as one."""
        return self.sequence + len(self.payload) + self.is_last


class SendBuffer:
    """A stream until it is acknowledged."""

    def __init__(self, capacity_bytes: int, mss_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.window = CongestionWindow(mss_bytes)
        self.unacknowledged = 0
        self.next = FIRST_SEQUENCE
        self.sent = FIRST_SEQUENCE
        """The highest that was ever sent; ``next`` goes back when all must be sent again."""
        self.edge = 0
        """Up to where the other side takes bytes."""
        self.is_ending = False
        """The stream ends after what is written."""
        self.is_ended = False
        """Its end was acknowledged."""
        self._bytes = bytearray()
        """All that is not acknowledged, from ``_base`` on."""
        self._base = FIRST_SEQUENCE

    @property
    def room_bytes(self) -> int:
        return max(0, self.capacity_bytes - len(self._bytes))

    @property
    def flight_bytes(self) -> int:
        return self.sent - self.unacknowledged

    @property
    def end(self) -> int:
        """The sequence after all that is to be sent, the stream's end included."""
        return self._base + len(self._bytes) + self.is_ending

    @property
    def is_waiting(self) -> bool:
        """Whether anything is under way or is to be sent."""
        return self.unacknowledged < self.end

    @property
    def is_probing(self) -> bool:
        """Whether nothing is under way but probes of a closed window."""
        return self.next == self.unacknowledged

    def start(self, edge: int) -> None:
        """The SYN was acknowledged."""
        self.unacknowledged = FIRST_SEQUENCE
        self.edge = edge

    def write(self, data: bytes | memoryview) -> int:
        """How many bytes were taken."""
        taken = data[: self.room_bytes]
        self._bytes += taken
        return len(taken)

    def acknowledge(self, acknowledgement: int) -> None:
        end = self._base + len(self._bytes)
        kept_from = min(acknowledgement, end)
        del self._bytes[: kept_from - self._base]
        self._base = kept_from
        self.is_ended = self.is_ending and acknowledgement > end
        self.unacknowledged = acknowledgement
        self.next = max(self.next, acknowledgement)

    def go_back(self) -> None:
        """All that is under way is lost."""
        self.window.take_timeout(self.flight_bytes)
        self.next = self.unacknowledged

    def shrink_segments(self, mss_bytes: int) -> None:
        self.window.mss_bytes = min(self.window.mss_bytes, mss_bytes)

    def segments(self) -> Iterator[Segment]:
        """Take out what the windows allow, in as few segments as it takes."""
        end = self._base + len(self._bytes)
        mss_bytes = self.window.mss_bytes
        limit = min(self.edge, self.unacknowledged + self.window.size_bytes)
        while self.next < end:
            size = min(mss_bytes, end - self.next)
            if self.next + size > limit:
                # A small piece of what waits: rather later, with more (RFC 9293 3.8.6.2.1).
                if self.next > self.unacknowledged or limit <= self.next:
                    return
                size = limit - self.next
            yield self._take(self.next, size)
        if self.is_ending and self.next == end:
            yield self._take(end, 0)

    def first(self) -> Segment:
        """The first that is not acknowledged, to be sent again."""
        waiting_bytes = self._base + len(self._bytes) - self.unacknowledged
        return self._take(self.unacknowledged, min(self.window.mss_bytes, waiting_bytes))

    def probe(self) -> Segment:
        """One byte beyond the window, so that the other side says whether it opened."""
        self.sent = max(self.sent, self.unacknowledged + 1)
        return Segment(self.unacknowledged, bytes(self._bytes[:1]), False)

    def clear(self) -> None:
        self._bytes.clear()

    def _take(self, sequence: int, size: int) -> Segment:
        start = sequence - self._base
        payload = bytes(self._bytes[start : start + size])
        is_last = self.is_ending and start + size == len(self._bytes)
        after = sequence + size + is_last
        self.sent = max(self.sent, after)
        self.next = max(self.next, after)
        return Segment(sequence, payload, is_last)
