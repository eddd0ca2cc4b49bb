"""The sending half of a TCP connection: what is sent, acknowledged, and sent again."""

import errno
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from sims.internet.packet import TcpFlags, TcpHeader
from sims.stack.tcp_receive import FIRST_SEQUENCE
from sims.stack.tcp_send import BLACK_HOLE_MSS_BYTES, Segment, SendBuffer
from sims.stack.tcp_timing import LazyTimer, RetransmissionTimeout, TimerHost

SYN_RETRIES_MAX: Final = 6
"""Linux's tcp_syn_retries: 1 + 2 + 4 + … + 64 s, 127 s in all."""
SYN_ACK_RETRIES_MAX: Final = 5
"""Linux's tcp_synack_retries."""
RETRIES_MAX: Final = 15
"""Linux's tcp_retries2: some 15 minutes."""
ORPHAN_RETRIES_MAX: Final = 8
"""Linux's tcp_orphan_retries, for connections that nobody holds any more."""
BLACK_HOLE_RETRIES: Final = 2
"""Timeouts of one segment until smaller ones are tried."""


ACK_FLAGS: Final = TcpFlags.ACK
_SYN_FLAGS: Final = TcpFlags.SYN
SYN_ACK_FLAGS: Final = TcpFlags.SYN | TcpFlags.ACK
_FIN_ACK_FLAGS: Final = TcpFlags.FIN | TcpFlags.ACK


class Phase(Enum):
    """RFC 9293's states, where OPEN is all those from ESTABLISHED to LAST-ACK."""

    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    OPEN = auto()
    TIME_WAIT = auto()
    CLOSED = auto()


class TcpSender:
    """What ``TcpConnection`` is made of beside its receiving half; how it ends is that one's."""

    phase: Phase
    is_orphan: bool
    on_writable: Callable[[], None]

    def __init__(self, host: TimerHost, send_buffer_bytes: int, mss_bytes: int) -> None:
        self._outgoing = SendBuffer(send_buffer_bytes, mss_bytes)
        self._host = host
        self._rto = RetransmissionTimeout()
        self._retries = 0
        self._timer = LazyTimer(host, self._time_out)
        self._timed: int | None = None
        self._timed_since_s = 0.0

    @property
    def is_writable(self) -> bool:
        """Whether there is so much room that it is worth waking a writer."""
        outgoing = self._outgoing
        return self.phase is Phase.CLOSED or outgoing.room_bytes * 3 >= outgoing.capacity_bytes

    # What the connection does

    def _transmit(self, flags: TcpFlags, sequence: int, payload: bytes = b"") -> None:
        raise NotImplementedError

    def _send_ack(self) -> None:
        raise NotImplementedError

    def _wait_as_orphan(self) -> None:
        raise NotImplementedError

    def _fail(self, error: int) -> None:
        raise NotImplementedError

    def _finish(self) -> None:
        raise NotImplementedError

    # Acknowledgements of what we sent

    def _take_acknowledgement(self, header: TcpHeader, size: int) -> bool:
        """False when the segment acknowledges what was never sent."""
        acknowledgement = header.acknowledgement
        outgoing = self._outgoing
        if acknowledgement > outgoing.sent:
            self._send_ack()
            return False
        edge = acknowledgement + header.window_bytes
        has_more_room = edge > outgoing.edge
        if has_more_room:
            # A receiver never takes back what it offered, so the furthest is the newest.
            outgoing.edge = edge
            if outgoing.is_probing:
                self._timer.stop()
                self._rto.progress()
        if acknowledgement > outgoing.unacknowledged:
            self._progress(acknowledgement)
        elif outgoing.is_probing:
            if not self.is_orphan:
                self._retries = 0
        elif self._is_lost_by_duplicates(acknowledgement, is_bare=not size and not has_more_room):
            self._retransmit_first()
        if outgoing.next < outgoing.end:
            self._push()
        return True

    def _progress(self, acknowledgement: int) -> None:
        outgoing = self._outgoing
        acknowledged_bytes = acknowledgement - outgoing.unacknowledged
        outgoing.acknowledge(acknowledgement)
        self._retries = 0
        self._rto.progress()
        self._take_sample(acknowledgement)
        if outgoing.window.take_progress(acknowledgement, acknowledged_bytes):
            self._retransmit_first()
        if acknowledgement < outgoing.sent:
            self._timer.expect_within(self._rto.wait_s)
        else:
            self._timer.stop()
            if self.is_orphan:
                self._wait_as_orphan()
        if self.is_writable:
            self.on_writable()

    def _is_lost_by_duplicates(self, acknowledgement: int, *, is_bare: bool) -> bool:
        """RFC 5681 section 2: whether so many say the same that a segment must be lost."""
        outgoing = self._outgoing
        if acknowledgement != outgoing.unacknowledged or not is_bare:
            return False
        return outgoing.window.take_duplicate(outgoing.flight_bytes, outgoing.sent)

    def _take_sample(self, acknowledgement: int) -> None:
        """Learn the round trip, if what was timed is acknowledged."""
        if self._timed is not None and acknowledgement >= self._timed:
            self._rto.sample(self._host.now_s - self._timed_since_s)
            self._timed = None

    # Sending

    def _push(self) -> None:
        """Send what the windows allow."""
        if self.phase is not Phase.OPEN:
            return
        outgoing = self._outgoing
        sent_before = outgoing.sent
        for segment in outgoing.segments():
            if self._timed is None and segment.sequence >= sent_before:
                self._timed = segment.after
                self._timed_since_s = self._host.now_s
            self._send_segment(segment)
        if outgoing.is_waiting and not self._timer.is_pending:
            self._timer.expect_within(self._rto.wait_s)

    def _retransmit_first(self) -> None:
        self._timed = None
        self._send_segment(self._outgoing.first())

    def _send_segment(self, segment: Segment) -> None:
        flags = _FIN_ACK_FLAGS if segment.is_last else ACK_FLAGS
        self._transmit(flags, segment.sequence, segment.payload)

    def _send_syn(self) -> None:
        is_answer = self.phase is Phase.SYN_RECEIVED
        self._timed = FIRST_SEQUENCE if not self._retries else None
        self._timed_since_s = self._host.now_s
        self._transmit(SYN_ACK_FLAGS if is_answer else _SYN_FLAGS, 0)
        self._timer.expect_within(self._rto.wait_s)

    # Time

    def _time_out(self) -> None:
        if self.phase is Phase.TIME_WAIT or (self.is_orphan and self._outgoing.is_ended):
            self._finish()
            return
        if self._retries >= self._retries_max():
            self._fail(errno.ETIMEDOUT)
            return
        self._retries += 1
        self._timed = None
        self._rto.back_off()
        if self.phase is not Phase.OPEN:
            self._send_syn()
        elif self._outgoing.is_probing:
            self._send_segment(self._outgoing.probe())
            self._timer.expect_within(self._rto.wait_s)
        else:
            if self._retries == BLACK_HOLE_RETRIES:
                self._outgoing.shrink_segments(BLACK_HOLE_MSS_BYTES)
            self._outgoing.go_back()
            self._push()

    def _retries_max(self) -> int:
        if self.phase is Phase.SYN_SENT:
            return SYN_RETRIES_MAX
        if self.phase is Phase.SYN_RECEIVED:
            return SYN_ACK_RETRIES_MAX
        return ORPHAN_RETRIES_MAX if self.is_orphan else RETRIES_MAX
