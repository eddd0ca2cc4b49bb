"""The oracle against the simulated network: two sockets that ask each other wherever they can.

What the oracle works out from tables, they find out by packets: nothing is shared but the data.
"""

from dataclasses import replace
from itertools import combinations_with_replacement, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sims.internet.network import Network
from sims.internet.packet import Packet, Protocol
from sims.many.grid import GRID_FIREWALLS, HOMES, grid_scenario
from sims.model.link import LineModel, LinkModel
from sims.model.nat import NAT_KINDS, Filtering, Firewall, Mapping, NatModel, PortAssignment
from sims.model.scenario import Machine, Scenario, Site
from sims.oracle import can_be_direct, why
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import Entropy
from wice.datagram import Endpoint

SERVER = "bootstrap-1"
PORT = 51_820
ROUNDS = 6
LINK = LinkModel(latency_s=0.005)
LINE = LineModel(LINK, LINK)


class Socket:
    """A UDP socket that answers ``QUESTION n`` by ``ANSWER n SOURCE``, where it came from.

    heard_back: an answer came from where its question had been sent to.
    """

    def __init__(self, network: Network, site: str, machine: str) -> None:
        self._attachment = network.attach(site, machine, self._receive)
        self._asked: dict[str, Endpoint] = {}
        self.known: list[Endpoint] = []
        self.seen_at: list[Endpoint] = []
        self.heard_back = False

    @property
    def endpoints(self) -> list[Endpoint]:
        return [Endpoint(str(address.ip), PORT) for address in self._attachment.addresses]

    def ask(self, destination: Endpoint) -> None:
        question = str(len(self._asked))
        self._asked[question] = destination
        self._send(destination, f"QUESTION {question}")

    def ask_all(self) -> None:
        for destination in list(self.known):
            self.ask(destination)

    def learn(self, endpoint: Endpoint) -> None:
        if endpoint not in self.known:
            self.known.append(endpoint)

    def _send(self, destination: Endpoint, text: str) -> None:
        for source in self.endpoints:
            if source.is_ipv6 == destination.is_ipv6:
                packet = Packet(Protocol.UDP, source, destination, text.encode())
                self._attachment.send(packet)

    def _receive(self, packet: Packet) -> None:
        kind, question, *rest = packet.payload.decode().split()
        if kind == "QUESTION":
            self.learn(packet.source)
            self._send(
                packet.source, f"ANSWER {question} {packet.source.host} {packet.source.port}"
            )
        elif self._asked[question] == packet.source:
            self.heard_back = True
            self.seen_at.append(Endpoint(rest[0], int(rest[1])))


def run_until_idle(clock: VirtualClock) -> None:
    """Let everything arrive that is on its way."""
    ends_at_s = clock.now_s + 10
    while clock.now_s < ends_at_s:
        clock.deadline_to_sleep_time(ends_at_s)


def do_reach(scenario: Scenario, one: str, other: str) -> bool:
    """Whether a question of either gets an answer from where it was sent, by trying."""
    clock = VirtualClock()
    network = Network(clock, Entropy(1), scenario.ip_versions, observe=lambda _: None)
    for name in scenario.bootstrap_names:
        network.add_site(Site(name=name, line=LINE))
    waiting = list(scenario.sites)
    added: list[str | None] = [None]
    while waiting:
        site = next(site for site in waiting if site.behind in added)
        network.add_site(site)
        added.append(site.name)
        waiting.remove(site)
    site_of = {machine.name: site.name for site in scenario.sites for machine in site.machines}
    servers = [Socket(network, name, name) for name in scenario.bootstrap_names]
    sockets = [Socket(network, site_of[name], name) for name in (one, other)]
    for server in servers:
        for socket in sockets:
            for endpoint in server.endpoints:
                socket.ask(endpoint)
    run_until_idle(clock)
    for socket, peer in (sockets, sockets[::-1]):
        socket.heard_back = False
        for endpoint in (*peer.endpoints, *peer.seen_at):
            socket.learn(endpoint)
    for _ in range(ROUNDS):
        for socket in sockets:
            socket.ask_all()
        run_until_idle(clock)
    return any(socket.heard_back for socket in sockets)


