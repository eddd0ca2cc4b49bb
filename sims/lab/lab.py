"""Build a topology out of network namespaces, and take it down again.

Everything hangs together inside the lab: no interface of it is ever in the namespace of the
machine itself, and no route leads from one to the other.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Final

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from sims.lab.frame_process import open_tap
from sims.lab.link import PLAIN
from sims.lab.namespaces import LabError, Namespace, lab_error
from sims.lab.nat import NAT_TABLE, WAN_ADDRESS, Nat
from sims.lab.registry import (
    LAB_VARIABLE,
    LABS_DIRECTORY,
    LEASH,
    Registration,
    clean,
    namespace_name,
)
from sims.lab.requirements import missing
from sims.lab.switch_process import Port, SwitchProcess
from sims.lab.topology import (
    CORE,
    CORE_BRIDGE,
    IPInterface,
    IpVersions,
    Node,
    Role,
    Topology,
    Uplink,
)
from sims.runtime.interrupts import undisturbed

RENUMBERED_BY: Final = 100
"""How far a new public address is from the old one: nobody has it."""

HAS_IPV6: Final = Path("/proc/sys/net/ipv6").exists()

HAS_BRIDGE_FILTER: Final = Path("/proc/sys/net/bridge").exists()
_BRIDGE_FILTERS: Final = ("bridge.bridge-nf-call-iptables", "bridge.bridge-nf-call-ip6tables")

_ADDRGENMODE_EUI64: Final = 0
_ADDRGENMODE_NONE: Final = 1


class Lab:
    """A topology that stands: its nodes by name, and a directory for its files."""

    def __init__(
        self, topology: Topology, registration: Registration, *, may_be_kept: bool
    ) -> None:
        self.topology = topology
        self.nodes = {node.name: node for node in topology.nodes()}
        self.namespaces: dict[str, Namespace] = {}
        self._registration = registration
        self.is_kept = False
        self._may_be_kept = may_be_kept
        self._switch: SwitchProcess | None = None

    @property
    def id(self) -> str:
        """Names this lab on this machine."""
        return self._registration.id

    @property
    def directory(self) -> Path:
        """Private to this user; removed with the lab."""
        return self._registration.directory

    def __getitem__(self, name: str) -> Namespace:
        return self.namespaces[name]

    def keep(self) -> dict[str, str]:
        """Let the lab outlive us; give the names of its namespaces for ``ip netns exec``."""
        assert self._may_be_kept
        names = {name: namespace_name(self.id, name) for name in self.nodes}
        self._registration.keep()
        for name, namespace in self.namespaces.items():
            namespace.publish(names[name])
        self.is_kept = True
        return names

    def build(self) -> None:
        for name in self.nodes:
            self.namespaces[name] = Namespace()
        # Interfaces take over what is the default in their namespace when they are made.
        for node in self.nodes.values():
            set_sysctls(node, self[node.name], self.topology.ip)
        if any(not cable.link.is_plain for cable in self._core_cables().values()):
            self._switch = self._start_switch()
        for node in self.nodes.values():
            self[node.name].run(["ip", "-batch", "-"], "\n".join(self._links(node)))
            for ruleset in node.rulesets:
                self[node.name].run(["nft", "-f", "-"], _definitions(node) + ruleset)
        if self._switch is not None:
            self._switch.wait_ready()

    def close(self) -> None:
        if self._switch is not None:
            if self.is_kept:
                self._switch.release()
            else:
                self._switch.close()
        for namespace in self.namespaces.values():
            namespace.close()

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
        self[router].run(["ip", "-batch", "-"], "\n".join(commands))
        return new.ip

    def change_nat(self, site: str, nat: Nat, *, forgets: bool) -> None:
        """Reconfigure the router of a site, which keeps its addresses.

        forgets: as one that restarts with it, which knows none of the flows under way; else those
        keep their translation. ``nodes`` goes on saying what was built. Raise LabError.
        """
        router = self.nodes[f"{site}-nat"]
        if len(nat.routers) != 1:
            raise LabError(f"one router cannot be {nat.kind!r}")
        inside = self[router.name]
        inside.run(
            ["nft", "-f", "-"], f"delete table {NAT_TABLE}\n{_definitions(router)}{nat.routers[0]}"
        )
        if forgets:
            with inside.entered(), NFCTSocket() as flows:
                flows.flush()

    def _core_cables(self) -> dict[str, Uplink]:
        """The uplinks of everybody on the core."""
        return {
            child.name: child.uplink
            for child in self._children(self.nodes[CORE])
            if child.uplink is not None
        }

    def _start_switch(self) -> SwitchProcess:
        """A switch of our own in place of the core's bridge: the kernel has none that is slow."""
        with self[CORE].entered():
            ports = [Port(open_tap(CORE_BRIDGE), PLAIN)]
        for name, cable in self._core_cables().items():
            with self[name].entered():
                ports.append(Port(open_tap(cable.interface), cable.link))
        leash = () if self._may_be_kept else LEASH
        environment = {**os.environ, LAB_VARIABLE: self.id}
        return SwitchProcess(ports, leash, environment, self.directory / "switch.log")

    def _links(self, node: Node) -> Iterator[str]:
        """What ``ip -batch`` does in a node; its parent has laid the cable already."""
        yield "link set lo up"
        if node.bridge:
            bridge = node.bridge.name
            is_switched = node.role is Role.CORE and self._switch is not None
            if not is_switched:
                yield f"link add {bridge} type bridge"
            yield from _add_addresses(bridge, node.bridge.addresses)
            yield f"link set {bridge} up"
            for child in () if is_switched else self._children(node):
                assert child.uplink is not None
                end = f"name {child.uplink.interface} netns {self[child.name].path}"
                yield f"link add {child.name} type veth peer {end}"
                yield f"link set {child.name} master {bridge} up"
                if node.bridge.is_isolating:
                    yield f"link set {child.name} type bridge_slave isolated on"
        if node.uplink:
            yield from _add_addresses(node.uplink.interface, node.uplink.addresses)
            yield f"link set {node.uplink.interface} up"
            for gateway in node.uplink.gateways:
                yield f"route add default via {gateway}"
        for route in node.routes:
            yield f"route add {route.network} via {route.gateway}"

    def _children(self, parent: Node) -> Iterator[Node]:
        for node in self.nodes.values():
            if node.uplink and node.uplink.parent == parent.name:
                yield node


