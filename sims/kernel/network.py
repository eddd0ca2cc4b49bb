"""The internet of a scenario out of network namespaces: built, disturbed, taken down.

Nothing of it is in the namespace of the machine itself, as with the lab, in whose registry it
stands.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from sims.kernel.layout import Cable, Layout, Router
from sims.kernel.rules import (
    FIREWALL_TABLE,
    PARTITION_TABLE,
    firewall_rules,
    nat_rules,
    partition_rules,
)
from sims.kernel.wires_process import Config, WiresProcess
from sims.lab.nat import LAN, NAT_TABLE
from sims.lab.registered_network import RegisteredNetwork, add_address, open_registered
from sims.lab.registry import LABS_DIRECTORY, LEASH, Registration
from sims.lab.topology import IPAddress, IPInterface, IPNetwork, IpVersions, Node, Role
from sims.model.link import LineModel
from sims.model.nat import NatModel
from sims.model.scenario import Scenario

_IP: Final = {(4,): IpVersions.V4, (6,): IpVersions.V6, (4, 6): IpVersions.DUAL}


class Block:
    """Nothing passes from sites to others, until lifted."""

    def __init__(
        self,
        sources: Collection[str],
        destinations: Collection[str],
        lift: Callable[["Block"], None],
    ) -> None:
        self.sources = tuple(sources)
        self.destinations = tuple(destinations)
        self._lift = lift

    def lift(self) -> None:
        self._lift(self)


class KernelNetwork(RegisteredNetwork):
    """Namespaces by name: ``CORE``, machines and bootstrap nodes by theirs, and of routers the
    site's and a number, as ``home-1/0``."""

    def __init__(self, scenario: Scenario, seed: int, registration: Registration) -> None:
        super().__init__(registration)
        self.layout = Layout(scenario)
        self._seed = seed
        self._wires: WiresProcess | None = None
        self._lines = {
            name: cable.line
            for name in (*self.layout.bootstraps, *self.layout.by_site)
            if (cable := self.layout.line_of(name)).line is not None
        }
        self._plugged: dict[str, str] = {
            machine.name: site.name for site in scenario.sites for machine in site.machines
        }
        self._plugged |= {name: name for name in self.layout.bootstraps}
        self._blocks: list[Block] = []

    # Building it

    def build(self) -> None:
        """Raise LabError."""
        layout = self.layout
        hosts = dict.fromkeys(name for name, _ in layout.places)
        ip = _IP[layout.versions]
        for router in layout.routers:
            role = Role.CORE if router is layout.core else Role.ROUTER
            self._add_namespace(Node(router.node, role), ip)
        for name in hosts:
            self._add_namespace(Node(name, Role.HOST), ip)
        self._wires = self._start_wires()
        for router in layout.routers:
            self._configure(router.node, self._router_commands(router))
            self._set_rules(router)
        for (machine, site), cable in layout.places.items():
            setup = [f"link set {cable.interface} mtu {layout.mtu_bytes(cable)}"]
            if self._plugged[machine] == site:
                setup += ["link set lo up", *_up(cable)]
            self._configure(machine, setup)
        self._wires.wait_ready()

    def close(self) -> None:
        if self._wires is not None:
            self._wires.close()
        super().close()

    def check(self) -> None:
        """Raise LabError when lines carry nothing any more."""
        assert self._wires is not None
        self._wires.check()

    def finish(self) -> int:
        """Carry nothing any more; give how many packets lines have carried."""
        assert self._wires is not None
        return self._wires.finish().get("carried", 0)

    def _start_wires(self) -> WiresProcess:
        descriptors: list[int] = []
        lines: list[LineModel] = []
        for cable in self.layout.cables:
            if cable.line is None:
                continue
            descriptors.append(self._open_tap(cable.node, cable.interface))
            descriptors.append(self._open_tap(cable.parent.node, cable.port))
            lines.append(cable.line)
        config = Config(self._seed, descriptors, lines)
        return WiresProcess(config, LEASH, self._environment(), self.directory / "wires.log")

    def _router_commands(self, router: Router) -> Iterator[str]:
        yield "link set lo up"
        yield f"link add {LAN} type bridge"
        for address in router.lan.gateways:
            yield add_address(LAN, address)
        yield f"link set {LAN} up"
        for cable in self.layout.cables:
            if cable.parent is not router:
                continue
            if cable.line is None:
                end = f"name {cable.interface} netns {self[cable.node].path}"
                yield f"link add {cable.port} type veth peer {end}"
            yield f"link set {cable.port} master {LAN} up"
            if router.is_isolating:
                yield f"link set {cable.port} type bridge_slave isolated on"
        if router.uplink is not None:
            yield from _up(router.uplink)
        for network, via in self.layout.routes_of(router):
            yield f"route add {network} via {via}"

    def _set_rules(self, router: Router) -> None:
        """Anew: what a router knew of flows in its own tables is forgotten."""
        if router.site is None or router.uplink is None:
            return
        text = "".join(
            f"table {table}\ndelete table {table}\n" for table in (NAT_TABLE, FIREWALL_TABLE)
        )
        if router.nat is not None:
            wan = router.uplink.addresses[0].ip
            text += nat_rules(router.nat, wan, self._inside(router))
            self._set_lifetimes(router.node, router.nat)
        if router.is_edge:
            translates = router.nat is not None
            text += firewall_rules(router.site.firewall, translates=translates)
        self._load_rules(router.node, text)

    def _inside(self, router: Router) -> IPAddress | None:
        """Who has the public address of a one-to-one NAT."""
        for cable in self.layout.cables:
            if cable.parent is router and (
                cable.node not in self._plugged
                or router.site is None
                or self._plugged[cable.node] == router.site.name
            ):
                return cable.addresses[0].ip
        return None

    def _set_lifetimes(self, node: str, nat: NatModel) -> None:
        unreplied_s = min(nat.lifetime_unreplied_s, nat.lifetime_s)
        for name, lifetime_s in (("", unreplied_s), ("_stream", nat.lifetime_s)):
            value = max(1, round(lifetime_s))
            self[node].set_sysctl(f"netfilter.nf_conntrack_udp_timeout{name}", value)

    # What happens to it

    def line_of(self, site: str) -> LineModel:
        return self._lines[site]

    def set_line(self, site: str, line: LineModel) -> None:
        """Of a site or a bootstrap node."""
        wire = self.layout.line_of(site).wire
        assert wire is not None and self._wires is not None
        self._lines[site] = line
        self._wires.set_line(wire, line)

    def reboot_nat(self, site: str) -> None:
        """Its routers forget every flow; the addresses stay, the ports may not."""
        for router in self.layout.by_site[site]:
            self._set_rules(router)
            self._forget_flows(router.node)

    def change_address(self, site: str, ip_version: int | None = None) -> None:
        """Give it other public addresses; its routers forget everything.

        ip_version: of this one alone.
        """
        layout = self.layout
        versions = layout.versions if ip_version is None else (ip_version,)
        before = {router.node: list(layout.routes_of(router)) for router in layout.routers}
        touched = [cable for cable in layout.cables if self._is_touched(cable, site)]
        addresses = {id(cable): cable.addresses for cable in touched}
        inner = layout.by_site[site][0]
        gateways = inner.lan.gateways
        layout.renumber(site, versions)
        self._configure(inner.node, _changed(LAN, gateways, inner.lan.gateways))
        for cable in touched:
            commands = list(_changed(cable.interface, addresses[id(cable)], cable.addresses))
            self._configure(cable.node, [*commands, *_default_routes(cable)])
        for router in layout.routers:
            after = list(layout.routes_of(router))
            gone = [network for network, _ in before[router.node] if network not in dict(after)]
            self._configure(
                router.node,
                [
                    *(f"route delete {network}" for network in gone),
                    *(f"route replace {network} via {via}" for network, via in after),
                ],
            )
        for router in layout.by_site[site]:
            self._set_rules(router)
            self._forget_flows(router.node)
        self._impose_blocks()

    def _is_touched(self, cable: Cable, site: str) -> bool:
        """Whether its address may be another when ``site`` is renumbered, and is in use."""
        routers = self.layout.by_site[site]
        if cable is routers[-1].uplink:
            return True
        if cable.parent is not routers[0]:
            return False
        if cable.node not in self._plugged:
            return True
        # Who is in no network gets its addresses when it comes back.
        return self._plugged[cable.node] == site and self._is_up(cable.node, cable)

    def block(self, sources: Collection[str], destinations: Collection[str]) -> Block:
        """Let nothing pass from machines at ``sources`` to machines at ``destinations``."""
        block = Block(sources, destinations, self._lift)
        self._blocks.append(block)
        self._impose_blocks()
        return block

    def _lift(self, block: Block) -> None:
        self._blocks.remove(block)
        self._impose_blocks()

    def _impose_blocks(self) -> None:
        """Where the line of who sends ends."""
        forbidden: dict[str, dict[str, list[IPNetwork]]] = {}
        for name in (*self.layout.bootstraps, *self.layout.by_site):
            cable = self.layout.line_of(name)
            networks = [
                network
                for block in self._blocks
                if name in block.sources
                for destination in block.destinations
                for network in self.layout.seen_as(destination)
            ]
            ports = forbidden.setdefault(cable.parent.node, {})
            ports[cable.port] = list(dict.fromkeys(networks))
        for node, ports in forbidden.items():
            text = f"table {PARTITION_TABLE}\ndelete table {PARTITION_TABLE}\n"
            if any(ports.values()):
                text += partition_rules(ports)
            self._load_rules(node, text)

    def unplug(self, machine: str) -> None:
        """Leave the network in which it is, if it is in one."""
        cable = self.layout.places[machine, self._plugged[machine]]
        deletes = [f"address delete {address} dev {cable.interface}" for address in cable.addresses]
        if self._is_up(machine, cable):
            self._configure(machine, [*deletes, f"link set {cable.interface} down"])

    def plug(self, machine: str, site: str) -> None:
        """Join the network of ``site``."""
        cable = self.layout.places[machine, site]
        self._plugged[machine] = site
        if not self._is_up(machine, cable):
            self._configure(machine, _up(cable))
        innermost = cable.parent
        if innermost.nat is not None and innermost.nat.is_one_to_one:
            self._set_rules(innermost)

    def _is_up(self, machine: str, cable: Cable) -> bool:
        shown = self[machine].run(["ip", "-brief", "address", "show", "dev", cable.interface])
        return all(str(address) in shown for address in cable.addresses)


def open_network(
    scenario: Scenario, seed: int, labs: Path = LABS_DIRECTORY
) -> AbstractContextManager[KernelNetwork]:
    """Build the internet of ``scenario``, and remove it at the end, whatever the end is.

    Raise LabError when the machine lacks something.
    """

    def make(registration: Registration) -> KernelNetwork:
        return KernelNetwork(scenario, seed, registration)

    return open_registered(make, labs, "the kernel engine")


def _up(cable: Cable) -> Iterator[str]:
    for address in cable.addresses:
        yield add_address(cable.interface, address)
    yield f"link set {cable.interface} up"
    yield from _default_routes(cable)


def _default_routes(cable: Cable) -> Iterator[str]:
    for gateway in cable.gateways:
        yield f"route replace default via {gateway} dev {cable.interface}"


def _changed(
    interface: str, before: Sequence[IPInterface], after: Sequence[IPInterface]
) -> Iterator[str]:
    for old, new in zip(before, after, strict=True):
        if old != new:
            yield f"address delete {old} dev {interface}"
            yield add_address(interface, new)
