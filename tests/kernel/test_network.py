"""Namespaces do to datagrams what a scenario's sites, lines and faults say; no daemon runs."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from sims.kernel.network import KernelNetwork, open_network
from sims.model.faults import Move
from sims.model.link import LineModel, LinkModel
from sims.model.nat import NAT_KINDS, Firewall, NatModel, PortAssignment
from sims.model.scenario import Machine, Scenario, Site

pytestmark = pytest.mark.root

PLAIN = LineModel(LinkModel(), LinkModel())
DEAD = LineModel(None, None)
PORT = 5_000
SILENCE_S = 0.3
"""How long is waited for what shall not come."""
ANSWER_S = 30.0

Address = tuple[str, int]
Open = Callable[..., KernelNetwork]


def site(name: str, kind: str = "port-restricted", **more: object) -> Site:
    nat = NAT_KINDS[kind]
    made = Site(
        name=name,
        line=PLAIN,
        nats=nat.nats,
        firewall=nat.firewall,
        machines=(Machine(name=f"{name}-pc"),),
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture
def build(labs: Path) -> Iterator[Open]:
    """Builds the network of sites; it stands until the test ends."""
    with ExitStack() as stack:

        def build(
            *sites: Site, ip_versions: tuple[int, ...] = (4,), **more: object
        ) -> KernelNetwork:
            scenario = Scenario(
                name="s",
                duration_s=60,
                sites=sites,
                bootstraps=2,
                ip_versions=ip_versions,
                **more,  # type: ignore[arg-type]
            )
            return stack.enter_context(open_network(scenario, 1, labs))

        yield build


class Speaker:
    """A UDP socket on a machine."""

    def __init__(self, network: KernelNetwork, machine: str, port: int = PORT) -> None:
        layout = network.layout
        family = socket.AF_INET if 4 in layout.versions else socket.AF_INET6
        with network[machine].entered():
            self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(("", port))
        self.port = port

    def send(self, address: Address, text: bytes = b"hello") -> None:
        self.socket.sendto(text, address)

    def source_of_next(self, wait_s: float = ANSWER_S) -> Address | None:
        """Who sent what comes next; None where nothing does."""
        self.socket.settimeout(wait_s)
        try:
            _, source = self.socket.recvfrom(1_500)
        except TimeoutError:
            return None
        host, port, *_ = source
        return host, port

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def speak() -> Iterator[Callable[..., Speaker]]:
    with ExitStack() as stack:

        def speak(network: KernelNetwork, machine: str, port: int = PORT) -> Speaker:
            speaker = Speaker(network, machine, port)
            stack.callback(speaker.close)
            return speaker

        yield speak


def address_of(network: KernelNetwork, machine: str, site: str = "") -> Address:
    cable = network.layout.places[machine, site or machine]
    return str(cable.addresses[-1].ip), PORT


def seen_at(speaker: Speaker, server: Speaker, address: Address) -> Address:
    """Where a server sees a socket that speaks to it."""
    speaker.send(address)
    seen = server.source_of_next()
    assert seen is not None
    return seen


def test_a_lines_latency_is_waited_for_on_both_ways(
    build: Open, speak: Callable[..., Speaker]
) -> None:
    slow = LinkModel(latency_s=0.05)
    network = build(site("home", line=LineModel(slow, slow)))
    one, server = speak(network, "home-pc"), speak(network, "bootstrap-1")
    began_s = time.monotonic()
    server.send(seen_at(one, server, address_of(network, "bootstrap-1")))
    assert one.source_of_next() is not None
    assert time.monotonic() - began_s >= 0.1


def test_a_line_that_is_dead_carries_nothing_until_it_is_mended(
    build: Open, speak: Callable[..., Speaker]
) -> None:
    network = build(site("home"))
    one, server = speak(network, "home-pc"), speak(network, "bootstrap-1")
    at = address_of(network, "bootstrap-1")
    seen_at(one, server, at)
    usual = network.line_of("home")
    network.set_line("home", DEAD)
    one.send(at)
    assert server.source_of_next(SILENCE_S) is None
    network.set_line("home", usual)
    seen_at(one, server, at)


@pytest.mark.parametrize(
    ("nat", "is_one", "is_preserved"),
    [
        (NatModel(), True, True),
        (NatModel(ports=PortAssignment.RANDOM), True, False),
        (NAT_KINDS["full-cone"].nats[0], True, True),
        (NAT_KINDS["symmetric"].nats[0], False, False),
        (NAT_KINDS["one-to-one"].nats[0], True, True),
    ],
)
def test_mappings_are_those_of_the_model(
    build: Open,
    speak: Callable[..., Speaker],
    nat: NatModel,
    is_one: bool,
    is_preserved: bool,
) -> None:
    network = build(site("home", nats=(nat,)))
    one = speak(network, "home-pc")
    names = ("bootstrap-1", "bootstrap-2")
    seen = [seen_at(one, speak(network, name), address_of(network, name)) for name in names]
    assert (seen[0] == seen[1]) is is_one
    assert (seen[0][1] == PORT) is is_preserved


@pytest.mark.parametrize(
    ("kind", "same_host", "others"),
    [
        ("full-cone", True, True),
        ("address-restricted", True, False),
        ("port-restricted", False, False),
        ("cgnat", False, False),
    ],
)
def test_filters_are_those_of_the_model(
    build: Open, speak: Callable[..., Speaker], kind: str, same_host: bool, others: bool
) -> None:
    network = build(site("home", kind))
    one = speak(network, "home-pc")
    server, again = speak(network, "bootstrap-1"), speak(network, "bootstrap-1", PORT + 1)
    other = speak(network, "bootstrap-2")
    seen = seen_at(one, server, address_of(network, "bootstrap-1"))
    for speaker, comes_in in ((server, True), (again, same_host), (other, others)):
        speaker.send(seen)
        assert (one.source_of_next(ANSWER_S if comes_in else SILENCE_S) is not None) is comes_in


def test_who_has_the_public_address_alone_is_reached_unasked(
    build: Open, speak: Callable[..., Speaker]
) -> None:
    network = build(site("cloud", "one-to-one"))
    one, server = speak(network, "cloud-pc"), speak(network, "bootstrap-1")
    (public,) = network.layout.seen_as("cloud")
    server.send((str(public.network_address), PORT))
    assert one.source_of_next() == address_of(network, "bootstrap-1")


def test_a_carriers_nat_turns_round_what_its_customers_send_each_other(
    build: Open, speak: Callable[..., Speaker]
) -> None:
    carrier = Site(
        name="carrier", line=PLAIN, nats=(NatModel(ports=PortAssignment.RANDOM, hairpins=True),)
    )
    homes = (site("a", behind="carrier"), site("b", behind="carrier"))
    network = build(carrier, *homes)
    a, b = speak(network, "a-pc"), speak(network, "b-pc")
    server, at = speak(network, "bootstrap-1"), address_of(network, "bootstrap-1")
    a_seen, b_seen = seen_at(a, server, at), seen_at(b, server, at)
    b.send(a_seen)  # opens b's own NAT, and is kept out by a's
    a.send(b_seen)
    assert b.source_of_next() == a_seen


@pytest.mark.parametrize(
    ("firewall", "goes_out", "comes_in"),
    [
        (Firewall.NONE, True, True),
        (Firewall.STATEFUL, True, False),
        (Firewall.UDP_BLOCKED, False, False),
        (Firewall.TCP_443_ONLY, False, False),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_firewalls_judge_what_nobody_translates(
    build: Open,
    speak: Callable[..., Speaker],
    firewall: Firewall,
    goes_out: bool,
    comes_in: bool,
    version: int,
) -> None:
    network = build(site("rack", "none", firewall=firewall), ip_versions=(version,))
    one, server = speak(network, "rack-pc"), speak(network, "bootstrap-1")
    server.send(address_of(network, "rack-pc", "rack"))
    assert bool(one.source_of_next(ANSWER_S if comes_in else SILENCE_S)) is comes_in
    one.send(address_of(network, "bootstrap-1"))
    assert bool(server.source_of_next(ANSWER_S if goes_out else SILENCE_S)) is goes_out


def test_mappings_live_as_long_as_the_model_says(build: Open) -> None:
    network = build(site("home", nats=(NatModel(lifetime_s=40),)))
    for name, lifetime_s in (("", 30), ("_stream", 40)):
        with network["home/0"].entered():
            path = Path(f"/proc/sys/net/netfilter/nf_conntrack_udp_timeout{name}")
            assert int(path.read_text()) == lifetime_s


@pytest.mark.parametrize("version", [4, 6])
def test_who_gets_another_address_speaks_from_there(
    build: Open, speak: Callable[..., Speaker], version: int
) -> None:
    network = build(site("home"), ip_versions=(version,))
    server, at = speak(network, "bootstrap-1"), address_of(network, "bootstrap-1")
    one = speak(network, "home-pc")
    before = seen_at(one, server, at)
    network.change_address("home")
    after = seen_at(one, server, at)
    assert after[0] != before[0]
    assert any(ip_address(after[0]) in seen for seen in network.layout.seen_as("home"))
    server.send(after)
    assert one.source_of_next() is not None
    server.send(before)
    assert one.source_of_next(SILENCE_S) is None


def test_a_nat_that_reboots_knows_nobody(build: Open, speak: Callable[..., Speaker]) -> None:
    network = build(site("home", "full-cone"))
    one, server = speak(network, "home-pc"), speak(network, "bootstrap-1")
    seen = seen_at(one, server, address_of(network, "bootstrap-1"))
    network.reboot_nat("home")
    server.send(seen)
    assert one.source_of_next(SILENCE_S) is None


def test_a_partition_of_one_direction_lets_the_other_pass(
    build: Open, speak: Callable[..., Speaker]
) -> None:
    network = build(site("home", "full-cone"), site("rack", "none"))
    one, rack = speak(network, "home-pc"), speak(network, "rack-pc")
    at = address_of(network, "rack-pc", "rack")
    seen = seen_at(one, rack, at)
    block = network.block(("home",), ("rack",))
    one.send(at)
    assert rack.source_of_next(SILENCE_S) is None
    rack.send(seen)
    assert one.source_of_next() is not None
    block.lift()
    seen_at(one, rack, at)


def test_a_partition_goes_on_when_addresses_change(
    build: Open, speak: Callable[..., Speaker]
) -> None:
    network = build(site("rack", "none"))
    rack, server = speak(network, "rack-pc"), speak(network, "bootstrap-1")
    network.block(("bootstrap-1",), ("rack",))
    network.change_address("rack")
    server.send(address_of(network, "rack-pc", "rack"))
    assert rack.source_of_next(SILENCE_S) is None


def test_who_moves_speaks_from_where_it_is(build: Open, speak: Callable[..., Speaker]) -> None:
    move = Move(at_s=1, target="home-pc", to="cafe")
    network = build(site("home"), site("cafe", machines=()), faults=(move,))
    server, at = speak(network, "bootstrap-1"), address_of(network, "bootstrap-1")
    at_home = seen_at(speak(network, "home-pc", 1), server, at)
    network.unplug("home-pc")
    with pytest.raises(OSError, match="unreachable"):
        speak(network, "home-pc", 2).send(at)
    network.plug("home-pc", "cafe")
    at_cafe = seen_at(speak(network, "home-pc", 3), server, at)
    assert at_cafe[0] != at_home[0]
    network.unplug("home-pc")
    network.plug("home-pc", "home")
    assert seen_at(speak(network, "home-pc", 4), server, at)[0] == at_home[0]


def test_who_comes_back_to_a_site_with_other_addresses_has_one(
    build: Open, speak: Callable[..., Speaker]
) -> None:
    network = build(site("rack", "none"))
    server, at = speak(network, "bootstrap-1"), address_of(network, "bootstrap-1")
    before = seen_at(speak(network, "rack-pc", 1), server, at)
    network.unplug("rack-pc")
    network.change_address("rack")
    network.plug("rack-pc", "rack")
    assert seen_at(speak(network, "rack-pc", 2), server, at)[0] != before[0]


def test_machines_of_one_site_reach_each_other_unless_it_isolates(
    build: Open, speak: Callable[..., Speaker]
) -> None:
    machines = (Machine(name="a"), Machine(name="b"))
    for is_isolating in (False, True):
        network = build(site("home", machines=machines, is_isolating=is_isolating))
        a, b = speak(network, "a"), speak(network, "b")
        a.send(address_of(network, "b", "home"))
        wait_s = SILENCE_S if is_isolating else ANSWER_S
        assert (b.source_of_next(wait_s) is None) is is_isolating


def test_nothing_is_left_of_a_network(labs: Path) -> None:
    scenario = Scenario(name="s", duration_s=60, sites=(site("home"),))
    with open_network(scenario, 1, labs):
        assert list(labs.iterdir())
    assert not list(labs.iterdir())
