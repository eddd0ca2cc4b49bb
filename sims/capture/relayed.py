"""Tunnels inside of TURN, which Wireshark takes for mere data there."""

from typing import Final

from wice.errors import RemoteProtocolError
from wice.stun import Attribute, is_stun, parse
from wice.turn.messages import is_channel_data, parse_channel_data

_INDICATIONS: Final = (b"\x00\x16", b"\x00\x17")
"""Send and Data (RFC 8656 section 17)."""
_TUNNEL_MESSAGES: Final = tuple(bytes((kind, 0, 0, 0)) for kind in (1, 2, 3, 4))


def relayed_tunnel_message(datagram: bytes) -> bytes | None:
    """WireGuard's message that is on its way to or from a relay in ``datagram``."""
    data = _relayed(datagram)
    return data if data is not None and data.startswith(_TUNNEL_MESSAGES) else None


def _relayed(datagram: bytes) -> bytes | None:
    try:
        if is_channel_data(datagram):
            return parse_channel_data(datagram)[1]
        if datagram.startswith(_INDICATIONS) and is_stun(datagram):
            data = parse(datagram).values(Attribute.DATA)
            return data[0] if data else None
    except RemoteProtocolError:
        # A bit was turned on the way.
        return None
    return None
