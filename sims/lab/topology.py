"""The lab's internet as data: who is there and what hangs on what. No I/O.

Everybody hangs on a switch: bootstrap nodes, public hosts and the routers of homes on the
core's, the hosts of a home on their router's. So the whole is a tree, and the core is its root.
Public addresses are those reserved for documentation (RFC 5737, RFC 3849), private ones RFC
1918's, and those between stacked NATs RFC 6598's. With IPv6, every site has a /48.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
)
from typing import Final

from sims.lab.link import PLAIN, Link
from sims.lab.nat import LAN, WAN, Nat

SITES_MAX: Final = 32
BOOTSTRAPS_MAX: Final = 8
HOSTS_PER_SITE_MAX: Final = 16
NAME_SIZE_MAX: Final = 10
"""Characters of a name: with ``-nat`` behind it, it still names a network interface."""

SHARED_SITE: Final = "shared"
"""The site of all homes behind one NAT."""
CORE: Final = "internet"
CORE_BRIDGE: Final = "core"
HOST_INTERFACE: Final = "eth0"

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

BOOTSTRAP_NETWORKS: Final[dict[int, IPNetwork]] = {
    4: IPv4Network("203.0.113.0/24"),
    6: IPv6Network("2001:db8:0:1::/64"),
}
SITE_NETWORKS: Final[dict[int, IPNetwork]] = {
    4: IPv4Network("198.51.100.0/24"),
    6: IPv6Network("2001:db8:0:2::/64"),
}
HOME_NETWORKS: Final = (IPv4Network("192.168.0.0/16"), IPv4Network("100.64.0.0/16"))
"""Where a site's private /24 comes from: behind its innermost router, then behind the next."""
HOME_PREFIXES: Final = IPv6Network("2001:db8:100::/40")
"""Where a site's /48 comes from; the core routes it to the site's outermost router."""

_FIRST_PUBLIC: Final = 10
_NAME: Final = re.compile(r"[a-z][a-z0-9]*")


class IpVersions(StrEnum):
    """What the internet of a lab speaks."""

    V4 = "4"
    V6 = "6"
    DUAL = "dual"

    @property
    def versions(self) -> tuple[int, ...]:
        return (4, 6) if self is IpVersions.DUAL else (int(self.value),)


class Role(Enum):
    CORE = "core"
    ROUTER = "router"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A switch inside a node; the node itself has ``addresses`` on it.

    is_isolating: what hangs on it reaches the node, and nobody else directly.
    """

    name: str
    addresses: tuple[IPInterface, ...]
    is_isolating: bool = False


@dataclass(frozen=True, slots=True)
class Uplink:
    """A cable from a node's ``interface`` to the bridge of node ``parent``.

    addresses, gateways: one for each IP version of the lab. link: what it does to what the node
    sends.
    """

    interface: str
    addresses: tuple[IPInterface, ...]
    parent: str
    gateways: tuple[IPAddress, ...]
    link: Link = PLAIN


@dataclass(frozen=True, slots=True)
class Route:
    """A network behind another node."""

    network: IPNetwork
    gateway: IPAddress


@dataclass(frozen=True, slots=True)
class Node:
    """One network namespace.

    public_addresses: how the internet sees the node, one for each IP version; none for the core.
    rulesets: what nftables does in it.
    """

    name: str
    role: Role
    public_addresses: tuple[IPAddress, ...] = ()
    uplink: Uplink | None = None
    bridge: Bridge | None = None
    rulesets: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()

    @property
    def address(self) -> IPAddress:
        """The node's own address on its uplink: IPv4 where the lab has it."""
        assert self.uplink is not None
        return self.uplink.addresses[0].ip

    @property
    def public_address(self) -> IPAddress | None:
        """How the internet sees the node: by IPv4 where the lab has it."""
        return self.public_addresses[0] if self.public_addresses else None

    @property
    def forwards(self) -> bool:
        return self.role is not Role.HOST


@dataclass(frozen=True, slots=True)
class Site:
    """A home or an office: hosts behind one NAT, or on the open internet with the kind ``none``.

    hosts: their names; left empty, the site has one host of its own name. link: what its uplinks
    do to what it sends; None for that of the whole internet.
    """

    name: str
    nat: Nat
    hosts: tuple[str, ...] = ()
    link: Link | None = None

    def __post_init__(self) -> None:
        if not self.hosts:
            object.__setattr__(self, "hosts", (self.name,))
        if len(self.hosts) > HOSTS_PER_SITE_MAX:
            raise ValueError(f"a site has at most {HOSTS_PER_SITE_MAX} hosts")
        if len(self.nat.routers) > len(HOME_NETWORKS):
            raise ValueError(f"a site has at most {len(HOME_NETWORKS)} NATs in a row")


def sites_of(homes: Mapping[str, Nat]) -> tuple[Site, ...]:
    """A site for each home, and one for all whose kind of NAT is shared."""
    behind: dict[str, list[str]] = {}
    for home, nat in homes.items():
        behind.setdefault(SHARED_SITE if nat.is_shared else home, []).append(home)
    return tuple(Site(name, homes[inside[0]], tuple(inside)) for name, inside in behind.items())


