"""One TCP connection without I/O (RFC 9293): segments and calls in, segments and wake-ups out."""

import errno
from collections.abc import Callable
from typing import Final, Protocol

from sims.internet.packet import Packet, TcpFlags, TcpHeader
from sims.internet.packet import Protocol as IpProtocol
from sims.runtime.clock import Timer
from sims.stack.tcp_receive import FIRST_SEQUENCE, ReceiveBuffer
from sims.stack.tcp_send import SendBuffer
from sims.stack.tcp_sender import ACK_FLAGS, SYN_ACK_FLAGS, Phase, TcpSender
from sims.stack.tcp_timing import TimerHost, next_tick_s
from wice.datagram import Endpoint

BUFFER_SIZE_BYTES: Final = 128 << 10
"""What a connection keeps each way by default, before it holds the writer back."""
DELAYED_ACK_S: Final = 0.04
"""Linux's TCP_DELACK_MIN; RFC 1122 section 4.2.3.2 allows half a second."""
FIN_WAIT_2_S: Final = 60.0
"""Linux's tcp_fin_timeout: what an orphan waits for the other side to end."""
TIME_WAIT_S: Final = 2.0
"""Short, for it only has to answer the other side's last retransmissions."""
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16  # plain numbers: testing an IntFlag is slow
_RST_FLAGS: Final = TcpFlags.RST
_RST_ACK_FLAGS: Final = TcpFlags.RST | TcpFlags.ACK


class TcpStack(TimerHost, Protocol):
    """What a connection asks of its host."""

    def send(self, packet: Packet) -> None: ...

    def forget(self, connection: "TcpConnection") -> None: ...


def _nothing() -> None:
    pass


