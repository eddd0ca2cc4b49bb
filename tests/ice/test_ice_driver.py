"""The driver over ports that are joined in memory, in virtual time."""

import random
from collections.abc import Callable

import pytest
import trio
import trio.testing

from wice.datagram import Datagram, Endpoint, Path
from wice.events import Dropped, EventStream
from wice.ice import (
    Agent,
    AgentEvent,
    CandidatePolicy,
    Credentials,
    IceDriver,
    PairSelected,
    format_candidate,
    parse_candidate,
    relayed_candidate,
)
from wice.stun import (
    Attribute,
    BindingServer,
    Class,
    Method,
    encode,
    pack_xor_address,
    parse,
)

LATENCY_S = 0.05
SERVER = Endpoint("203.0.113.1", 3478)
DEAD_SERVER = Endpoint("203.0.113.2", 3478)


class Wire:
    """Carries datagrams between ports by address, and asks a STUN server behind a full-cone NAT."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.ports: dict[str, Port] = {}
        self.public: dict[str, str] = {}
        self.server = BindingServer()
        self.asked: list[tuple[float, Endpoint]] = []

    def carry(self, data: bytes, source: Endpoint, remote: Endpoint) -> None:
        self.nursery.start_soon(self._carry, data, source, remote)

    async def _carry(self, data: bytes, source: Endpoint, remote: Endpoint) -> None:
        await trio.sleep(LATENCY_S)
        seen = Endpoint(self.public.get(source.host, source.host), source.port)
        if remote in (SERVER, DEAD_SERVER):
            self.asked.append((trio.current_time(), remote))
            answer = self.server.respond(data, seen, trio.current_time())
            if remote == SERVER and answer is not None:
                await trio.sleep(LATENCY_S)
                self.ports[source.host].deliver(answer.data, SERVER, source.host)
            return
        inside = next((i for i, o in self.public.items() if o == remote.host), remote.host)
        if inside in self.ports:
            self.ports[inside].deliver(data, seen, inside)


class Port:
    """A DatagramPort with one address."""

    port = 51_820

    def __init__(self, wire: Wire, address: str) -> None:
        self.wire, self.address = wire, address
        self.sender, self.receiver = trio.open_memory_channel[Datagram](1_000)
        wire.ports[address] = self

    def send(self, data: bytes, path: Path) -> None:
        source = Endpoint(path.source or self.address, self.port)
        self.wire.carry(data, source, path.remote)

    def deliver(self, data: bytes, source: Endpoint, destination: str | None) -> None:
        self.sender.send_nowait(Datagram(data, source, destination))

    async def receive(self) -> Datagram:
        try:
            return await self.receiver.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError from None


class Side:
    """One interface with its driver, and what it reported."""

    def __init__(self, wire: Wire, address: str) -> None:
        self.port = Port(wire, address)
        self.addresses = [address, "fe80::1", "127.0.0.1"]
        self.stream = EventStream()
        self.dropped: list[str] = []
        self.changes: list[list[str]] = []
        self.driver = IceDriver(self.port, lambda: self.addresses, _random(), self)
        self.driver.on_candidates_changed = self._changed

    def emit(self, event: object) -> None:
        assert isinstance(event, Dropped)
        assert event.room == "ice"
        self.dropped.append(event.reason)

    def _changed(self) -> None:
        self.changes.append([format_candidate(c) for c in self.driver.candidates])

    def types(self) -> list[tuple[str, str]]:
        return [(c.type, c.host) for c in self.driver.candidates]


def _random() -> Callable[[int], bytes]:
    return random.Random(7).randbytes


_credentials = _random()


def _agent(controlling: bool) -> Agent:
    return Agent(
        controlling=controlling,
        local=Credentials.generate(_credentials),
        random_bytes=_credentials,
        now=trio.current_time(),
    )


def _meet(driver: IceDriver, agent: Agent, other: Agent, candidates: IceDriver) -> None:
    now = trio.current_time()
    agent.set_remote(other.local, now)
    for candidate in candidates.candidates:
        agent.add_remote_candidate(candidate, now)
    driver.wake(agent)


async def test_gathers_and_connects(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    wire = Wire(nursery)
    wire.public = {"10.0.0.1": "198.51.100.1", "10.0.0.2": "198.51.100.2"}
    sides = [Side(wire, "10.0.0.1"), Side(wire, "10.0.0.2")]
    for side in sides:
        assert side.types() == [("host", side.port.address)]
        assert side.driver.candidates_complete
        side.driver.set_stun_servers([SERVER, DEAD_SERVER])
        assert not side.driver.candidates_complete
        nursery.start_soon(side.driver.run)
    await trio.sleep(2.5 * LATENCY_S)
    for side in sides:
        assert side.types()[1:] == [("srflx", wire.public[side.port.address])]
        assert side.driver.mappings[0].server == SERVER

    selected: list[tuple[float, AgentEvent]] = []
    agents = [_agent(True), _agent(False)]
    for side, agent in zip(sides, agents, strict=True):
        side.driver.register(agent, lambda event: selected.append((trio.current_time(), event)))
    started_at = trio.current_time()
    _meet(sides[0].driver, agents[0], agents[1], sides[1].driver)
    _meet(sides[1].driver, agents[1], agents[0], sides[0].driver)
    await trio.sleep(60)
    chosen = [(at - started_at, e) for at, e in selected if isinstance(e, PairSelected)]
    assert len(chosen) == 2
    assert max(at for at, _ in chosen) < 4.2 * LATENCY_S
    for agent in agents:
        assert agent.selected is not None
    for side in sides:
        assert side.driver.candidates_complete
        # A private address of the other answers as its public one here: not the pair that was
        # checked.
        assert "an answer from elsewhere than its check went to" in side.dropped
        side.port.sender.close()


async def test_a_changed_address_moves_candidates_and_agents(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    wire = Wire(nursery)
    side = Side(wire, "10.0.0.1")
    wire.public = {"10.0.0.1": "198.51.100.1"}
    side.driver.set_stun_servers([SERVER])
    nursery.start_soon(side.driver.run)
    agent = _agent(True)
    side.driver.register(agent, lambda _: None)
    await trio.sleep(1)
    side.driver.refresh()
    assert len(side.changes) == 2  # asked; answered
    agent.set_remote(Credentials("abcd", "p" * 22), trio.current_time())
    agent.add_remote_candidate(
        parse_candidate("1 1 udp 1 192.0.2.1 9 typ host"), trio.current_time()
    )
    assert [pair.path.source for pair in agent.pairs()] == ["10.0.0.1"]
    side.addresses = ["10.9.0.1", "2001:db8::1"]
    asked = len(wire.asked)
    side.driver.refresh()
    assert side.types() == [("host", "2001:db8::1"), ("host", "10.9.0.1")]
    assert [pair.path.source for pair in agent.pairs()] == ["10.9.0.1"]
    await trio.sleep(2 * LATENCY_S)
    assert len(wire.asked) == asked + 1
    side.port.sender.close()


async def test_mappings_are_kept_fresh(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    wire = Wire(nursery)
    side = Side(wire, "10.0.0.1")
    wire.public = {"10.0.0.1": "198.51.100.1"}
    side.driver.set_stun_servers([SERVER])
    nursery.start_soon(side.driver.run)
    await trio.sleep(60)
    assert len(wire.asked) == 3
    wire.public = {"10.0.0.1": "198.51.100.9"}
    await trio.sleep(30)
    assert side.types()[1] == ("srflx", "198.51.100.9")
    side.driver.set_stun_servers([])
    assert [kind for kind, _ in side.types()] == ["host"]
    side.port.sender.close()


async def test_what_belongs_to_nobody_is_counted_and_ends_nothing(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    wire = Wire(nursery)
    side = Side(wire, "10.0.0.1")
    side.driver.set_stun_servers([SERVER])
    nursery.start_soon(side.driver.run)
    stranger = Endpoint("192.0.2.66", 6)
    tid = bytes(12)
    mapped = [(Attribute.XOR_MAPPED_ADDRESS, pack_xor_address(stranger, tid))]
    datagrams = [
        b"",
        b"\xff" * 100,
        encode(Method.BINDING, Class.REQUEST, tid),
        encode(Method.BINDING, Class.REQUEST, tid, [(Attribute.USERNAME, b"ours:theirs")]),
        encode(Method.BINDING, Class.REQUEST, tid, [(Attribute.USERNAME, b"\xff")]),
        encode(Method.BINDING, Class.SUCCESS, tid, mapped),
        encode(Method.ALLOCATE, Class.REQUEST, tid),
    ]
    for data in datagrams:
        side.port.deliver(data, stranger, "10.0.0.1")
    await trio.sleep(0.001)
    assert len(side.dropped) == len(datagrams)
    await trio.sleep(1)
    assert side.types()[0] == ("host", "10.0.0.1")
    assert side.driver.candidates_complete
    side.port.sender.close()


@pytest.mark.parametrize(
    ("source", "destination", "accepted"),
    [
        (SERVER, "10.0.0.1", True),
        (SERVER, None, True),
        (DEAD_SERVER, "10.0.0.1", False),
        (SERVER, "10.0.0.77", False),
    ],
)
async def test_a_mapping_is_learned_only_from_the_server_asked(
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
    source: Endpoint,
    destination: str | None,
    accepted: bool,
) -> None:
    wire = Wire(nursery)
    side = Side(wire, "10.0.0.1")
    sent: list[bytes] = []
    side.port.send = lambda data, _path: sent.append(data)  # type: ignore[method-assign]
    side.driver.set_stun_servers([SERVER])
    nursery.start_soon(side.driver.run)
    tid = parse(sent[0]).transaction_id
    value = pack_xor_address(Endpoint("198.51.100.1", 9), tid)
    answer = encode(Method.BINDING, Class.SUCCESS, tid, [(Attribute.XOR_MAPPED_ADDRESS, value)])
    side.port.deliver(answer, source, destination)
    await trio.sleep(0.001)
    assert bool(side.driver.mappings) == accepted
    assert bool(side.dropped) != accepted
    side.port.sender.close()


async def test_an_unregistered_agent_hears_and_says_nothing(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    wire = Wire(nursery)
    sides = [Side(wire, "10.0.0.1"), Side(wire, "10.0.0.2")]
    agents = [_agent(True), _agent(False)]
    heard: list[AgentEvent] = []

    def listen(event: AgentEvent) -> None:
        heard.append(event)
        sides[0].driver.unregister(agents[0])

    sides[0].driver.register(agents[0], listen)
    sides[1].driver.register(agents[1], lambda _: None)
    for side in sides:
        nursery.start_soon(side.driver.run)
    _meet(sides[0].driver, agents[0], agents[1], sides[1].driver)
    assert len(heard) == 1
    _meet(sides[1].driver, agents[1], agents[0], sides[0].driver)
    await trio.sleep(1)
    assert len(heard) == 1
    assert agents[1].selected is None
    assert "a check for no ufrag of ours" in sides[0].dropped
    for side in sides:
        side.port.sender.close()


async def test_a_listener_that_wakes_its_agent_hears_each_event_after_the_last(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    wire = Wire(nursery)
    sides = [Side(wire, "10.0.0.1"), Side(wire, "10.0.0.2")]
    agents = [_agent(True), _agent(False)]
    steps: list[str] = []

    def listen(event: AgentEvent) -> None:
        steps.append("in")
        sides[0].driver.wake(agents[0])
        steps.append("out")

    for side, agent in zip(sides, agents, strict=True):
        nursery.start_soon(side.driver.run)
        side.driver.register(agent, listen if side is sides[0] else lambda _: None)
    now = trio.current_time()
    agents[0].set_remote(agents[1].local, now)
    # Several events wait when it is woken at last.
    agents[1].set_remote(agents[0].local, now)
    for index in range(2):
        agents[index].add_remote_candidate(sides[1 - index].driver.candidates[0], now)
    request = agents[1].poll_transmit()
    assert request is not None
    agents[0].receive(request.data, Endpoint("10.0.0.2", 51_820), "10.0.0.1", now)
    for side, agent in zip(sides, agents, strict=True):
        side.driver.wake(agent)
    assert steps == ["in", "out"] * 2
    await trio.sleep(1)
    assert steps == ["in", "out"] * (len(steps) // 2)
    for side in sides:
        side.port.sender.close()


async def test_relayed_candidates_reach_agents_and_paths_name_the_allocation(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """The port is told by ``source`` to use the allocation, and says so by ``destination``."""
    wire = Wire(nursery)
    a, b = Side(wire, "192.0.2.1"), Side(wire, "192.0.2.2")
    relayed = Endpoint("203.0.113.9", 49_152)
    sent: list[Path] = []
    a.port.send = lambda _, path: sent.append(path)  # type: ignore[method-assign]
    a.driver.set_relayed_candidates([relayed_candidate(relayed, relayed, SERVER, 65_535)])
    assert ("relay", relayed.host) in a.types()
    agent = _agent(True)
    a.driver.register(agent, lambda _: None)
    _meet(a.driver, agent, _agent(False), b.driver)
    nursery.start_soon(a.driver.run)
    await trio.sleep(0.1)
    remote = Endpoint("192.0.2.2", 51_820)
    assert Path(remote, str(relayed)) in sent
    assert Path(remote, "192.0.2.1") in sent
    a.driver.set_relayed_candidates([])
    assert {pair.path.source for pair in agent.pairs()} == {"192.0.2.1"}
    nursery.cancel_scope.cancel()


async def test_what_is_told_is_not_all_that_is_used(nursery: trio.Nursery) -> None:
    wire = Wire(nursery)
    port = Port(wire, "192.168.1.2")
    addresses = ["192.168.1.2", "2001:db8::2"]
    driver = IceDriver(
        port, lambda: addresses, _random(), EventStream(), policy=CandidatePolicy.PUBLIC
    )
    assert [c.host for c in driver.candidates] == ["2001:db8::2", "192.168.1.2"]
    assert [c.host for c in driver.told_candidates] == ["2001:db8::2"]
    agent = _agent(True)
    driver.register(agent, lambda _: None)
    agent.set_remote(_agent(False).local, trio.current_time())
    for host in ("192.168.1.9", "198.51.100.9"):
        candidate = parse_candidate(f"1 1 udp 9 {host} 9 typ host")
        agent.add_remote_candidate(candidate, trio.current_time())
    assert [pair.path.remote.host for pair in agent.pairs()] == ["198.51.100.9"]
