"""What an agent reports, and its snapshots."""

from dataclasses import dataclass
from typing import NamedTuple

from wice.datagram import Endpoint, Path


@dataclass(frozen=True, slots=True)
class Transmit:
    """A datagram to send along ``path``."""

    data: bytes
    path: Path


@dataclass(frozen=True, slots=True)
class SelectedPath:
    """The nominated pair. rtt_s: of its last answered check; an upper bound where the check had
    been retransmitted; None where one side is lite and nothing was checked from here.
    """

    path: Path
    local_type: str
    remote_type: str
    rtt_s: float | None


@dataclass(frozen=True, slots=True)
class PairStatus:
    """One pair for a person. state: ``frozen``, ``waiting``, ``in progress``, ``succeeded`` or
    ``failed``.

    transmissions: requests sent on it so far. rtt_s: None before the first answer.
    """

    path: Path
    local_type: str
    remote_type: str
    state: str
    priority: int
    transmissions: int
    rtt_s: float | None
    is_selected: bool


@dataclass(frozen=True, slots=True)
class ChecksStarted:
    """The first check of a run went out: after new remote credentials or a lost path."""


@dataclass(frozen=True, slots=True)
class RemoteCheckReceived:
    """The first check with this remote ufrag came in: the remote has our credentials."""

    source: Endpoint
    remote_ufrag: str


@dataclass(frozen=True, slots=True)
class PairValidated:
    """Datagrams pass in both directions along ``path``: it may carry data at once.

    is_relayed: one of its ends is a relay.
    """

    path: Path
    rtt_s: float
    is_relayed: bool


@dataclass(frozen=True, slots=True)
class PairSelected:
    """Both sides settled on ``path``. rtt_s: None where we are lite and checked nothing."""

    path: Path
    local_type: str
    remote_type: str
    rtt_s: float | None

    @property
    def is_relayed(self) -> bool:
        """Whether one of its ends is a relay."""
        return "relay" in (self.local_type, self.remote_type)


@dataclass(frozen=True, slots=True)
class SelectedPathDoubted:
    """Several consent checks along ``path`` went unanswered.

    It stays selected; the other pairs are checked again, and one that works takes over.
    """

    path: Path


@dataclass(frozen=True, slots=True)
class SelectedPathTrusted:
    """``path``, which was doubted, is answered again; whoever took another has to come back.

    is_relayed: one of its ends is a relay.
    """

    path: Path
    rtt_s: float
    is_relayed: bool


@dataclass(frozen=True, slots=True)
class SelectedPathLost:
    """``path`` gave no valid answer for the time of consent, or its local address went away.

    The agent checks all its pairs again.
    """

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class ChecksExhausted:
    """Every pair failed once; they are tried again, slowly. ``detail`` is for a person.

    It is news, no verdict: that comes with ``ConnectivityFailed``.
    """

    detail: str


@dataclass(frozen=True, slots=True)
class ConnectivityFailed:
    """No pair worked and the patience of RFC 8863 is over. The agent goes on checking, slowly, and
    answers the remote's checks: a path that comes later is selected all the same.
    """

    detail: str


AgentEvent = (
    ChecksStarted
    | RemoteCheckReceived
    | PairValidated
    | PairSelected
    | SelectedPathDoubted
    | SelectedPathLost
    | SelectedPathTrusted
    | ChecksExhausted
    | ConnectivityFailed
)


class Mapping(NamedTuple):
    """What one STUN server saw: datagrams from ``base`` arrive there as ``mapped``."""

    base: Endpoint
    server: Endpoint
    mapped: Endpoint
