"""ICE (RFC 8445): the agent without I/O, and its trio driver over a shared port."""

from wice.ice.agent import Agent
from wice.ice.candidate import (
    Candidate,
    endpoint_of,
    format_candidate,
    parse_candidate,
    relayed_candidate,
)
from wice.ice.credentials import Credentials
from wice.ice.driver import IceDriver
from wice.ice.events import (
    AgentEvent,
    ChecksExhausted,
    ChecksStarted,
    ConnectivityFailed,
    Mapping,
    PairSelected,
    PairStatus,
    PairValidated,
    RemoteCheckReceived,
    SelectedPath,
    SelectedPathDoubted,
    SelectedPathLost,
    SelectedPathTrusted,
    Transmit,
)
from wice.ice.mapping import MappingBehaviour, mapping_behaviour
from wice.ice.policy import CandidatePolicy
from wice.ice.renomination import Hysteresis
from wice.ice.report import Attempt, PairReport
from wice.ice.timing import RFC_8445, Timing

__all__ = [
    "RFC_8445",
    "Agent",
    "AgentEvent",
    "Attempt",
    "Candidate",
    "CandidatePolicy",
    "ChecksExhausted",
    "ChecksStarted",
    "ConnectivityFailed",
    "Credentials",
    "Hysteresis",
    "IceDriver",
    "Mapping",
    "MappingBehaviour",
    "PairReport",
    "PairSelected",
    "PairStatus",
    "PairValidated",
    "RemoteCheckReceived",
    "SelectedPath",
    "SelectedPathDoubted",
    "SelectedPathLost",
    "SelectedPathTrusted",
    "Timing",
    "Transmit",
    "endpoint_of",
    "format_candidate",
    "mapping_behaviour",
    "parse_candidate",
    "relayed_candidate",
]
