"""The life of a peer as one table: (state, stimulus) → state.

SEEKING    nothing was heard of the peer; our description goes out whenever it can
DESCRIBED  its description is here; no check could leave yet
CHECKING   ICE tries the candidate pairs, or has tried them all and goes on slowly
SELECTED   a pair works and WireGuard was pointed at it; it has no session, or did not hear of it
CONNECTED  WireGuard completed a handshake, or its session, older than the path, is heard again
REMOVED    the peer is none of ours any more

What is not in the table changes nothing. A handshake can come first: the other side may have
found its path and started WireGuard before our own check was answered.
"""

from enum import StrEnum


class State(StrEnum):
    SEEKING = "seeking"
    DESCRIBED = "described"
    CHECKING = "checking"
    SELECTED = "selected"
    CONNECTED = "connected"
    REMOVED = "removed"


class Stimulus(StrEnum):
    DESCRIPTION_RECEIVED = "description received"
    CHECKS_STARTED = "checks started"
    PATH_SELECTED = "path selected"
    HANDSHAKE_COMPLETED = "handshake completed"
    SESSION_HEARD = "session heard"
    SESSION_EXPIRED = "session expired"
    PATH_LOST = "path lost"
    PEER_REMOVED = "peer removed"


TRANSITIONS: dict[tuple[State, Stimulus], State] = {
    (State.SEEKING, Stimulus.DESCRIPTION_RECEIVED): State.DESCRIBED,
    (State.SEEKING, Stimulus.HANDSHAKE_COMPLETED): State.CONNECTED,
    (State.DESCRIBED, Stimulus.CHECKS_STARTED): State.CHECKING,
    (State.DESCRIBED, Stimulus.PATH_SELECTED): State.SELECTED,
    (State.DESCRIBED, Stimulus.HANDSHAKE_COMPLETED): State.CONNECTED,
    (State.CHECKING, Stimulus.PATH_SELECTED): State.SELECTED,
    (State.CHECKING, Stimulus.HANDSHAKE_COMPLETED): State.CONNECTED,
    (State.SELECTED, Stimulus.PATH_SELECTED): State.SELECTED,
    (State.SELECTED, Stimulus.HANDSHAKE_COMPLETED): State.CONNECTED,
    (State.SELECTED, Stimulus.SESSION_HEARD): State.CONNECTED,
    (State.SELECTED, Stimulus.PATH_LOST): State.CHECKING,
    (State.CONNECTED, Stimulus.PATH_SELECTED): State.CONNECTED,
    (State.CONNECTED, Stimulus.HANDSHAKE_COMPLETED): State.CONNECTED,
    (State.CONNECTED, Stimulus.SESSION_EXPIRED): State.SELECTED,
    (State.CONNECTED, Stimulus.PATH_LOST): State.CHECKING,
    **{(state, Stimulus.PEER_REMOVED): State.REMOVED for state in State},
}
