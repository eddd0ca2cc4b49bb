"""A scenario as namespaces on one machine: who hangs on whom, and with which addresses. No I/O.

The internet is one network. Each site is a chain of routers, the outermost with its line to the
network of the site it is behind or to the internet, each with a network of its own inside. Where
nobody translates a site's IPv4 it has public addresses, or private ones that the NAT of the site
it is behind translates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Network,
    IPv6Network,
    ip_interface,
)
from itertools import count
from typing import Final

from sims.lab.topology import IPAddress, IPInterface, IPNetwork
from sims.machines.mesh import outer_first
from sims.model.faults import Move
from sims.model.link import MTU_DEFAULT_BYTES, LineModel
from sims.model.nat import NatModel
from sims.model.presets import BOOTSTRAP_LINE
from sims.model.scenario import LAN as PLAIN_LAN
from sims.model.scenario import Scenario, Site

CORE: Final = "the internet"
"""No machine and no site has a name with a space."""
CORE_NETWORKS: Final[dict[int, IPNetwork]] = {
    4: IPv4Network("198.51.100.0/24"),
    6: IPv6Network("2001:db8:0:1::/64"),
}
"""Documentation's (RFC 5737, RFC 3849)."""

PUBLIC_PREFIX_BITS: Final = 24
"""Room for all machines, for all other sites behind this one, and for what addresses change to."""
_PUBLIC_NETWORKS: Final = (IPv4Network("203.0.113.0/24"), IPv4Network("198.18.0.0/15"))
"""Of sites without a NAT: documentation, and then benchmarks (RFC 2544)."""
_HOME_NETWORKS: Final = IPv4Network("192.168.0.0/16")
_CARRIER_NETWORKS: Final = IPv4Network("100.64.0.0/10")
_SITE_PREFIXES: Final = IPv6Network("2001:db8:100::/40")
_FIRST_HOST: Final = 10


@dataclass(slots=True)
class Lan:
    """What is inside of a router. networks: by IP version; numbers: of hosts to come."""

    networks: dict[int, IPNetwork]
    numbers: Iterator[int] = field(default_factory=lambda: count(_FIRST_HOST))

    @property
    def gateways(self) -> tuple[IPInterface, ...]:
        return self.addresses(1)

    def addresses(self, number: int) -> tuple[IPInterface, ...]:
        """Of host ``number``, one for each IP version."""
        return tuple(
            ip_interface((network[number], network.prefixlen)) for network in self.networks.values()
        )


@dataclass(slots=True)
class Cable:
    """From ``interface`` in namespace ``node`` up to port ``port`` of ``parent``'s bridge.

    line: what it does, None for nothing at all. wire: its number among those that do something.
    """

    node: str
    interface: str
    parent: "Router"
    port: str
    number: int
    line: LineModel | None
    wire: int | None = None

    @property
    def addresses(self) -> tuple[IPInterface, ...]:
        return self.parent.lan.addresses(self.number)

    @property
    def gateways(self) -> tuple[IPAddress, ...]:
        return tuple(gateway.ip for gateway in self.parent.lan.gateways)


@dataclass(slots=True)
class Router:
    """A namespace that forwards. nat: what it does to IPv4, if anything.

    site: None for the core. is_edge: the outermost of its site. uplink: None for the core.
    """

    node: str
    site: Site | None
    lan: Lan
    nat: NatModel | None = None
    is_edge: bool = False
    uplink: Cable | None = None

    @property
    def is_isolating(self) -> bool:
        return self.site is not None and self.site.is_isolating and self.node.endswith("/0")


