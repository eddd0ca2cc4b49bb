"""A simulated network for agents: NATs, latency and loss in virtual time, from one seed."""

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice import Agent, AgentEvent, Candidate, Credentials, Timing
from wice.ice.candidate import host_candidate, relayed_candidate, server_reflexive_candidate

PORT = 51_820
STEPS_MAX = 10_000
STUN_SERVER = Endpoint("203.0.113.1", 3478)


@dataclass
class Nat:
    """A NAT as RFC 4787 describes them.

    mapping, filtering: how much of the remote they depend on: ``endpoint-independent``,
    ``address`` or ``address-and-port``.
    """

    public: str
    mapping: str = "endpoint-independent"
    filtering: str = "address-and-port"
    _ports: dict[object, int] = field(default_factory=dict)
    _inside: dict[int, Endpoint] = field(default_factory=dict)
    _opened: set[tuple[int, object]] = field(default_factory=set)
    _next_port: int = 20_000

    def outbound(self, source: Endpoint, remote: Endpoint) -> Endpoint:
        key = (source, self._part(self.mapping, remote))
        if key not in self._ports:
            self._next_port += 1
            self._ports[key] = self._next_port
            self._inside[self._next_port] = source
        port = self._ports[key]
        self._opened.add((port, self._part(self.filtering, remote)))
        return Endpoint(self.public, port)

    def inbound(self, port: int, remote: Endpoint) -> Endpoint | None:
        is_open = (port, self._part(self.filtering, remote)) in self._opened
        return self._inside.get(port) if is_open else None

    @staticmethod
    def _part(kind: str, remote: Endpoint) -> object:
        return {
            "endpoint-independent": None,
            "address": remote.host,
            "address-and-port": remote,
        }[kind]


