"""How NATs and firewalls follow TCP connections that pass through them."""

from typing import Final

from sims.packet import TcpFlags

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


def may_begin(flags: TcpFlags) -> bool:
    """May a segment from inside begin what is followed?

    Also in mid-stream, as Linux takes up what went on before it was started
    (nf_conntrack_tcp_loose); but never one that ends a connection.
    """
    return not int(flags) & (_RST | _FIN)
