"""The lab's internet as data: who is there and what hangs on what. No I/O.

Everybody hangs on a bridge: bootstrap nodes, public hosts and the routers of homes on the
core's, the hosts of a home on their router's. So the whole is a tree, and the core is its root.
Public addresses are those reserved for documentation (RFC 5737), private ones RFC 1918's, and
those between stacked NATs RFC 6598's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from sims.lab.nat import LAN, WAN, Nat

SITES_MAX: Final = 32
BOOTSTRAPS_MAX: Final = 8
HOSTS_PER_SITE_MAX: Final = 8
NAME_SIZE_MAX: Final = 10
"""Characters of a name: with ``-nat`` behind it, it still names a network interface."""

CORE: Final = "internet"
CORE_BRIDGE: Final = "core"
HOST_INTERFACE: Final = "eth0"

BOOTSTRAP_NETWORK: Final = IPv4Network("203.0.113.0/24")
SITE_NETWORK: Final = IPv4Network("198.51.100.0/24")
HOME_NETWORKS: Final = (IPv4Network("192.168.0.0/16"), IPv4Network("100.64.0.0/16"))
"""Where a site's private /24 comes from: behind its innermost router, then behind the next."""

_FIRST_PUBLIC: Final = 10
_NAME: Final = re.compile(r"[a-z][a-z0-9]*")


class Role(Enum):
    CORE = "core"
    ROUTER = "router"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A switch inside a node; the node itself has ``addresses`` on it."""

    name: str
    addresses: tuple[IPv4Interface, ...]


@dataclass(frozen=True, slots=True)
class Uplink:
    """A cable from a node's ``interface`` to the bridge of node ``parent``."""

    interface: str
    address: IPv4Interface
    parent: str
    gateway: IPv4Address


@dataclass(frozen=True, slots=True)
class Node:
    """One network namespace.

    public_address: how the internet sees the node, None for the core itself.
    """

    name: str
    role: Role
    public_address: IPv4Address | None = None
    uplink: Uplink | None = None
    bridge: Bridge | None = None
    ruleset: str = ""

    @property
    def address(self) -> IPv4Address:
        """The node's own address on its uplink."""
        assert self.uplink is not None
        return self.uplink.address.ip

    @property
    def forwards(self) -> bool:
        return self.role is not Role.HOST


@dataclass(frozen=True, slots=True)
class Site:
    """A home or an office: hosts behind one NAT, or on the open internet with the kind ``none``.

    hosts: their names; left empty, the site has one host of its own name.
    """

    name: str
    nat: Nat
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.hosts:
            object.__setattr__(self, "hosts", (self.name,))
        if len(self.hosts) > HOSTS_PER_SITE_MAX:
            raise ValueError(f"a site has at most {HOSTS_PER_SITE_MAX} hosts")
        if len(self.nat.routers) > len(HOME_NETWORKS):
            raise ValueError(f"a site has at most {len(HOME_NETWORKS)} NATs in a row")


@dataclass(frozen=True, slots=True)
class Topology:
    """A small internet: bootstrap nodes with public addresses, and sites."""

    sites: tuple[Site, ...]
    bootstraps: tuple[str, ...] = ("bootstrap",)

    def __post_init__(self) -> None:
        if len(self.sites) > SITES_MAX or len(self.bootstraps) > BOOTSTRAPS_MAX:
            raise ValueError(f"a lab has at most {SITES_MAX} sites and {BOOTSTRAPS_MAX} bootstraps")
        names = [*self.bootstraps, *(site.name for site in self.sites)]
        hosts = [*self.bootstraps, *(host for site in self.sites for host in site.hosts)]
        for name in (*names, *hosts):
            if not _NAME.fullmatch(name) or len(name) > NAME_SIZE_MAX:
                raise ValueError(
                    f"a name is at most {NAME_SIZE_MAX} small letters and digits, not {name!r}"
                )
        if len(set(names)) < len(names) or len(set(hosts)) < len(hosts) or CORE in hosts:
            raise ValueError(f"names must differ, also from {CORE!r}")

    def nodes(self) -> tuple[Node, ...]:
        """Every namespace of the lab, parents before children."""
        return tuple(self._nodes())

    def _nodes(self) -> Iterator[Node]:
        networks = (BOOTSTRAP_NETWORK, SITE_NETWORK)
        gateways = tuple(_interface(network, 1) for network in networks)
        yield Node(CORE, Role.CORE, bridge=Bridge(CORE_BRIDGE, gateways))
        for index, name in enumerate(self.bootstraps):
            address = _interface(BOOTSTRAP_NETWORK, _FIRST_PUBLIC + index)
            yield Node(name, Role.HOST, address.ip, _core_uplink(HOST_INTERFACE, address))
        public = _FIRST_PUBLIC
        for number, site in enumerate(self.sites, start=1):
            if site.nat.routers:
                yield from _home(site, number, _interface(SITE_NETWORK, public))
                public += 1
                continue
            for host in site.hosts:
                address = _interface(SITE_NETWORK, public)
                yield Node(host, Role.HOST, address.ip, _core_uplink(HOST_INTERFACE, address))
                public += 1


def _home(site: Site, number: int, wan: IPv4Interface) -> Iterator[Node]:
    """The routers of a site from the internet inwards, then its hosts."""
    public_address = wan.ip
    uplink = _core_uplink(WAN, wan)
    for level in reversed(range(len(site.nat.routers))):
        network = list(HOME_NETWORKS[level].subnets(new_prefix=24))[number]
        gateway = _interface(network, 1)
        router = Node(
            f"{site.name}-nat{level or ''}",
            Role.ROUTER,
            public_address,
            uplink,
            Bridge(LAN, (gateway,)),
            site.nat.routers[level],
        )
        yield router
        uplink = Uplink(WAN, _interface(network, 2), router.name, gateway.ip)
    for index, host in enumerate(site.hosts, start=2):
        address = _interface(network, index)
        inside = Uplink(HOST_INTERFACE, address, router.name, gateway.ip)
        yield Node(host, Role.HOST, public_address, inside)


def _core_uplink(interface: str, address: IPv4Interface) -> Uplink:
    return Uplink(interface, address, CORE, address.network[1])


def _interface(network: IPv4Network, index: int) -> IPv4Interface:
    return IPv4Interface((network[index], network.prefixlen))
