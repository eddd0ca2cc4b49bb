"""Two peer machines back to back: signaling, the path and WireGuard in virtual time."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest

from wice.datagram import Endpoint, Path
from wice.errors import RemoteProtocolError
from wice.events import Event
from wice.ice import Agent, Candidate, MappingBehaviour
from wice.ice.candidate import host_candidate, server_reflexive_candidate
from wice.keys import PrivateKey, PublicKey
from wice.peer.effects import (
    AskServers,
    Emit,
    Gathered,
    Publish,
    RegisterAgent,
    SetPath,
    UnregisterAgent,
    WakeAgent,
)
from wice.peer.machine import PeerMachine

STEPS_MAX = 20_000


@dataclass
class Side:
    """One host: its machine, the agents on its port, and what was asked of its device.

    outside: the address that its NAT shows; the NAT lets in who was sent to before.
    """

    host: str
    outside: str
    public_key: PublicKey
    machine: PeerMachine
    agents: list[Agent] = field(default_factory=list)
    paths: list[tuple[float, Path]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    published: int = 0
    sent_to: set[str] = field(default_factory=set)


class Mesh:
    """Two hosts that can reach each other; delays in seconds, one way."""

    def __init__(self, *, signaling_s: float = 0.05, path_s: float = 0.01, seed: int = 1) -> None:
        self.signaling_s = signaling_s
        self.path_s = path_s
        self.now = 1000.0
        self.random = random.Random(seed)
        self.is_path_up = True
        self.is_signaling_up = True
        self.is_handshake_simulated = True
        self.replayed: list[bytes] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        keys = sorted(PrivateKey(bytes([i] * 32)).public_key() for i in (1, 2))
        self.controlling = self._side("192.0.2.1", keys[0], keys[1])
        self.controlled = self._side("192.0.2.2", keys[1], keys[0])
        self.drain()

    def _side(self, host: str, ours: PublicKey, theirs: PublicKey) -> Side:
        return Side(host, host, ours, self._machine(host, ours, theirs))

    def _machine(self, host: str, ours: PublicKey, theirs: PublicKey) -> PeerMachine:
        return PeerMachine(
            interface="wg0",
            public_key=theirs,
            controlling=ours < theirs,
            random_bytes=self.random.randbytes,
            wall_time=lambda: 1_700_000_000 + self.now,
            gathered=Gathered(
                tuple(_candidates(host)), True, MappingBehaviour.ENDPOINT_INDEPENDENT
            ),
            now=self.now,
        )

    def restart(self, side: Side) -> None:
        """The daemon of ``side`` dies and comes back without memory."""
        side.agents.clear()
        side.paths.clear()
        side.machine = self._machine(side.host, side.public_key, side.machine.public_key)
        self.drain()

    def move(self, side: Side, outside: str) -> None:
        """The NAT of ``side`` gets another public address; nobody is told."""
        side.outside = outside
        side.sent_to.clear()

    def other(self, side: Side) -> Side:
        return self.controlled if side is self.controlling else self.controlling

    def run(self, duration_s: float) -> None:
        """Let virtual time pass."""
        end = self.now + duration_s
        for _ in range(STEPS_MAX):
            deadlines = [end]
            if self._queue:
                deadlines.append(self._queue[0][0])
            for side in (self.controlling, self.controlled):
                timers = [side.machine.deadline(), *(agent.deadline() for agent in side.agents)]
                deadlines.extend(at for at in timers if at is not None)
            self.now = max(self.now, min(deadlines))
            if self.now >= end:
                return
            while self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
            for side in (self.controlling, self.controlled):
                side.machine.handle_timeout(self.now)
                for agent in list(side.agents):
                    agent.handle_timeout(self.now)
            self.drain()
        raise AssertionError("too many steps: something spins")

    def drain(self) -> None:
        for side in (self.controlling, self.controlled):
            is_busy = True
            while is_busy:
                is_busy = self._drain_machine(side) | self._drain_agents(side)

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay_s, next(self._order), action))

    def _drain_machine(self, side: Side) -> bool:
        is_busy = False
        while (effect := side.machine.poll_effect()) is not None:
            is_busy = True
            match effect:
                case Publish(message=message):
                    side.published += 1
                    self.later(self.signaling_s, lambda m=message: self._signal(side, m))
                case RegisterAgent(agent=agent):
                    side.agents.append(agent)
                    agent.set_local_candidates(_candidates(side.host), self.now)
                case UnregisterAgent(agent=agent):
                    side.agents.remove(agent)
                case AskServers():
                    self.later(2 * self.path_s, lambda: self._gathered(side))
                case SetPath(path=path):
                    side.paths.append((self.now, path))
                    if self.is_path_up and self.is_handshake_simulated:
                        self.later(2 * self.path_s, self._handshake)
                case Emit(event=event):
                    side.events.append(event)
                case WakeAgent():
                    pass
        return is_busy

    def _drain_agents(self, side: Side) -> bool:
        is_busy = False
        for agent in list(side.agents):
            while (transmit := agent.poll_transmit()) is not None:
                is_busy = True
                side.sent_to.add(transmit.path.remote.host)
                if self.is_path_up and transmit.path.remote.host == self.other(side).outside:
                    data = transmit.data
                    self.later(self.path_s, lambda data=data: self._arrive(side, data))
            while (event := agent.poll_event()) is not None:
                is_busy = True
                side.machine.agent_event(agent, event, self.now)
        return is_busy

    def _signal(self, sender: Side, message: bytes) -> None:
        self.replayed.append(message)
        if not self.is_signaling_up:
            return
        self.other(sender).machine.receive_message(message, self.now)

    def _arrive(self, sender: Side, data: bytes) -> None:
        receiver = self.other(sender)
        if sender.outside not in receiver.sent_to:
            return
        for agent in list(receiver.agents):
            try:
                agent.receive(data, Endpoint(sender.outside, 51820), receiver.host, self.now)
            except RemoteProtocolError:
                continue

    def _gathered(self, side: Side) -> None:
        """The STUN server's answer."""
        base, mapped = Endpoint(side.host, 51820), Endpoint(side.outside, 51820)
        server = Endpoint("203.0.113.1", 3478)
        candidates = _candidates(side.host)
        if mapped != base:
            candidates.append(server_reflexive_candidate(mapped, base, server, 65_535))
        for agent in side.agents:
            agent.set_local_candidates(candidates, self.now)
        mapping = MappingBehaviour.ENDPOINT_INDEPENDENT
        side.machine.gathered_changed(Gathered(tuple(candidates), True, mapping), self.now)

    def _handshake(self) -> None:
        for side in (self.controlling, self.controlled):
            path = Path(Endpoint(self.other(side).outside, 51820))
            side.machine.handshake_completed(path, self.now)


def _candidates(host: str) -> list[Candidate]:
    return [host_candidate(Endpoint(host, 51820), 65_535)]


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()
