"""Networks made of namespaces that stand in the registry of labs: built, changed, taken down.

Everything hangs together inside: no interface is ever in the namespace of the machine itself, and
no route leads from one to the other.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

from sims.lab.frame_process import open_tap
from sims.lab.namespaces import LabError, Namespace, lab_error
from sims.lab.registry import LAB_VARIABLE, Registration, clean
from sims.lab.requirements import missing
from sims.lab.topology import IPInterface, IpVersions, Node, Role
from sims.runtime.interrupts import undisturbed

HAS_IPV6: Final = Path("/proc/sys/net/ipv6").exists()

HAS_BRIDGE_FILTER: Final = Path("/proc/sys/net/bridge").exists()
_BRIDGE_FILTERS: Final = ("bridge.bridge-nf-call-iptables", "bridge.bridge-nf-call-ip6tables")

_ADDRGENMODE_EUI64: Final = 0
_ADDRGENMODE_NONE: Final = 1


class RegisteredNetwork:
    """Nodes by name, a namespace each, and a directory for their files.

    is_kept: it outlives us.
    """

    def __init__(self, registration: Registration) -> None:
        self.is_kept = False
        self._registration = registration
        self._namespaces: dict[str, Namespace] = {}

    @property
    def id(self) -> str:
        """Names it on this machine."""
        return self._registration.id

    @property
    def directory(self) -> Path:
        """Private to this user; removed with the network."""
        return self._registration.directory

    def __getitem__(self, name: str) -> Namespace:
        return self._namespaces[name]

    def build(self) -> None:
        """Raise LabError or OSError."""
        raise NotImplementedError

    def close(self) -> None:
        """Of what was built as much as there is."""
        for namespace in self._namespaces.values():
            namespace.close()

    def _environment(self) -> dict[str, str]:
        """Of a process that ends with the network."""
        return {**os.environ, LAB_VARIABLE: self.id}

    def _add_namespace(self, node: Node, ip: IpVersions) -> None:
        namespace = self._namespaces[node.name] = Namespace()
        # Interfaces take over what is the default in their namespace when they are made.
        _set_sysctls(node, namespace, ip)

    def _open_tap(self, node: str, interface: str) -> int:
        """Make ``interface`` in a node; give its descriptor."""
        with self[node].entered():
            return open_tap(interface)

    def _configure(self, node: str, commands: Iterable[str]) -> None:
        """Do what ``ip -batch`` takes, one after the other."""
        self[node].run(["ip", "-batch", "-"], "\n".join(commands))

    def _load_rules(self, node: str, rules: str) -> None:
        """As ``nft -f`` does: all or nothing."""
        self[node].run(["nft", "-f", "-"], rules)

    def _forget_flows(self, node: str) -> None:
        """Have conntrack know none of the flows under way."""
        with self[node].entered(), NFCTSocket() as flows:
            flows.flush()


NetworkT = TypeVar("NetworkT", bound=RegisteredNetwork)


@contextmanager
def open_registered(
    make: Callable[[Registration], NetworkT], labs: Path, needy: str
) -> Iterator[NetworkT]:
    """Build what ``make`` gives, and remove it at the end, whatever the end is.

    Labs of dead owners are removed first. needy: who needs what the machine lacks. Raise LabError
    when it lacks something.
    """
    if lacking := missing():
        raise LabError(lacking.replace("the lab", needy))
    try:
        clean(labs=labs)
        registration = Registration(labs)
    except OSError as error:
        raise lab_error(error) from error
    network = make(registration)
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
                if network.is_kept:
                    registration.close()
                else:
                    registration.remove()


def add_address(interface: str, address: IPInterface) -> str:
    """What gives ``interface`` an address, for ``ip -batch``."""
    # Nobody else has it, and a second of looking for one that does is not waited for.
    return f"address add {address} dev {interface}{' nodad' if address.version == 6 else ''}"


def _set_sysctls(node: Node, namespace: Namespace, ip: IpVersions) -> None:
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