class TcpConnection(TcpSender):
    """Made by ``connect`` or ``accept``.

    error: an errno once it failed. on_open, on_readable, on_writable: called when something may
    have changed; on_writable also when connecting ended, on_readable at the stream's end.
    """

    def __init__(
        self,
        stack: TcpStack,
        local: Endpoint,
        remote: Endpoint,
        *,
        mss_bytes: int,
        receive_buffer_bytes: int = BUFFER_SIZE_BYTES,
        send_buffer_bytes: int = BUFFER_SIZE_BYTES,
    ) -> None:
        super().__init__(stack, send_buffer_bytes, mss_bytes)
        self.local = local
        self.remote = remote
        self.phase = Phase.CLOSED
        self.error: int | None = None
        self.is_orphan = False
        self.on_open: Callable[[], None] = _nothing
        self.on_readable: Callable[[], None] = _nothing
        self.on_writable: Callable[[], None] = _nothing
        self._stack = stack
        self._mss_bytes = mss_bytes
        self._incoming = ReceiveBuffer(receive_buffer_bytes)
        self._has_ended_first = False
        self._ack_timer: Timer | None = None
        self._unanswered_bytes = 0

    # What the socket calls

    def connect(self) -> None:
        self.phase = Phase.SYN_SENT
        self._send_syn()

    def accept(self, syn: TcpHeader) -> None:
        """Answer the SYN of a connection that nobody knew."""
        self.phase = Phase.SYN_RECEIVED
        self._start(syn)
        self._send_syn()

    @property
    def unread_bytes(self) -> int:
        return self._incoming.ready_bytes

    @property
    def can_read(self) -> bool:
        """Whether ``read`` has bytes, or the end, or an error to tell."""
        incoming = self._incoming
        return bool(incoming.ready_bytes) or incoming.is_over or self.phase is Phase.CLOSED

    @property
    def is_over(self) -> bool:
        """Whether the other side's stream ended in order."""
        return self._incoming.is_over

    @property
    def room_bytes(self) -> int:
        return self._outgoing.room_bytes

    @property
    def is_ending(self) -> bool:
        return self._outgoing.is_ending

    def read(self, size_max_bytes: int) -> bytes:
        """Empty when nothing is there, which is the end where ``can_read``."""
        data = self._incoming.read(size_max_bytes)
        if self._incoming.should_announce_room() and self.phase is Phase.OPEN:
            self._send_ack()
        return data

    def write(self, data: bytes | memoryview) -> int:
        """How many bytes were taken; not after ``end``."""
        assert not self._outgoing.is_ending
        taken_bytes = self._outgoing.write(data)
        self._push()
        return taken_bytes

    def end(self) -> None:
        """No more will be written: half-close."""
        if not self._outgoing.is_ending and self.phase is not Phase.CLOSED:
            self._outgoing.is_ending = True
            self._has_ended_first = not self._incoming.is_over
            self._push()

    def close(self) -> None:
        """Nobody reads or writes any more; what was written is still sent (RFC 2525 2.17)."""
        self.is_orphan = True
        if self.phase is Phase.SYN_SENT:
            self._finish()
        elif self.phase is Phase.SYN_RECEIVED or self._incoming.ready_bytes:
            self.abort()
        elif self.phase is Phase.OPEN:
            self.end()
            self._wait_as_orphan()

    def abort(self) -> None:
        if self.phase is not Phase.CLOSED:
            self._transmit(_RST_ACK_FLAGS, self._outgoing.sent)
            self._finish()

    def vanish(self) -> None:
        """The host crashed: nobody is told."""
        self.phase = Phase.CLOSED
        self._stop_timers()

    # Segments

    def receive(self, header: TcpHeader, payload: bytes) -> None:
        flags = int(header.flags)
        if self.phase is Phase.SYN_SENT:
            self._receive_in_syn_sent(header, flags)
            return
        if flags & _RST:
            self._receive_reset(header)
            return
        if flags & _SYN:
            self._receive_syn(header, flags)
            return
        if not flags & _ACK:
            return
        if self.phase is Phase.SYN_RECEIVED:
            if header.acknowledgement != FIRST_SEQUENCE:
                self._send_reset(header.acknowledgement)
                return
            self._open(header)
        size = len(payload) + (flags & _FIN)
        if not self._take_acknowledgement(header, size):
            return
        if size:
            self._take_stream(header, payload, is_last=bool(flags & _FIN))
        if self._outgoing.is_ended and self._incoming.is_over:
            self._end_both()

    def _receive_in_syn_sent(self, header: TcpHeader, flags: int) -> None:
        if flags & _ACK and header.acknowledgement != FIRST_SEQUENCE:
            # Of a connection that we had before a crash: let the other side drop it.
            if not flags & _RST:
                self._send_reset(header.acknowledgement)
        elif flags & _RST:
            if flags & _ACK:
                self._fail(errno.ECONNREFUSED)
        elif flags & _SYN:
            self._start(header)
            if flags & _ACK:
                self._open(header)
                self._send_ack()
            else:  # both sides open at once
                self.phase = Phase.SYN_RECEIVED
                self._send_syn()

    def _receive_reset(self, header: TcpHeader) -> None:
        """RFC 5961 section 3.2: only the exact next sequence is believed at once."""
        if header.sequence == self._incoming.next:
            is_over = self._incoming.is_over
            if self.phase is Phase.TIME_WAIT or (self._outgoing.is_ended and is_over):
                self._finish()
            else:
                self._fail(errno.EPIPE if is_over else errno.ECONNRESET)
        elif not self._incoming.is_outside(header.sequence):
            self._send_ack()

    def _receive_syn(self, header: TcpHeader, flags: int) -> None:
        is_of_this = header.sequence == 0
        if self.phase is not Phase.SYN_RECEIVED or not is_of_this:
            self._send_ack()  # RFC 5961 section 4.2
        elif flags & _ACK and header.acknowledgement == FIRST_SEQUENCE:
            self._open(header)
            self._send_ack()
        else:
            self._transmit(SYN_ACK_FLAGS, 0)

    def _start(self, syn: TcpHeader) -> None:
        self._incoming.start()
        if syn.mss_bytes:
            self._mss_bytes = min(self._mss_bytes, syn.mss_bytes)
            self._outgoing = SendBuffer(self._outgoing.capacity_bytes, self._mss_bytes)

    def _open(self, header: TcpHeader) -> None:
        self.phase = Phase.OPEN
        self._retries = 0
        self._take_sample(FIRST_SEQUENCE)
        self._rto.progress()
        self._outgoing.start(header.acknowledgement + header.window_bytes)
        self._timer.stop()
        self.on_open()
        self.on_writable()
        self._push()

    # The other side's stream

    def _take_stream(self, header: TcpHeader, payload: bytes, *, is_last: bool) -> None:
        incoming = self._incoming
        had_gap = incoming.has_gap
        if not incoming.take(header.sequence, payload, is_last=is_last):
            self._send_ack()
            return
        if self.is_orphan and payload:
            self.abort()
            return
        self._unanswered_bytes += len(payload)
        # On Linux too, a gap or its end, the stream's end and every second segment go at once.
        if had_gap or incoming.is_over or self._unanswered_bytes >= 2 * self._mss_bytes:
            self._send_ack()
        elif self._ack_timer is None:
            due_s = next_tick_s(self._stack.now_s + DELAYED_ACK_S)
            self._ack_timer = self._stack.call_at(due_s, self._send_delayed_ack)
        self.on_readable()

    def _send_delayed_ack(self) -> None:
        self._ack_timer = None
        if self.phase is not Phase.CLOSED and not self._stack.call_when_awake(self._send_ack):
            self._send_ack()

    # Sending

    def _send_ack(self) -> None:
        if self.phase is not Phase.CLOSED:
            self._transmit(ACK_FLAGS, self._outgoing.sent)

    def _send_reset(self, sequence: int) -> None:
        header = TcpHeader(_RST_FLAGS, sequence, 0, 0)
        self._stack.send(Packet(IpProtocol.TCP, self.local, self.remote, b"", header))

    def _transmit(self, flags: TcpFlags, sequence: int, payload: bytes = b"") -> None:
        self._unanswered_bytes = 0
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        incoming = self._incoming
        mss_bytes = self._mss_bytes
        window_bytes = incoming.advertise(mss_bytes)
        if sequence == 0:
            header = TcpHeader(flags, 0, incoming.next, window_bytes, mss_bytes)
        else:
            header = TcpHeader(flags, sequence, incoming.next, window_bytes)
        self._stack.send(Packet(IpProtocol.TCP, self.local, self.remote, payload, header))

    # Time

    def _stop_timers(self) -> None:
        self._timer.stop()
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None

    # The end

    def _end_both(self) -> None:
        if self.phase is Phase.OPEN:
            if not self._has_ended_first:
                self._finish()
                return
            self.phase = Phase.TIME_WAIT
        if self.phase is Phase.TIME_WAIT:
            self._timer.expect_within(TIME_WAIT_S)

    def _wait_as_orphan(self) -> None:
        if self._outgoing.is_ended and self.phase is Phase.OPEN:
            self._timer.expect_within(FIN_WAIT_2_S)

    def _fail(self, error: int) -> None:
        self.error = error
        self._finish()

    def _finish(self) -> None:
        self.phase = Phase.CLOSED
        self._stop_timers()
        self._outgoing.clear()
        self._stack.forget(self)
        self.on_readable()
        self.on_writable()
