"""TURN (RFC 8656) over UDP: a client and a server, without I/O.

``wice.turn.driver`` runs the server.
"""

from wice.turn.budgets import Budgets
from wice.turn.client import State, TurnClient
from wice.turn.credentials import RestAccounts, rest_credentials
from wice.turn.events import (
    Allocated,
    AllocationFailed,
    AllocationLost,
    ChannelBound,
    ClientEvent,
    CredentialsRefused,
    PermissionGranted,
    PermissionRefused,
    Redirected,
)
from wice.turn.messages import ErrorCode, Family, PeerData, is_channel_data
from wice.turn.peer_policy import PeerPolicy
from wice.turn.server import TurnServer
from wice.turn.server_events import (
    AllocationStatus,
    CloseRelay,
    OpenRelay,
    ServerEvent,
    ServerTransmit,
)
from wice.turn.timing import RFC_8489_TIMING, Timing

__all__ = [
    "RFC_8489_TIMING",
    "Allocated",
    "AllocationFailed",
    "AllocationLost",
    "AllocationStatus",
    "Budgets",
    "ChannelBound",
    "ClientEvent",
    "CloseRelay",
    "CredentialsRefused",
    "ErrorCode",
    "Family",
    "OpenRelay",
    "PeerData",
    "PeerPolicy",
    "PermissionGranted",
    "PermissionRefused",
    "Redirected",
    "RestAccounts",
    "ServerEvent",
    "ServerTransmit",
    "State",
    "Timing",
    "TurnClient",
    "TurnServer",
    "is_channel_data",
    "rest_credentials",
]