class Layout:
    """Of a scenario that ``check_for_kernel`` let pass. Renumbering changes it in place.

    routers: outer ones first. by_site: of each site, the innermost first. cables: of all, parents
    first; of bootstrap nodes and machines too. places: the cable of each machine at each site that
    it is ever at, by both names; a bootstrap node is at a site of its own name.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.versions = scenario.ip_versions
        self._homes = _HOME_NETWORKS.subnets(new_prefix=24)
        self._carriers = _CARRIER_NETWORKS.subnets(new_prefix=22)
        self._prefixes = _SITE_PREFIXES.subnets(new_prefix=64)
        self._publics = (
            part for net in _PUBLIC_NETWORKS for part in net.subnets(new_prefix=PUBLIC_PREFIX_BITS)
        )
        self._ports = count(1)
        core = {version: CORE_NETWORKS[version] for version in self.versions}
        self.core = Router(CORE, None, Lan(core))
        self.routers = [self.core]
        self.by_site: dict[str, list[Router]] = {}
        self.cables: list[Cable] = []
        self.bootstraps: dict[str, Cable] = {}
        self.places: dict[tuple[str, str], Cable] = {}
        for name in scenario.bootstrap_names:
            cable = self._cable(name, "eth0", self.core, BOOTSTRAP_LINE)
            self.bootstraps[name] = self.places[name, name] = cable
        for site in outer_first(scenario.sites):
            self._add_site(site)
        for site in scenario.sites:
            for machine in site.machines:
                self._add_place(machine.name, site)
        self._add_moves()
        for number, cable in enumerate(cable for cable in self.cables if cable.line is not None):
            cable.wire = number

    # Addresses

    def routes_of(self, router: Router) -> Iterator[tuple[IPNetwork, IPAddress]]:
        """The networks further inside that ``router`` has to know, and by whom they are reached."""
        for below in self.routers:
            uplink = below.uplink
            if uplink is None or uplink.parent is not router:
                continue
            via = {address.version: address.ip for address in uplink.addresses}
            for network in self._networks_inside(below):
                yield network, via[network.version]

    def _networks_inside(self, router: Router) -> Iterator[IPNetwork]:
        """Those that are known outside of ``router``: what it translates is not."""
        for network in router.lan.networks.values():
            if network.version == 6 or router.nat is None:
                yield network
        for below in self.routers:
            if below.uplink is not None and below.uplink.parent is router:
                for network in self._networks_inside(below):
                    if network.version == 6 or router.nat is None:
                        yield network

    def seen_as(self, site: str) -> list[IPNetwork]:
        """What has to be kept apart to keep ``site``, or a bootstrap node, apart from others."""
        if site in self.bootstraps:
            return [_alone(address.ip) for address in self.bootstraps[site].addresses]
        edge = self.by_site[site][-1]
        assert edge.uplink is not None
        seen = [_alone(address.ip) for address in edge.uplink.addresses]
        return [*seen, *self._networks_inside(edge)]

    def renumber(self, site: str, versions: Sequence[int]) -> None:
        """Give ``site`` other public addresses of these versions."""
        edge, inner = self.by_site[site][-1], self.by_site[site][0]
        assert edge.uplink is not None
        if 4 in versions:
            edge.uplink.number = self._number(edge.uplink.parent)
            if edge.nat is None and 4 in self.versions:
                inner.lan.networks[4] = self._ipv4_network(edge.site, 0)
        if 6 in versions and 6 in self.versions:
            inner.lan.networks[6] = next(self._prefixes)

    def mtu_bytes(self, cable: Cable) -> int:
        """The most that gets to the internet from what hangs on ``cable``."""
        least, at = MTU_DEFAULT_BYTES, cable
        while True:
            for direction in () if at.line is None else (at.line.up, at.line.down):
                least = least if direction is None else min(least, direction.mtu_bytes)
            if at.parent.uplink is None:
                return least
            at = at.parent.uplink

    def line_of(self, site: str) -> Cable:
        """The cable with the line of a site or of a bootstrap node."""
        if site in self.bootstraps:
            return self.bootstraps[site]
        uplink = self.by_site[site][-1].uplink
        assert uplink is not None
        return uplink

    # Making it

    def _add_site(self, site: Site) -> None:
        above = self.core if site.behind is None else self.by_site[site.behind][0]
        nats: Sequence[NatModel | None] = site.nats if 4 in self.versions else ()
        levels = list(nats) or [None]
        routers: list[Router] = []
        for level in reversed(range(len(levels))):
            node = f"{site.name}/{level}"
            is_edge = level == len(levels) - 1
            uplink = self._cable(node, "wan", above, site.line if is_edge else None)
            router = Router(node, site, Lan({}), levels[level], is_edge, uplink)
            self.by_site.setdefault(site.name, []).insert(0, router)
            if 4 in self.versions:
                router.lan.networks[4] = self._ipv4_network(site, level)
            if 6 in self.versions:
                router.lan.networks[6] = next(self._prefixes)
            self.routers.append(router)
            routers.insert(0, router)
            above = router

    def _ipv4_network(self, site: Site | None, level: int) -> IPNetwork:
        if level > 0:
            return next(self._carriers)
        sites = {each.name: each for each in self.scenario.sites}
        while site is not None:
            if site.nats:
                return next(self._homes)
            site = None if site.behind is None else sites[site.behind]
        return next(self._publics)

    def _add_place(self, machine: str, site: Site) -> None:
        cables = [cable for (name, _), cable in self.places.items() if name == machine]
        lan = None if site.lan == PLAIN_LAN else LineModel(site.lan, site.lan)
        router = self.by_site[site.name][0]
        interface = f"eth{len(cables)}"
        self.places[machine, site.name] = self._cable(machine, interface, router, lan)

    def _add_moves(self) -> None:
        """Where a machine may move, it has an interface that waits for it."""
        sites = {site.name: site for site in self.scenario.sites}
        moves = [fault for fault in self.scenario.faults if isinstance(fault, Move)]
        targets = [(move.target, move.to) for move in moves]
        if any("move" in churn.kinds for churn in self.scenario.churn):
            targets += [
                (machine.name, site) for machine in self.scenario.machines for site in sites
            ]
        for machine, site in targets:
            if (machine, site) not in self.places:
                self._add_place(machine, sites[site])

    def _cable(self, node: str, interface: str, parent: Router, line: LineModel | None) -> Cable:
        port = f"port{next(self._ports)}"
        cable = Cable(node, interface, parent, port, self._number(parent), line)
        self.cables.append(cable)
        return cable

    def _number(self, parent: Router) -> int:
        """A host's that nobody has had; raise ValueError when all were given away."""
        number = next(parent.lan.numbers)
        sizes = [network.num_addresses for network in parent.lan.networks.values()]
        if number >= min(sizes, default=number + 2) - 1:
            raise ValueError(f"no address is left in the network of {parent.node}")
        return number


def _alone(address: IPAddress) -> IPNetwork:
    network: IPNetwork = ip_interface(address).network
    return network
