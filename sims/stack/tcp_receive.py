"""The receiving half of a TCP connection: puts segments in order, and says how much may come."""

from typing import Final

FIRST_SEQUENCE: Final = 1
"""Of the first byte of a stream: its SYN is 0."""


class ReceiveBuffer:
    """Bytes in order for the reader, and early ones, together never more than the window."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.next = 0
        """What comes next, of what was not received."""
        self.is_over = False
        """The stream's end was received, with all before it."""
        self._ready = bytearray()
        self._early: dict[int, bytes] = {}
        self._end: int | None = None
        self._edge = FIRST_SEQUENCE
        """Up to where the sender may send: once promised, it is not taken back."""

    @property
    def ready_bytes(self) -> int:
        return len(self._ready)

    @property
    def has_gap(self) -> bool:
        return bool(self._early) or (self._end is not None and not self.is_over)

    def start(self) -> None:
        """The SYN was received."""
        self.next = FIRST_SEQUENCE

    def take(self, sequence: int, payload: bytes, *, is_last: bool) -> bool:
        """Keep what is new and within the window; whether the stream went on."""
        if is_last:
            self._end = sequence + len(payload)
        payload = payload[: max(0, self._edge - sequence)]
        before = self.next
        if sequence > self.next:
            if payload and len(payload) > len(self._early.get(sequence, b"")):
                self._early[sequence] = payload
        else:
            self._append(payload[self.next - sequence :])
            if self._early:
                self._append_early()
        if self.next == self._end:
            self.is_over = True
            self.next += 1
        return self.next != before

    def read(self, size_max_bytes: int) -> bytes:
        ready = self._ready
        if size_max_bytes >= len(ready):
            data = bytes(ready)
            ready.clear()
            return data
        data = bytes(ready[:size_max_bytes])
        del ready[:size_max_bytes]
        return data

    def advertise(self, mss_bytes: int) -> int:
        """The window in bytes, which is hereby promised.

        It opens by whole segments only, against the silly window (RFC 9293 section 3.8.6.2.2).
        """
        edge = self.next + self.capacity_bytes - len(self._ready)
        if edge - self._edge >= min(mss_bytes, self.capacity_bytes // 2):
            self._edge = edge
        return max(0, self._edge - self.next)

    def should_announce_room(self) -> bool:
        """Whether reading made so much room that the sender should hear of it at once."""
        quarter_bytes = self.capacity_bytes // 4
        if self._edge - self.next >= quarter_bytes:
            return False
        return self.next + self.capacity_bytes - len(self._ready) - self._edge >= quarter_bytes

    def is_outside(self, sequence: int) -> bool:
        return not self.next <= sequence <= self._edge

    def _append(self, payload: bytes) -> None:
        self._ready += payload
        self.next += len(payload)

    def _append_early(self) -> None:
        for sequence in sorted(self._early):
            if sequence > self.next:
                return
            self._append(self._early.pop(sequence)[self.next - sequence :])
