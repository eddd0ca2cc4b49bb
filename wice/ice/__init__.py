"""ICE (RFC 8445): the agent without I/O, and its trio driver over a shared port."""

from wice.ice.agent import Agent
from wice.ice.candidate import Candidate, format_candidate, parse_candidate
from wice.ice.credentials import Credentials
from wice.ice.driver import IceDriver
from wice.ice.events import (
    AgentEvent,
    ChecksExhausted,
    ChecksStarted,
    Mapping,
    PairSelected,
    PairStatus,
    PairValidated,
    RemoteCheckReceived,
    SelectedPath,
    SelectedPathDoubted,
    SelectedPathLost,
    Transmit,
)
from wice.ice.mapping import MappingBehaviour, mapping_behaviour
from wice.ice.timing import Timing

__all__ = [
    "Agent",
    "AgentEvent",
    "Candidate",
    "ChecksExhausted",
    "ChecksStarted",
    "Credentials",
    "IceDriver",
    "Mapping",
    "MappingBehaviour",
    "PairSelected",
    "PairStatus",
    "PairValidated",
    "RemoteCheckReceived",
    "SelectedPath",
    "SelectedPathDoubted",
    "SelectedPathLost",
    "Timing",
    "Transmit",
    "format_candidate",
    "mapping_behaviour",
    "parse_candidate",
]