@contextmanager
def open_lab(
    topology: Topology, labs: Path = LABS_DIRECTORY, *, is_kept: bool = False
) -> Iterator[Lab]:
    """Build ``topology``, and remove it at the end, whatever the end is.

    Labs of dead owners are removed first. is_kept: ``Lab.keep`` may be called. Raise LabError
    when the machine lacks something.
    """
    if lacking := missing():
        raise LabError(lacking)
    try:
        clean(labs=labs)
        registration = Registration(labs)
    except OSError as error:
        raise lab_error(error) from error
    lab = Lab(topology, registration, may_be_kept=is_kept)
    try:
        lab.build()
        yield lab
    finally:
        with undisturbed():
            lab.close()
            if lab.is_kept:
                registration.close()
            else:
                registration.remove()


def _add_addresses(interface: str, addresses: Sequence[IPInterface]) -> Iterator[str]:
    for address in addresses:
        # Nobody else has it, and a second of looking for one that does is not waited for.
        unchecked = " nodad" if address.version == 6 else ""
        yield f"address add {address} dev {interface}{unchecked}"


def _definitions(node: Node) -> str:
    """What a ruleset may refer to."""
    assert node.uplink is not None
    return "".join(
        f"define {WAN_ADDRESS} = {address.ip}\n"
        for address in node.uplink.addresses
        if address.version == 4
    )


def set_sysctls(node: Node, namespace: Namespace, ip: IpVersions) -> None:
    """Settle what a new namespace may have inherited from the machine."""
    settings = {
        "ipv4.ip_forward": int(node.forwards),
        # The internet and its access networks refuse packets from private addresses (BCP 38).
        "ipv4.conf.all.rp_filter": 1 if node.role is not Role.HOST else 0,
        "ipv4.conf.default.rp_filter": 1 if node.role is not Role.HOST else 2,
        # Both public networks are on the core's one bridge, and nobody shall learn a shortcut.
        "ipv4.conf.all.send_redirects": 0,
        "ipv4.conf.default.send_redirects": 0,
        "ipv4.conf.all.accept_redirects": 0,
        "ipv4.conf.default.accept_redirects": 0,
    }
    if HAS_IPV6:
        has_ipv6 = 6 in ip.versions
        settings |= {
            # Without IPv6 not even link-local addresses: a bridge would carry them.
            "ipv6.conf.default.addr_gen_mode": _ADDRGENMODE_EUI64
            if has_ipv6
            else _ADDRGENMODE_NONE,
            "ipv6.conf.all.forwarding": int(node.forwards and has_ipv6),
            "ipv6.conf.all.accept_dad": 0,
            "ipv6.conf.default.accept_dad": 0,
            "ipv6.conf.default.accept_ra": 0,
            "ipv6.conf.all.accept_redirects": 0,
            "ipv6.conf.default.accept_redirects": 0,
        }
    if HAS_BRIDGE_FILTER:
        # A switch is no firewall: what a router turns round would be filtered twice, and forwarded
        # by the switch past the router.
        settings |= dict.fromkeys(_BRIDGE_FILTERS, 0)
    for name, value in settings.items():
        namespace.set_sysctl(name, value)
