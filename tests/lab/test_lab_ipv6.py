"""An internet that speaks IPv6: homes have public addresses behind stateful firewalls."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sims.lab.lab import Lab, open_lab
from sims.lab.namespaces import LabError
from sims.lab.nat import NAT_KINDS
from sims.lab.topology import IpVersions, Site, Topology

pytestmark = pytest.mark.root

TIMEOUT_S = 30.0
PORT = 40_000


@pytest.fixture(params=[IpVersions.V6, IpVersions.DUAL])
def lab(labs: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    kinds = {"alice": "port-restricted", "bob": "cgnat", "carol": "none"}
    sites = tuple(Site(name, NAT_KINDS[kind]) for name, kind in kinds.items())
    with open_lab(Topology(sites, ip=request.param), labs) as lab:
        yield lab


def ipv6(lab: Lab, node: str) -> tuple[str, int]:
    return str(lab.nodes[node].public_addresses[-1]), PORT


@pytest.fixture
def sockets(lab: Lab) -> Iterator[dict[str, socket.socket]]:
    with ExitStack() as stack:
        opened = {}
        for name in ("alice", "bob", "carol", "bootstrap"):
            with lab[name].entered():
                udp = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            udp.bind(("::", PORT))
            udp.settimeout(TIMEOUT_S)
            opened[name] = udp
        yield opened


def test_nobody_translates(lab: Lab, sockets: dict[str, socket.socket]) -> None:
    for name in ("alice", "bob", "carol"):
        sockets[name].sendto(b"who am I?", ipv6(lab, "bootstrap"))
        _, seen = sockets["bootstrap"].recvfrom(100)
        assert seen[:2] == ipv6(lab, name)


def test_a_firewall_lets_in_only_the_contacted_address_and_port(
    lab: Lab, sockets: dict[str, socket.socket]
) -> None:
    for name in ("alice", "bob"):
        sockets["carol"].sendto(b"unasked", ipv6(lab, name))
        sockets[name].sendto(b"hello", ipv6(lab, "bootstrap"))
        sockets["bootstrap"].recvfrom(100)
        sockets["carol"].sendto(b"still unasked", ipv6(lab, name))
        sockets["bootstrap"].sendto(b"answer", ipv6(lab, name))
        assert sockets[name].recvfrom(100)[0] == b"answer"
        sockets[name].setblocking(False)
        with pytest.raises(BlockingIOError):
            sockets[name].recvfrom(100)


def test_two_homes_open_their_firewalls_for_each_other(
    lab: Lab, sockets: dict[str, socket.socket]
) -> None:
    sockets["alice"].sendto(b"too early", ipv6(lab, "bob"))
    sockets["bob"].sendto(b"from bob", ipv6(lab, "alice"))
    assert sockets["alice"].recvfrom(100)[0] == b"from bob"
    sockets["alice"].sendto(b"from alice", ipv6(lab, "bob"))
    assert sockets["bob"].recvfrom(100)[0] == b"from alice"


def test_without_ipv4_there_is_none_anywhere(lab: Lab) -> None:
    has_ipv4 = lab.topology.ip is IpVersions.DUAL
    for name in lab.nodes:
        addresses = lab[name].run(["ip", "-4", "-o", "address", "show", "scope", "global"])
        assert bool(addresses) is has_ipv4
    ping = ["ping", "-c", "1", "-W", "0.3", "203.0.113.10"]
    if has_ipv4:
        lab["alice"].run(ping)
    else:
        with pytest.raises(LabError):
            lab["alice"].run(ping)
