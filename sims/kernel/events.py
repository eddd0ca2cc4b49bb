"""What daemons say on their control sockets, as the events that they were."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from wice.events import EnvelopeDelivered, Event, OverlayJoined, OverlayLost, PeerTransitioned
from wice.keys import PublicKey

_Fields = Mapping[str, Any]

_MAKERS: Final[Mapping[str, Callable[[_Fields], Event]]] = {
    "EnvelopeDelivered": lambda fields: EnvelopeDelivered(
        peer=PublicKey.from_base64(fields["peer"]), way=fields["way"]
    ),
    "OverlayJoined": lambda fields: OverlayJoined(peer_id=fields["peer_id"]),
    "OverlayLost": lambda _fields: OverlayLost(),
    "PeerTransitioned": lambda fields: PeerTransitioned(
        interface=fields["interface"],
        peer=PublicKey.from_base64(fields["peer"]),
        old=fields["old"],
        new=fields["new"],
        cause=fields["cause"],
        detail=fields["detail"],
    ),
}


def event_of(said: _Fields) -> Event | None:
    """None for an event that no run looks at; it has happened now."""
    make = _MAKERS.get(said["event"])
    return None if make is None else make(said)
