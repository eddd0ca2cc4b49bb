"""The NATs are what they claim to be, seen by real UDP sockets (RFC 4787)."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sims.lab.lab import Lab, open_lab
from sims.lab.namespaces import LabError
from sims.lab.nat import NAT_KINDS, PORT_RESTRICTED_RULES, WAN, Nat
from sims.lab.topology import CORE, Site, Topology

pytestmark = pytest.mark.root

TIMEOUT_S = 30.0
INSIDE_PORT = 40_000
Address = tuple[str, int]
OpenSocket = Callable[[Lab, str, int], socket.socket]


@pytest.fixture
def open_socket() -> Iterator[OpenSocket]:
    """Opens a UDP socket inside a node."""
    with ExitStack() as stack:

        def open_socket(lab: Lab, node: str, port: int) -> socket.socket:
            with lab[node].entered():
                udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            udp.bind(("0.0.0.0", port))
            udp.settimeout(TIMEOUT_S)
            return udp

        yield open_socket


def public(lab: Lab, node: str, port: int) -> Address:
    return str(lab.nodes[node].public_address), port


@pytest.fixture
def lab(build: Callable[..., Lab]) -> Lab:
    return build(alice="port-restricted", bob="port-restricted", carol="none")


def test_mapping_is_endpoint_independent_and_preserves_the_port(
    lab: Lab, open_socket: OpenSocket
) -> None:
    alice = open_socket(lab, "alice", INSIDE_PORT)
    for node, port in (("carol", 5000), ("carol", 5001), ("bootstrap", 5000)):
        server = open_socket(lab, node, port)
        alice.sendto(b"who am I?", public(lab, node, port))
        _, seen = server.recvfrom(100)
        assert seen == public(lab, "alice", INSIDE_PORT)


def test_filtering_lets_in_only_the_contacted_address_and_port(
    lab: Lab, open_socket: OpenSocket
) -> None:
    alice = open_socket(lab, "alice", INSIDE_PORT)
    contacted = open_socket(lab, "carol", 5000)
    other_port = open_socket(lab, "carol", 5001)
    other_address = open_socket(lab, "bootstrap", 5000)
    alice.sendto(b"hello", public(lab, "carol", 5000))
    _, mapped = contacted.recvfrom(100)

    other_port.sendto(b"from another port", mapped)
    other_address.sendto(b"from another address", mapped)
    contacted.sendto(b"answer", mapped)

    assert alice.recvfrom(100) == (b"answer", public(lab, "carol", 5000))
    alice.setblocking(False)
    with pytest.raises(BlockingIOError):
        alice.recvfrom(100)


def punch(lab: Lab, open_socket: OpenSocket) -> tuple[Address, Address]:
    """Alice's packet comes too early, then Bob's opens his NAT, then both get through.

    Gives the addresses that each saw the other come from.
    """
    alice = open_socket(lab, "alice", INSIDE_PORT)
    bob = open_socket(lab, "bob", INSIDE_PORT)
    alice.sendto(b"too early", public(lab, "bob", INSIDE_PORT))
    bob.sendto(b"from bob", public(lab, "alice", INSIDE_PORT))
    data, bob_seen = alice.recvfrom(100)
    assert data == b"from bob"
    alice.sendto(b"from alice", bob_seen)
    data, alice_seen = bob.recvfrom(100)
    assert data == b"from alice"
    return alice_seen, bob_seen


def test_two_homes_punch_through_with_the_ports_they_announced(
    lab: Lab, open_socket: OpenSocket
) -> None:
    alice_seen, bob_seen = punch(lab, open_socket)
    assert alice_seen == public(lab, "alice", INSIDE_PORT)
    assert bob_seen == public(lab, "bob", INSIDE_PORT)


def test_without_the_input_rule_an_early_packet_renumbers_the_port(
    build: Callable[..., Lab], open_socket: OpenSocket
) -> None:
    """Why the rule is there: with it taken out, this NAT spoils the punch."""
    rule = f'iifname "{WAN}" ct state new drop'
    assert rule in PORT_RESTRICTED_RULES
    careless = Nat("careless", "", (PORT_RESTRICTED_RULES.replace(rule, ""),))
    lab = build(alice="none", bob=careless)
    alice = open_socket(lab, "alice", INSIDE_PORT)
    bob = open_socket(lab, "bob", INSIDE_PORT)

    alice.sendto(b"too early", public(lab, "bob", INSIDE_PORT))
    bob.sendto(b"from bob", public(lab, "alice", INSIDE_PORT))

    _, bob_seen = alice.recvfrom(100)
    assert bob_seen != public(lab, "bob", INSIDE_PORT)


def test_nats_can_be_stacked(build: Callable[..., Lab], open_socket: OpenSocket) -> None:
    lab = build(alice=Nat("twice", "", (PORT_RESTRICTED_RULES,) * 2), bob="port-restricted")
    alice_seen, _ = punch(lab, open_socket)
    assert alice_seen == public(lab, "alice", INSIDE_PORT)
    assert lab.nodes["alice"].public_address != lab.nodes["alice-nat"].address


def test_a_home_cannot_reach_the_private_address_of_another(
    lab: Lab, open_socket: OpenSocket
) -> None:
    alice = open_socket(lab, "alice", INSIDE_PORT)
    bob = open_socket(lab, "bob", INSIDE_PORT)
    carol = open_socket(lab, "carol", 5000)

    alice.sendto(b"to a private address", (str(lab.nodes["bob"].address), INSIDE_PORT))
    bob.sendto(b"hello", public(lab, "carol", 5000))
    carol.sendto(b"answer", carol.recvfrom(100)[1])

    assert bob.recvfrom(100)[0] == b"answer"
    bob.setblocking(False)
    with pytest.raises(BlockingIOError):
        bob.recvfrom(100)


def test_the_internet_has_no_route_to_a_home(lab: Lab) -> None:
    private = str(lab.nodes["alice"].address)
    for node in (CORE, "carol", "bob-nat"):
        with pytest.raises(LabError):
            lab[node].run(["ping", "-c", "1", "-W", "0.2", private])


def test_the_internet_refuses_packets_from_private_addresses(
    lab: Lab, open_socket: OpenSocket
) -> None:
    """A router that forgets to translate gets nothing through, as with BCP 38."""
    lab["alice-nat"].run(["nft", "delete", "table", "ip", "wice_nat"])
    alice = open_socket(lab, "alice", INSIDE_PORT)
    server = open_socket(lab, "bootstrap", 5000)
    carol = open_socket(lab, "carol", 5001)
    alice.sendto(b"untranslated", public(lab, "bootstrap", 5000))
    carol.sendto(b"from carol", public(lab, "bootstrap", 5000))
    assert server.recvfrom(100)[0] == b"from carol"


def test_a_neighbour_who_routes_straight_into_a_home_gets_nothing_in(
    lab: Lab, open_socket: OpenSocket
) -> None:
    home = lab.nodes["alice"]
    assert home.uplink is not None
    route = [str(home.uplink.addresses[0].network), "via", str(home.public_address)]
    lab["carol"].run(["ip", "route", "add", *route])
    alice = open_socket(lab, "alice", INSIDE_PORT)
    carol = open_socket(lab, "carol", 5000)
    carol.sendto(b"straight in", (str(home.address), INSIDE_PORT))
    alice.sendto(b"hello", public(lab, "carol", 5000))
    carol.sendto(b"answer", public(lab, "alice", INSIDE_PORT))
    assert alice.recvfrom(100)[0] == b"answer"


def test_only_routers_forward(lab: Lab) -> None:
    for node in ("alice", "carol", "bootstrap"):
        assert lab[node].run(["cat", "/proc/sys/net/ipv4/ip_forward"]).strip() == "0"


def test_every_kind_of_nat_says_what_it_is() -> None:
    for kind, nat in NAT_KINDS.items():
        assert nat.kind == kind
        assert nat.description


def test_neighbours_meet_only_where_their_nat_turns_packets_round(
    labs: Path, open_socket: OpenSocket
) -> None:
    site = Site("office", NAT_KINDS["hairpin"], ("alice", "bob"))
    with open_lab(Topology((site,)), labs) as lab:
        server = open_socket(lab, "bootstrap", 3478)
        mapped = {}
        sockets = {name: open_socket(lab, name, INSIDE_PORT) for name in ("alice", "bob")}
        for name, inside in sockets.items():
            inside.sendto(b"who am I?", public(lab, "bootstrap", 3478))
            _, mapped[name] = server.recvfrom(100)
        assert mapped["alice"] != mapped["bob"]

        sockets["alice"].sendto(b"straight", (str(lab.nodes["bob"].address), INSIDE_PORT))
        sockets["alice"].sendto(b"round", mapped["bob"])
        assert sockets["bob"].recvfrom(100) == (b"round", mapped["alice"])
        sockets["bob"].sendto(b"and back", mapped["alice"])
        assert sockets["alice"].recvfrom(100) == (b"and back", mapped["bob"])