@dataclass(frozen=True, slots=True)
class Topology:
    """A small internet: bootstrap nodes with public addresses, and sites.

    link: what the uplink of everybody on the core does to what it sends, so between any two of
    them it acts once each way.
    """

    sites: tuple[Site, ...]
    bootstraps: tuple[str, ...] = ("bootstrap",)
    ip: IpVersions = IpVersions.V4
    link: Link = PLAIN

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
        homes = list(self._homes())
        networks = [
            nets[v] for v in self.ip.versions for nets in (BOOTSTRAP_NETWORKS, SITE_NETWORKS)
        ]
        gateways = tuple(_interface(network, 1) for network in networks)
        routes = tuple(route for home in homes for route in home.routes_to_it())
        yield Node(CORE, Role.CORE, bridge=Bridge(CORE_BRIDGE, gateways), routes=routes)
        for index, name in enumerate(self.bootstraps, start=_FIRST_PUBLIC):
            yield _public_host(name, self._attached(BOOTSTRAP_NETWORKS, HOST_INTERFACE, index))
        for home in homes:
            yield from home.nodes()

    def _homes(self) -> Iterator["_Home"]:
        public = _FIRST_PUBLIC
        for number, site in enumerate(self.sites, start=1):
            uplinks = []
            interface = WAN if site.nat.routers else HOST_INTERFACE
            for _ in range(1 if site.nat.routers else len(site.hosts)):
                uplinks.append(self._attached(SITE_NETWORKS, interface, public, site.link))
                public += 1
            yield _Home(site, number, self.ip.versions, tuple(uplinks))

    def _attached(
        self,
        networks: dict[int, IPNetwork],
        interface: str,
        index: int,
        link: Link | None = None,
    ) -> Uplink:
        """An uplink to the core, with address number ``index`` of each network."""
        chosen = [networks[version] for version in self.ip.versions]
        return Uplink(
            interface,
            tuple(_interface(network, index) for network in chosen),
            CORE,
            tuple(network[1] for network in chosen),
            self.link if link is None else link,
        )


@dataclass(frozen=True, slots=True)
class _Home:
    """A site in its place. uplinks: of its outermost router, or without one of each host."""

    site: Site
    number: int
    versions: tuple[int, ...]
    uplinks: tuple[Uplink, ...]

    def nodes(self) -> Iterator[Node]:
        """The routers from the internet inwards, then the hosts."""
        site = self.site
        if not site.nat.routers:
            for host, uplink in zip(site.hosts, self.uplinks, strict=True):
                yield _public_host(host, uplink)
            return
        uplink = self.uplinks[0]
        seen_by_ipv4 = tuple(a.ip for a in uplink.addresses if a.version == 4)
        for level in reversed(range(len(site.nat.routers))):
            networks = self._networks(level)
            gateways = tuple(_interface(network, 1) for network in networks)
            inner = tuple(network[2] for network in networks)
            # Only IPv6: inside a NAT's home, IPv4 has no addresses that a router outside knows.
            routes = tuple(
                Route(network, inner[-1])
                for lower in range(level)
                for network in self._networks(lower)
                if network.version == 6
            )
            router = Node(
                f"{site.name}-nat{level or ''}",
                Role.ROUTER,
                _public_addresses(uplink, seen_by_ipv4),
                uplink,
                Bridge(LAN, gateways, is_isolating=site.nat.is_shared),
                tuple(self._rulesets(level)),
                routes,
            )
            yield router
            addresses = tuple(_interface(network, 2) for network in networks)
            uplink = Uplink(WAN, addresses, router.name, tuple(g.ip for g in gateways))
        for index, host in enumerate(site.hosts, start=2):
            inside = Uplink(
                HOST_INTERFACE,
                tuple(_interface(network, index) for network in self._networks(0)),
                router.name,
                uplink.gateways,
            )
            yield Node(host, Role.HOST, _public_addresses(inside, seen_by_ipv4), inside)

    def routes_to_it(self) -> Iterator[Route]:
        """What the core has to know; of private addresses nothing."""
        if self.site.nat.routers and 6 in self.versions:
            yield Route(self._prefix(), self.uplinks[0].addresses[-1].ip)

    def _networks(self, level: int) -> tuple[IPNetwork, ...]:
        """Those behind the router number ``level``, counted from the innermost."""
        networks: dict[int, IPNetwork] = {
            4: _subnet(HOME_NETWORKS[level], 24, self.number),
            6: _subnet(self._prefix(), 64, level),
        }
        return tuple(networks[version] for version in self.versions)

    def _prefix(self) -> IPv6Network:
        prefix = _subnet(HOME_PREFIXES, 48, self.number)
        assert isinstance(prefix, IPv6Network)
        return prefix

    def _rulesets(self, level: int) -> Iterator[str]:
        if 4 in self.versions:
            yield self.site.nat.routers[level]
        if 6 in self.versions:
            yield self.site.nat.firewall


def _public_host(name: str, uplink: Uplink) -> Node:
    return Node(name, Role.HOST, tuple(address.ip for address in uplink.addresses), uplink)


def _public_addresses(uplink: Uplink, seen_by_ipv4: tuple[IPAddress, ...]) -> tuple[IPAddress, ...]:
    """IPv4 is translated, IPv6 is not."""
    return (*seen_by_ipv4, *(a.ip for a in uplink.addresses if a.version == 6))


def _subnet(network: IPNetwork, prefixlen: int, index: int) -> IPNetwork:
    size = 1 << (network.max_prefixlen - prefixlen)
    base = int(network.network_address) + index * size
    return type(network)((base, prefixlen))


def _interface(network: IPNetwork, index: int) -> IPInterface:
    return ip_interface((network[index], network.prefixlen))
