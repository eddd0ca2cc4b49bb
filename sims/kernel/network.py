"""The internet of a scenario out of network namespaces: built, disturbed, taken down.

Nothing of it is in the namespace of the machine itself, as with the lab, in whose registry it
stands.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from sims.kernel.layout import Cable, Layout, Router
from sims.kernel.rules import (
    FIREWALL_TABLE,
    PARTITION_TABLE,
    firewall_rules,
    nat_rules,
    partition_rules,
)
from sims.kernel.wires_process import Config, WiresProcess
from sims.lab.frame_process import open_tap
from sims.lab.lab import set_sysctls
from sims.lab.namespaces import LabError, Namespace, lab_error
from sims.lab.nat import LAN, NAT_TABLE
from sims.lab.registry import LAB_VARIABLE, LABS_DIRECTORY, LEASH, Registration, clean
from sims.lab.requirements import missing
from sims.lab.topology import IPAddress, IPInterface, IPNetwork, IpVersions, Node, Role
from sims.model.link import LineModel
from sims.model.nat import NatModel
from sims.model.scenario import Scenario
from sims.runtime.interrupts import undisturbed

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


class KernelNetwork:
    """Namespaces by name: ``CORE``, machines and bootstrap nodes by theirs, and of routers the
    site's and a number, as ``home-1/0``."""

    def __init__(self, scenario: Scenario, seed: int, registration: Registration) -> None:
        self.layout = Layout(scenario)
        self._seed = seed
        self._registration = registration
        self._namespaces: dict[str, Namespace] = {}
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

    @property
    def id(self) -> str:
        return self._registration.id

    @property
    def directory(self) -> Path:
        """Private to this user; removed with the network."""
        return self._registration.directory

    def __getitem__(self, name: str) -> Namespace:
        return self._namespaces[name]

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
            self._batch(router.node, self._router_commands(router))
            self._set_rules(router)
        for (machine, site), cable in layout.places.items():
            setup = [f"link set {cable.interface} mtu {layout.mtu_bytes(cable)}"]
            if self._plugged[machine] == site:
                setup += ["link set lo up", *_up(cable)]
            self._batch(machine, setup)
        self._wires.wait_ready()

    def close(self) -> None:
        if self._wires is not None:
            self._wires.close()
        for namespace in self._namespaces.values():
            namespace.close()

    def check(self) -> None:
        """Raise LabError when lines carry nothing any more."""
        assert self._wires is not None
        self._wires.check()

    def finish(self) -> int:
        """Carry nothing any more; give how many packets lines have carried."""
        assert self._wires is not None
        return self._wires.finish().get("carried", 0)

    def _add_namespace(self, node: Node, ip: IpVersions) -> None:
        namespace = self._namespaces[node.name] = Namespace()
        set_sysctls(node, namespace, ip)

    def _start_wires(self) -> WiresProcess:
        descriptors: list[int] = []
        lines: list[LineModel] = []
        for cable in self.layout.cables:
            if cable.line is None:
                continue
            for node, interface in (
                (cable.node, cable.interface),
                (cable.parent.node, cable.port),
            ):
                with self[node].entered():
                    descriptors.append(open_tap(interface))
            lines.append(cable.line)
        config = Config(self._seed, descriptors, lines)
        environment = {**os.environ, LAB_VARIABLE: self.id}
        return WiresProcess(config, LEASH, environment, self.directory / "wires.log")

    def _router_commands(self, router: Router) -> Iterator[str]:
        yield "link set lo up"
        yield f"link add {LAN} type bridge"
        for address in router.lan.gateways:
            yield _add(LAN, address)
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
        self[router.node].run(["nft", "-f", "-"], text)

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

    def _batch(self, node: str, commands: Iterable[str]) -> None:
        self[node].run(["ip", "-batch", "-"], "\n".join(commands))

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
        self._batch(inner.node, _changed(LAN, gateways, inner.lan.gateways))
        for cable in touched:
            commands = list(_changed(cable.interface, addresses[id(cable)], cable.addresses))
            self._batch(cable.node, [*commands, *_default_routes(cable)])
        for router in layout.routers:
            after = list(layout.routes_of(router))
            gone = [network for network, _ in before[router.node] if network not in dict(after)]
            self._batch(
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

    def _forget_flows(self, node: str) -> None:
        with self[node].entered(), NFCTSocket() as flows:
            flows.flush()

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
            self[node].run(["nft", "-f", "-"], text)

    def unplug(self, machine: str) -> None:
        """Leave the network in which it is, if it is in one."""
        cable = self.layout.places[machine, self._plugged[machine]]
        deletes = [f"address delete {address} dev {cable.interface}" for address in cable.addresses]
        if self._is_up(machine, cable):
            self._batch(machine, [*deletes, f"link set {cable.interface} down"])

    def plug(self, machine: str, site: str) -> None:
        """Join the network of ``site``."""
        cable = self.layout.places[machine, site]
        self._plugged[machine] = site
        if not self._is_up(machine, cable):
            self._batch(machine, _up(cable))
        innermost = cable.parent
        if innermost.nat is not None and innermost.nat.is_one_to_one:
            self._set_rules(innermost)

    def _is_up(self, machine: str, cable: Cable) -> bool:
        shown = self[machine].run(["ip", "-brief", "address", "show", "dev", cable.interface])
        return all(str(address) in shown for address in cable.addresses)


@contextmanager
def open_network(
    scenario: Scenario, seed: int, labs: Path = LABS_DIRECTORY
) -> Iterator[KernelNetwork]:
    """Build the internet of ``scenario``, and remove it at the end, whatever the end is.

    Raise LabError when the machine lacks something.
    """
    if lacking := missing():
        raise LabError(lacking.replace("the lab", "the kernel engine"))
    try:
        clean(labs=labs)
        registration = Registration(labs)
    except OSError as error:
        raise lab_error(error) from error
    network = KernelNetwork(scenario, seed, registration)
    try:
        try:
            network.build()
        except OSError as error:
            raise lab_error(error) from error
        yield network
    finally:
        with undisturbed():
            try:
                network.close()
            finally:
                registration.remove()


def _up(cable: Cable) -> Iterator[str]:
    for address in cable.addresses:
        yield _add(cable.interface, address)
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
            yield _add(interface, new)


def _add(interface: str, address: IPInterface) -> str:
    # Nobody else has it, and a second of looking for one that does is not waited for.
    return f"address add {address} dev {interface}{' nodad' if address.version == 6 else ''}"
