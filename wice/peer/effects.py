"""What a peer machine asks to be done, and what it is told of its interface."""

from dataclasses import dataclass, field

from wice.datagram import Path
from wice.events import Event
from wice.ice import Agent, Candidate, MappingBehaviour


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand ``message`` to signaling, addressed to the peer."""

    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegisterAgent:
    """Let ``agent`` use the interface's port."""

    agent: Agent


@dataclass(frozen=True, slots=True)
class UnregisterAgent:
    """``agent`` is done."""

    agent: Agent


@dataclass(frozen=True, slots=True)
class WakeAgent:
    """``agent`` was changed from outside and may have something to send."""

    agent: Agent


@dataclass(frozen=True, slots=True)
class AskServers:
    """Ask the STUN servers and the relays again: the path stopped answering, our NAT may have
    moved us.
    """


@dataclass(frozen=True, slots=True)
class SetPath:
    """Point WireGuard at ``path``."""

    path: Path
    persistent_keepalive_s: int


@dataclass(frozen=True, slots=True)
class Emit:
    """Put ``event`` into the event stream."""

    event: Event


Effect = Publish | RegisterAgent | UnregisterAgent | WakeAgent | AskServers | SetPath | Emit


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the interface tells of itself: candidates, best first, and how its NAT maps."""

    candidates: tuple[Candidate, ...]
    is_complete: bool
    nat_mapping: MappingBehaviour
