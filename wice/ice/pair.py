"""Candidate pairs and the checks that are made on them."""

from dataclasses import dataclass
from enum import Enum

from wice.datagram import Endpoint, Path
from wice.ice.candidate import pair_priority, priority_of
from wice.ice.credentials import Credentials
from wice.ice.events import PairStatus
from wice.stun import IntegrityKey


class State(Enum):
    """Of a pair (RFC 8445 section 6.1.2.6). Nothing is Frozen: with one component every pair may
    be checked as soon as the pacing allows.
    """

    WAITING = "waiting"
    IN_PROGRESS = "in progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Remote:
    """The remote agent as its credentials show it."""

    __slots__ = ("credentials", "key", "username")

    def __init__(self, credentials: Credentials, local_ufrag: str) -> None:
        self.credentials = credentials
        self.key = IntegrityKey(credentials.password.encode())
        self.username = f"{credentials.ufrag}:{local_ufrag}".encode()


@dataclass(slots=True)
class Base:
    """A local address to send from. priority: of its best candidate."""

    address: str
    priority: int
    local_preference: int

    @property
    def reflexive_priority(self) -> int:
        """The PRIORITY that checks from here carry (RFC 8445 section 7.1.1)."""
        return priority_of("prflx", self.local_preference)


@dataclass(slots=True)
class RemoteCandidate:
    endpoint: Endpoint
    type: str
    priority: int


@dataclass(slots=True, eq=False)
class Pair:
    """A base and a remote candidate, and how far checking them has come.

    triggered_by: transaction of the incoming check that last triggered one of ours.
    valid_until: when the last answer stops being good. check: the one being retransmitted.
    is_retry: it failed before and is tried again with less effort.
    """

    base: Base
    candidate: RemoteCandidate
    remote: Remote
    state: State = State.WAITING
    check: "Check | None" = None
    is_retry: bool = False
    transmissions: int = 0
    local_type: str = "host"
    rtt_s: float | None = None
    valid_until: float = 0.0
    is_nominated: bool = False
    triggered_by: bytes = b""

    @property
    def path(self) -> Path:
        return Path(self.candidate.endpoint, self.base.address)

    def is_valid(self, now: float) -> bool:
        return self.state is State.SUCCEEDED and now < self.valid_until

    def priority(self, controlling: bool) -> int:
        local, remote = self.base.priority, self.candidate.priority
        return pair_priority(local, remote) if controlling else pair_priority(remote, local)

    def status(self, controlling: bool, selected: "Pair | None") -> PairStatus:
        return PairStatus(
            path=self.path,
            local_type=self.local_type,
            remote_type=self.candidate.type,
            state=self.state.value,
            priority=self.priority(controlling),
            transmissions=self.transmissions,
            rtt_s=self.rtt_s,
            is_selected=self is selected,
        )


@dataclass(slots=True, eq=False)
class Check:
    """One STUN transaction of ours. controlling: the role it was sent in. nominating: it carries
    USE-CANDIDATE. sent: how often so far.
    """

    transaction_id: bytes
    pair: Pair
    data: bytes
    controlling: bool
    nominating: bool
    started_at_s: float
    next_at_s: float
    rto_s: float
    sent: int = 1
