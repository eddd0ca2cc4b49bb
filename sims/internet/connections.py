"""How NATs and firewalls follow what passes through them: UDP flows and TCP connections."""

from enum import StrEnum
from typing import Final, TypeVar

from sims.internet.drops import Drop
from sims.internet.expiry import has_room
from sims.internet.packet import TcpFlags

TCP_ESTABLISHED_S: Final = 7_440.0
"""How long an established connection may be silent (RFC 5382 REQ-5: 2 hours and 4 minutes)."""
TCP_TRANSITORY_S: Final = 240.0
"""And one that opens or closes (RFC 5382 REQ-5), or was reset (RFC 7857 section 2.2)."""

_FIN: Final = int(TcpFlags.FIN)
_SYN: Final = int(TcpFlags.SYN)
_RST: Final = int(TcpFlags.RST)

_OUT, _IN, _FIN_OUT, _FIN_IN, _RESET = 1, 2, 4, 8, 16
_BOTH_WAYS: Final = _OUT | _IN
_BOTH_FINS: Final = _FIN_OUT | _FIN_IN

_Key = TypeVar("_Key")


class UdpFlow:
    """What is sent to one remote side, and whether it ever answered.

    Only what leaves puts its end off (RFC 4787 REQ-6). How long it lasts is ``unreplied_s`` until
    the first answer, and ``replied_s`` afterwards.
    """

    __slots__ = ("expires_at_s", "is_replied")

    def __init__(self) -> None:
        self.is_replied = False
        self.expires_at_s = 0.0

    def sent(self, now_s: float, unreplied_s: float, replied_s: float) -> float:
        """A datagram leaves; give when the flow expires now."""
        if self.expires_at_s <= now_s:
            self.is_replied = False
        self.expires_at_s = now_s + (replied_s if self.is_replied else unreplied_s)
        return self.expires_at_s

    def replied(self, unreplied_s: float, replied_s: float) -> float:
        """The first answer came in time; give when the flow expires now."""
        self.is_replied = True
        self.expires_at_s += replied_s - unreplied_s
        return self.expires_at_s

    def expiry_s(self) -> float:
        return self.expires_at_s


class TcpConnection:
    """One connection, as seen in between."""

    __slots__ = ("_seen", "expires_at_s")

    def __init__(self) -> None:
        self._seen = 0
        self.expires_at_s = 0.0

    def note(self, flags: TcpFlags, *, is_outbound: bool, now_s: float) -> None:
        """A segment with these flags passed."""
        bits = int(flags)
        if bits & _SYN and self._is_closing:
            self._seen = 0
        self._seen |= _OUT if is_outbound else _IN
        if bits & _FIN:
            self._seen |= _FIN_OUT if is_outbound else _FIN_IN
        if bits & _RST:
            self._seen |= _RESET
        is_established = self._seen & _BOTH_WAYS == _BOTH_WAYS and not self._is_closing
        self.expires_at_s = now_s + (TCP_ESTABLISHED_S if is_established else TCP_TRANSITORY_S)

    def expiry_s(self) -> float:
        return self.expires_at_s

    @property
    def _is_closing(self) -> bool:
        return bool(self._seen & _RESET) or self._seen & _BOTH_FINS == _BOTH_FINS


class MidStream(StrEnum):
    """What becomes of a connection that was there before who has to follow it was.

    TAKEN_UP: followed from there on, as by Linux (nf_conntrack_tcp_loose). DROPPED: silence.
    RESET: who sends from inside is told.
    """

    TAKEN_UP = "taken up"
    DROPPED = "dropped"
    RESET = "reset"


def why_not_begin(flags: TcpFlags, mid_stream: MidStream, unknown: Drop) -> Drop | None:
    """Why a segment from inside cannot begin what is followed, if so: ``unknown``, or a reset."""
    bits = int(flags)
    if bits & _RST:
        return unknown
    if mid_stream is MidStream.RESET:
        return None if bits & _SYN else Drop.RESET
    if bits & _FIN or not (bits & _SYN or mid_stream is MidStream.TAKEN_UP):
        return unknown
    return None


def follow(
    connections: dict[_Key, TcpConnection],
    key: _Key,
    flags: TcpFlags,
    *,
    is_outbound: bool,
    mid_stream: MidStream,
    now_s: float,
    size_max: int,
    unknown: Drop,
    full: Drop,
) -> TcpConnection | Drop:
    """Note a segment of the connection ``key``, which it may begin; or say why it cannot pass.

    size_max: connections at most; one more is ``full``.
    """
    connection = connections.get(key)
    if connection is None or connection.expires_at_s <= now_s:
        refusal = why_not_begin(flags, mid_stream, unknown)
        if refusal is not None:
            return refusal
        if not has_room(connections, size_max, TcpConnection.expiry_s, now_s):
            return full
        connection = connections[key] = TcpConnection()
    connection.note(flags, is_outbound=is_outbound, now_s=now_s)
    return connection
