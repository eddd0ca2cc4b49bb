"""Build a topology out of network namespaces, and take it down again."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Final

from sims.lab.link import PLAIN
from sims.lab.namespaces import LabError
from sims.lab.nat import NAT_TABLE, WAN_ADDRESS, Nat
from sims.lab.registered_network import RegisteredNetwork, add_address, open_registered
from sims.lab.registry import LABS_DIRECTORY, LEASH, Registration, namespace_name
from sims.lab.switch_process import Port, SwitchProcess
from sims.lab.topology import (
    CORE,
    CORE_BRIDGE,
    Node,
    Role,
    Topology,
    Uplink,
)

RENUMBERED_BY: Final = 100
"""How far a new public address is from the old one: nobody has it."""


class Lab(RegisteredNetwork):
    """A topology that stands: its nodes by name, and a directory for its files."""

    def __init__(
        self, topology: Topology, registration: Registration, *, may_be_kept: bool
    ) -> None:
        super().__init__(registration)
        self.topology = topology
        self.nodes = {node.name: node for node in topology.nodes()}
        self._may_be_kept = may_be_kept
        self._switch: SwitchProcess | None = None

    def keep(self) -> dict[str, str]:
        """Let the lab outlive us; give the names of its namespaces for ``ip netns exec``."""
        assert self._may_be_kept
        names = {name: namespace_name(self.id, name) for name in self.nodes}
        self._registration.keep()
        for name, namespace in self._namespaces.items():
            namespace.publish(names[name])
        self.is_kept = True
        return names

    def build(self) -> None:
        for node in self.nodes.values():
            self._add_namespace(node, self.topology.ip)
        if any(not cable.link.is_plain for cable in self._core_cables().values()):
            self._switch = self._start_switch()
        for node in self.nodes.values():
            self._configure(node.name, self._links(node))
            for ruleset in node.rulesets:
                self._load_rules(node.name, _definitions(node) + ruleset)
        if self._switch is not None:
            self._switch.wait_ready()

    def close(self) -> None:
        if self._switch is not None:
            if self.is_kept:
                self._switch.release()
            else:
                self._switch.close()
        super().close()

    def set_cable(self, node: str, *, is_whole: bool) -> None:
        """Cut the cable of a node's uplink, or mend it; both ends see that the carrier changed."""
        uplink = self.nodes[node].uplink
        assert uplink is not None
        assert self._switch is None, "a switch of our own has cables that nobody cuts"
        self[uplink.parent].run(["ip", "link", "set", node, "up" if is_whole else "down"])

    def renumber(self, router: str) -> IPv4Address:
        """Give a router another public IPv4 address, as an access provider does; give that.

        ``nodes`` goes on saying what was built.
        """
        uplink = self.nodes[router].uplink
        assert uplink is not None and uplink.parent == CORE
        old = uplink.addresses[0]
        assert isinstance(old, IPv4Interface)
        new = old + RENUMBERED_BY
        commands = (
            f"address delete {old} dev {uplink.interface}",
            f"address add {new.ip}/{old.network.prefixlen} dev {uplink.interface}",
            f"route replace default via {uplink.gateways[0]}",
        )
        self._configure(router, commands)
        return new.ip

    def change_nat(self, site: str, nat: Nat, *, forgets: bool) -> None:
        """Reconfigure the router of a site, which keeps its addresses.

        forgets: as one that restarts with it, which knows none of the flows under way; else those
        keep their translation. ``nodes`` goes on saying what was built. Raise LabError.
        """
        router = self.nodes[f"{site}-nat"]
        if len(nat.routers) != 1:
            raise LabError(f"one router cannot be {nat.kind!r}")
        rules = f"delete table {NAT_TABLE}\n{_definitions(router)}{nat.routers[0]}"
        self._load_rules(router.name, rules)
        if forgets:
            self._forget_flows(router.name)

    def _core_cables(self) -> dict[str, Uplink]:
        """The uplinks of everybody on the core."""
        return {
            child.name: child.uplink
            for child in self._children(self.nodes[CORE])
            if child.uplink is not None
        }

    def _start_switch(self) -> SwitchProcess:
        """A switch of our own in place of the core's bridge: the kernel has none that is slow."""
        ports = [Port(self._open_tap(CORE, CORE_BRIDGE), PLAIN)]
        for name, cable in self._core_cables().items():
            ports.append(Port(self._open_tap(name, cable.interface), cable.link))
        leash = () if self._may_be_kept else LEASH
        return SwitchProcess(ports, leash, self._environment(), self.directory / "switch.log")

    def _links(self, node: Node) -> Iterator[str]:
        """What ``ip -batch`` does in a node; its parent has laid the cable already."""
        yield "link set lo up"
        if node.bridge:
            bridge = node.bridge.name
            is_switched = node.role is Role.CORE and self._switch is not None
            if not is_switched:
                yield f"link add {bridge} type bridge"
            yield from (add_address(bridge, address) for address in node.bridge.addresses)
            yield f"link set {bridge} up"
            for child in () if is_switched else self._children(node):
                assert child.uplink is not None
                end = f"name {child.uplink.interface} netns {self[child.name].path}"
                yield f"link add {child.name} type veth peer {end}"
                yield f"link set {child.name} master {bridge} up"
                if node.bridge.is_isolating:
                    yield f"link set {child.name} type bridge_slave isolated on"
        if node.uplink:
            interface = node.uplink.interface
            yield from (add_address(interface, address) for address in node.uplink.addresses)
            yield f"link set {interface} up"
            for gateway in node.uplink.gateways:
                yield f"route add default via {gateway}"
        for route in node.routes:
            yield f"route add {route.network} via {route.gateway}"

    def _children(self, parent: Node) -> Iterator[Node]:
        for node in self.nodes.values():
            if node.uplink and node.uplink.parent == parent.name:
                yield node


def open_lab(
    topology: Topology, labs: Path = LABS_DIRECTORY, *, is_kept: bool = False
) -> AbstractContextManager[Lab]:
    """Build ``topology``, and remove it at the end, whatever the end is.

    Labs of dead owners are removed first. is_kept: ``Lab.keep`` may be called. Raise LabError
    when the machine lacks something.
    """

    def make(registration: Registration) -> Lab:
        return Lab(topology, registration, may_be_kept=is_kept)

    return open_registered(make, labs, "the lab")


def _definitions(node: Node) -> str:
    """What a ruleset may refer to."""
    assert node.uplink is not None
    return "".join(
        f"define {WAN_ADDRESS} = {address.ip}\n"
        for address in node.uplink.addresses
        if address.version == 4
    )