@pytest.mark.parametrize(("one", "other"), list(product(NAT_KINDS, repeat=2)))
def test_packets_find_what_the_oracle_says_of_kinds(one: str, other: str) -> None:
    scenario = grid_scenario(one, other, 4)
    assert do_reach(scenario, *HOMES) is can_be_direct(scenario, *HOMES)


@pytest.mark.parametrize(("one", "other"), list(product(GRID_FIREWALLS, repeat=2)))
def test_packets_find_what_the_oracle_says_of_firewalls(one: str, other: str) -> None:
    scenario = grid_scenario(one, other, 6)
    assert do_reach(scenario, *HOMES) is can_be_direct(scenario, *HOMES)


nats = st.builds(
    NatModel,
    mapping=st.sampled_from(Mapping),
    filtering=st.sampled_from(Filtering),
    ports=st.sampled_from(PortAssignment),
    hairpins=st.booleans(),
)
lines = st.sampled_from([LINE] * 30 + [LineModel(LINK, None), LineModel(None, LINK)])
firewalls = st.sampled_from([Firewall.NONE] * 20 + [Firewall.STATEFUL] * 5 + list(Firewall))


def nat_of(kind: tuple[Mapping, Filtering]) -> NatModel:
    return NatModel(mapping=kind[0], filtering=kind[1], ports=PortAssignment.RANDOM)


def home(machine: str, nats: tuple[NatModel, ...]) -> Site:
    return Site(name=f"home-of-{machine}", line=LINE, nats=nats, machines=(Machine(name=machine),))


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Two machines, each at one of four sites: carriers and homes, stacked as it comes."""

    def site(name: str, behind: list[str | None]) -> Site:
        return Site(
            name=name,
            line=draw(lines),
            nats=tuple(draw(st.lists(nats, max_size=2))),
            firewall=draw(firewalls),
            behind=draw(st.sampled_from(behind)),
            is_isolating=draw(st.sampled_from([False, False, True])),
        )

    carriers = [site("carrier-1", [None]), site("carrier-2", [None, "carrier-1"])]
    above: list[str | None] = ["carrier-1", "carrier-2", None]
    sites = [site("one", above), site("other", above), *carriers]
    for machine in HOMES:
        at = draw(st.sampled_from([0, 0, 0, 1, 1, 1, 2, 3]))
        machines = (*sites[at].machines, Machine(name=machine))
        sites[at] = replace(sites[at], machines=machines)
    return Scenario(
        name="any",
        duration_s=10,
        sites=tuple(sites),
        bootstraps=draw(st.sampled_from([1] * 8 + [0])),
        ip_versions=draw(st.sampled_from([(4,), (4,), (4,), (6,), (4, 6)])),
    )


@pytest.mark.parametrize(
    ("one", "other"), list(combinations_with_replacement(product(Mapping, Filtering), 2))
)
def test_packets_find_what_the_oracle_says_of_any_two_nats(
    one: tuple[Mapping, Filtering], other: tuple[Mapping, Filtering]
) -> None:
    homes = [home(name, (nat_of(kind),)) for name, kind in zip(HOMES, (one, other), strict=True)]
    scenario = Scenario(name="any", duration_s=10, sites=tuple(homes))
    assert do_reach(scenario, *HOMES) is can_be_direct(scenario, *HOMES)


@settings(max_examples=300)
@given(one=st.lists(nats, min_size=1, max_size=2), other=st.lists(nats, min_size=1, max_size=2))
def test_packets_find_what_the_oracle_says_of_any_stacks(
    one: list[NatModel], other: list[NatModel]
) -> None:
    homes = [home(name, tuple(nats)) for name, nats in zip(HOMES, (one, other), strict=True)]
    scenario = Scenario(name="any", duration_s=10, sites=tuple(homes))
    assert do_reach(scenario, *HOMES) is can_be_direct(scenario, *HOMES)


@settings(max_examples=300)
@given(scenario=scenarios())
def test_packets_find_what_the_oracle_says_of_any_sites(scenario: Scenario) -> None:
    reach = do_reach(scenario, *HOMES)
    assert reach is can_be_direct(scenario, *HOMES), why(scenario, *HOMES)