@dataclass(eq=False)
class Host:
    """A host with one agent. Give ``nat`` for a private one, ``relay`` for an allocation,
    ``more_relays`` for those on other servers.
    """

    network: "Network"
    addresses: tuple[str, ...]
    agent: Agent
    nat: Nat | None
    relay: Endpoint | None = None
    more_relays: tuple[Endpoint, ...] = ()
    events: list[tuple[float, AgentEvent]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    sent: int = 0
    wanted_at: float | None = None

    @property
    def relays(self) -> tuple[Endpoint, ...]:
        return ((self.relay,) if self.relay is not None else ()) + self.more_relays

    def candidates(self) -> list[Candidate]:
        """Host candidates and, behind a NAT, what the STUN server sees."""
        found = []
        for index, address in enumerate(self.addresses):
            base = Endpoint(address, PORT)
            found.append(host_candidate(base, 65_535 - index))
            if self.nat is not None and not base.is_ipv6:
                mapped = self.nat.outbound(base, STUN_SERVER)
                found.append(server_reflexive_candidate(mapped, base, STUN_SERVER, 65_535 - index))
        for index, relay in enumerate(self.relays):
            found.append(relayed_candidate(relay, relay, STUN_SERVER, 65_535 - index))
        return found

    def named(self, kind: type) -> list[AgentEvent]:
        return [event for _, event in self.events if isinstance(event, kind)]

    def time_of(self, kind: type) -> float:
        return next(at for at, event in self.events if isinstance(event, kind))

    def meet(
        self,
        other: "Host",
        candidates: Sequence[Candidate] | None = None,
        *,
        renomination: bool = False,
    ) -> None:
        """Take the other's whole description."""
        now = self.network.now
        self.agent.set_remote(
            other.agent.local, now, lite=other.agent.lite, renomination=renomination
        )
        for candidate in other.candidates() if candidates is None else candidates:
            self.agent.add_remote_candidate(candidate, now)
        self.agent.end_of_candidates(now)
        self.network.drain(self)


class Network:
    """Delivers what agents send after ``latency_s``, and calls them at their deadlines."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 1_000.0
        self.latency_s = 0.05
        self.loss = 0.0
        self.extra_s: Callable[[Endpoint, Endpoint], float] = lambda *_: 0.0
        self.is_cut: Callable[[Endpoint, Endpoint], bool] = lambda *_: False
        self.on_send: Callable[[Host, bytes], None] = lambda *_: None
        self.hosts: list[Host] = []
        self.permitted: set[tuple[Endpoint, str]] = set()
        self._random = random.Random(seed)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def host(
        self,
        *addresses: str,
        controlling: bool = False,
        nat: Nat | None = None,
        timing: Timing | None = None,
        ready: bool = True,
        relay: Endpoint | None = None,
        lite: bool = False,
    ) -> Host:
        agent = Agent(
            controlling=controlling,
            local=Credentials.generate(self._random.randbytes),
            random_bytes=self._random.randbytes,
            now=self.now,
            timing=timing,
            lite=lite,
        )
        host = Host(self, addresses, agent, nat, relay)
        self.hosts.append(host)
        if ready:
            agent.set_local_candidates(host.candidates(), self.now)
        return host

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        self._at_time(self.now + delay_s, action)

    def _at_time(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(time, self.now), next(self._order), action))

    def drain(self, host: Host) -> None:
        """Carry on what ``host`` wants to send, take its events, note its deadline."""
        while (transmit := host.agent.poll_transmit()) is not None:
            assert transmit.path.source is not None
            host.sent += 1
            self.on_send(host, transmit.data)
            relay = next((r for r in host.relays if str(r) == transmit.path.source), None)
            if relay is not None:
                self._relay(relay, transmit.path.remote, transmit.data)
                continue
            source = Endpoint(transmit.path.source, PORT)
            self._route(host, source, transmit.path.remote, transmit.data)
        while (event := host.agent.poll_event()) is not None:
            host.events.append((self.now, event))
        deadline = host.agent.deadline()
        if deadline is not None and deadline != host.wanted_at:
            host.wanted_at = deadline
            self._at_time(deadline, lambda: self._wake(host, deadline))

    def _wake(self, host: Host, deadline: float) -> None:
        if host.wanted_at != deadline:
            return
        host.wanted_at = None
        host.agent.handle_timeout(self.now)
        self.drain(host)

    def _route(self, host: Host, source: Endpoint, remote: Endpoint, data: bytes) -> None:
        beside = [h for h in self.hosts if h.nat is host.nat and remote.host in h.addresses]
        if host.nat is not None and not beside and not remote.is_ipv6:
            source = host.nat.outbound(source, remote)
        if self._random.random() < self.loss or self.is_cut(source, remote):
            return
        delay_s = self.latency_s + self.extra_s(source, remote)
        if beside:
            self.at(delay_s, lambda: self.deliver(beside[0], data, source, remote.host))
        else:
            self.at(delay_s, lambda: self._arrive(source, remote, data))

    def _relay(self, relay: Endpoint, remote: Endpoint, data: bytes) -> None:
        """From a host through its allocation: as long again as directly. Whom it sends to may
        answer (RFC 8656 section 9).
        """
        self.permitted.add((relay, remote.host))
        if self._random.random() >= self.loss and not self.is_cut(relay, remote):
            self.at(2 * self.latency_s, lambda: self._arrive(relay, remote, data))

    def _arrive(self, source: Endpoint, remote: Endpoint, data: bytes) -> None:
        for host in self.hosts:
            if remote in host.relays:
                if (remote, source.host) in self.permitted:
                    self.deliver(host, data, source, str(remote))
                return
            if host.nat is not None and host.nat.public == remote.host:
                inside = host.nat.inbound(remote.port, source)
                if inside is not None and inside.host in host.addresses:
                    self.deliver(host, data, source, inside.host)
                    return
            elif remote.host in host.addresses and (host.nat is None or remote.is_ipv6):
                self.deliver(host, data, source, remote.host)

    def deliver(self, host: Host, data: bytes, source: Endpoint, destination: str) -> None:
        try:
            host.agent.receive(data, source, destination, self.now)
        except RemoteProtocolError as error:
            host.dropped.append(str(error))
        self.drain(host)

    def run(self, duration_s: float) -> None:
        """Let time pass; a bound on steps catches an agent that never rests."""
        end = self.now + duration_s
        for host in self.hosts:
            self.drain(host)
        for _ in range(STEPS_MAX):
            if not self._queue or self._queue[0][0] > end:
                self.now = end
                return
            self.now, _, action = heapq.heappop(self._queue)
            action()
        raise AssertionError("the agents do not come to rest")


@pytest.fixture
def make_network() -> Callable[[int], Network]:
    return Network


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def make_nat() -> type[Nat]:
    return Nat
