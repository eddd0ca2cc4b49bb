"""Candidate pairs and the checks that are made on them."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple

from wice.datagram import Endpoint, Path
from wice.ice.candidate import pair_priority, priority_of
from wice.ice.credentials import Credentials
from wice.ice.events import PairStatus
from wice.ice.report import History, PairReport, Purpose
from wice.stun import IntegrityKey

_SMOOTHING: Final = 0.125
"""Weight of a new round trip (RFC 6298 section 2)."""


class State(Enum):
    """Of a pair (RFC 8445 section 6.1.2.6). RESERVED: not checked, since another pair that works
    stands by in its place for the selected one.
    """

    FROZEN = "frozen"
    WAITING = "waiting"
    IN_PROGRESS = "in progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RESERVED = "in reserve"


class Effort(Enum):
    """How often a check is sent before its pair has failed. SPARE: of a pair that is not better
    than the selected one by its kind; RETRY: of one that failed before.
    """

    FULL = auto()
    SPARE = auto()
    RETRY = auto()


class Role(NamedTuple):
    """A role of ours. A new one is made whenever it turns: two are the same only by identity."""

    controlling: bool
    tie_breaker: int


class Remote:
    """The remote agent as its credentials show it."""

    __slots__ = ("credentials", "key", "username")

    def __init__(self, credentials: Credentials, local_ufrag: str) -> None:
        self.credentials = credentials
        self.key = IntegrityKey(credentials.password.encode())
        self.username = f"{credentials.ufrag}:{local_ufrag}".encode()


@dataclass(slots=True)
class Base:
    """What to send from: a local address, or a relayed one (``relayed``: its endpoint).

    address: the local address, or the relayed endpoint as text, which no local address equals. It
    is the ``source`` of paths from here and the ``destination`` of datagrams that came in here, so
    that a port tells the two apart; nothing else looks into it. priority, foundation: of the best
    candidate. is_told: the remote is told it as a host candidate.
    """

    address: str
    priority: int = 0
    local_preference: int = 0
    foundation: str = ""
    relayed: Endpoint | None = None
    is_told: bool = True

    @property
    def host(self) -> str:
        """The IP address whose family the remote's must be."""
        return self.address if self.relayed is None else self.relayed.host

    @property
    def reflexive_priority(self) -> int:
        """The PRIORITY that checks from here carry (RFC 8445 section 7.1.1)."""
        return priority_of("prflx", self.local_preference)


@dataclass(slots=True)
class RemoteCandidate:
    endpoint: Endpoint
    type: str
    priority: int
    foundation: str = ""


@dataclass(slots=True, eq=False)
class Pair:
    """A base and a remote candidate, and how far checking them has come.

    triggered_by: transaction of the incoming check that last triggered one of ours.
    valid_until: when the last answer stops being good. check: the one being retransmitted.
    nomination: the number of the remote's nomination of it, 0 for none; the highest wins. rtt_s:
    of the last answer; smoothed_rtt_s: over ``rtt_samples`` answers to checks that were sent once.
    """

    base: Base
    candidate: RemoteCandidate
    remote: Remote
    state: State = State.WAITING
    check: "Check | None" = None
    effort: Effort = Effort.FULL
    local_type: str = "host"
    rtt_s: float | None = None
    smoothed_rtt_s: float | None = None
    rtt_samples: int = 0
    valid_until: float = 0.0
    nomination: int = 0
    triggered_by: bytes = b""
    history: History = field(default_factory=History)
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.path = Path(self.candidate.endpoint, self.base.address)
        if self.base.relayed is not None:
            self.local_type = "relay"

    @property
    def foundation(self) -> tuple[str, str]:
        """Both candidates' (RFC 8445 section 6.1.2.6)."""
        return self.base.foundation, self.candidate.foundation

    @property
    def kind(self) -> tuple[str, bool]:
        """The remote candidate's type, and whether it is IPv6: what works, works for a kind."""
        return self.candidate.type, self.candidate.endpoint.is_ipv6

    @property
    def spare_kind(self) -> tuple[int, bool]:
        """The relays on the way, and whether the remote's end is IPv6: of each the best stands by
        for the selected pair.
        """
        return self.relay_count, self.candidate.endpoint.is_ipv6

    @property
    def relay_count(self) -> int:
        """Relays on the way: none, one, or one of each side."""
        return (self.base.relayed is not None) + (self.candidate.type == "relay")

    @property
    def is_relayed(self) -> bool:
        return self.relay_count > 0

    @property
    def was_heard(self) -> bool:
        """Something of the remote's came along it: an answer, or a check."""
        return self.history.answers > 0 or self.history.checks_received > 0

    def is_valid(self, now: float) -> bool:
        return self.state is State.SUCCEEDED and now < self.valid_until

    def took(self, rtt_s: float, *, is_exact: bool) -> None:
        """An answer came after ``rtt_s``; exact unless its check was retransmitted."""
        self.rtt_s = rtt_s
        if is_exact and self.rtt_samples:
            assert self.smoothed_rtt_s is not None
            self.smoothed_rtt_s += _SMOOTHING * (rtt_s - self.smoothed_rtt_s)
        elif is_exact or self.smoothed_rtt_s is None:
            self.smoothed_rtt_s = rtt_s
        self.rtt_samples += is_exact

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
            transmissions=self.history.sent,
            rtt_s=self.rtt_s,
            is_selected=self is selected,
        )

    def report(self, controlling: bool, selected: "Pair | None", remark: str) -> PairReport:
        history = self.history
        return PairReport(
            path=self.path,
            local_type=self.local_type,
            remote_type=self.candidate.type,
            state=self.state.value,
            priority=self.priority(controlling),
            is_selected=self is selected,
            is_relayed=self.is_relayed,
            rtt_s=self.smoothed_rtt_s,
            checks_sent=history.sent,
            answers=history.answers,
            checks_received=history.checks_received,
            first_sent_at_s=history.first_sent_at_s,
            last_sent_at_s=history.last_sent_at_s,
            last_answer_at_s=history.last_answer_at_s,
            last_check_received_at_s=history.last_check_received_at_s,
            attempts=history.attempts,
            remark=remark,
        )


@dataclass(slots=True, eq=False)
class Check:
    """One STUN transaction of ours. role: the one it was sent in. nomination: the number of ours
    that it carries with USE-CANDIDATE, 0 for none. sent: how often so far.
    """

    transaction_id: bytes
    pair: Pair
    data: bytes
    role: Role
    purpose: Purpose
    nomination: int
    started_at_s: float
    next_at_s: float
    rto_s: float
    sent: int = 1
