"""The ICE agents of one peer, each of one of our own sessions with it."""

from dataclasses import dataclass
from typing import Final

from wice.ice import Agent, Credentials

AGENTS_MAX: Final = 2
"""The agent that carries the tunnel, and the newest session's."""


@dataclass(slots=True, eq=False)
class Generation:
    """The ICE agent of one local session.

    remote_ufrag: of the description it checks against. heard_ufrag: who checked us last.
    is_peer_sessionless: the peer said that it has no WireGuard session with us.
    """

    local_session: bytes
    agent: Agent
    credentials: Credentials
    began_at_s: float
    remote_session: bytes | None = None
    remote_ufrag: str = ""
    heard_ufrag: str = ""
    is_peer_sessionless: bool = False


class Generations:
    """Those there are, oldest first. carrying: whose pair carries the tunnel."""

    def __init__(self) -> None:
        self.carrying: Generation | None = None
        self._all: list[Generation] = []

    def __len__(self) -> int:
        return len(self._all)

    @property
    def newest(self) -> Generation | None:
        return self._all[-1] if self._all else None

    @property
    def idle(self) -> tuple[Generation, ...]:
        """Those that do not carry the tunnel."""
        return tuple(g for g in self._all if g is not self.carrying)

    @property
    def agents(self) -> tuple[Agent, ...]:
        """The one that carries the tunnel, then the newest session's where that is another."""
        carrying = () if self.carrying is None else (self.carrying,)
        return tuple(generation.agent for generation in (*carrying, *reversed(self.idle)))

    def of_agent(self, agent: Agent) -> Generation | None:
        return next((g for g in self._all if g.agent is agent), None)

    def of_session(self, local_session: bytes) -> Generation | None:
        return next((g for g in self._all if g.local_session == local_session), None)

    def add(self, generation: Generation) -> None:
        """It is the newest from now on."""
        self._all.append(generation)
        assert len(self._all) <= AGENTS_MAX

    def remove(self, generation: Generation) -> None:
        self._all.remove(generation)
        if self.carrying is generation:
            self.carrying = None

    def is_outdated(self, generation: Generation) -> bool:
        """Whether a newer one carries the tunnel already."""
        if self.carrying is None:
            return False
        return self._all.index(generation) < self._all.index(self.carrying)
