"""What each machine of the demo is given: its own files, and of the others a public key.

No address of one home stands in any file of another: that is what the demo has to find out.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Final

from p2p.identity import peer_id_of
from sims.lab.lab import Lab
from sims.lab.topology import IPAddress, IPInterface, IpVersions
from wice.keys import KEY_SIZE, PrivateKey, PublicKey

TUNNEL_NETWORK: Final = IPv4Network("10.77.0.0/24")
TUNNEL_NETWORK_IPV6: Final = IPv6Network("fd77::/64")
"""For a mesh without IPv4."""
WIREGUARD_PORT: Final = 51_820
OVERLAY_PORT: Final = 4_001
COMMUNITY: Final = "harbour"
INTERFACE: Final = "wg0"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that runs a daemon, and where its files are."""

    name: str
    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "wice.toml"

    @property
    def control_socket(self) -> Path:
        return self.directory / "wice.sock"

    @property
    def log(self) -> Path:
        return self.directory / "daemon.log"

    @property
    def state(self) -> Path:
        return self.directory / "state"


@dataclass(frozen=True, slots=True)
class Home(Machine):
    """A machine with a WireGuard interface."""

    public_key: PublicKey
    tunnel: IPInterface

    @property
    def tunnel_address(self) -> IPAddress:
        return self.tunnel.ip


def equip_bootstrap(lab: Lab, name: str) -> tuple[Machine, tuple[str, ...]]:
    """Write the files of a bootstrap node; give it, and its addresses with its peer id."""
    machine = Machine(name, lab.directory / name)
    machine.directory.mkdir(mode=0o700)
    listen = [_multiaddr(address) for address in lab.nodes[name].public_addresses]
    machine.config.write_text(_top(machine) + _overlay(listen, bootstrap=()))
    peer_id = peer_id_of(machine.state)
    return machine, tuple(f"{address}/p2p/{peer_id}" for address in listen)


def equip_homes(lab: Lab, names: Sequence[str], bootstrap: Sequence[str]) -> Mapping[str, Home]:
    """Write the files of all homes; each knows the keys of the others and ``bootstrap``."""
    private_keys = {name: PrivateKey(secrets.token_bytes(KEY_SIZE)) for name in names}
    homes = {
        name: Home(
            name,
            lab.directory / name,
            private_keys[name].public_key(),
            _tunnel(number, lab.topology.ip),
        )
        for number, name in enumerate(names, start=1)
    }
    anywhere = {4: "/ip4/0.0.0.0", 6: "/ip6/::"}
    listen = [f"{anywhere[version]}/tcp/{OVERLAY_PORT}" for version in lab.topology.ip.versions]
    for home in homes.values():
        home.directory.mkdir(mode=0o700)
        _write_secret(home.directory / f"{INTERFACE}.key", private_keys[home.name])
        others = [other for other in homes.values() if other is not home]
        text = _top(home) + _overlay(listen, bootstrap) + _interface(home, others)
        home.config.write_text(text)
    return homes


def _top(machine: Machine) -> str:
    return f"""\
state_dir = "{machine.state}"
control_socket = "{machine.control_socket}"
"""


def _tunnel(number: int, ip: IpVersions) -> IPInterface:
    if 4 in ip.versions:
        return IPv4Interface((TUNNEL_NETWORK[number], TUNNEL_NETWORK.prefixlen))
    return IPv6Interface((TUNNEL_NETWORK_IPV6[number], TUNNEL_NETWORK_IPV6.prefixlen))


def _multiaddr(address: IPAddress) -> str:
    return f"/ip{address.version}/{address}/tcp/{OVERLAY_PORT}"


def _overlay(listen: Sequence[str], bootstrap: Sequence[str]) -> str:
    return f"""
[overlay]
community = "{COMMUNITY}"
bootstrap = [{_quoted(bootstrap)}]
listen = [{_quoted(listen)}]
"""


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


def _interface(home: Home, others: Sequence[Home]) -> str:
    peers = "".join(
        f"""
[[interfaces.{INTERFACE}.peers]]
name = "{other.name}"
public_key = "{other.public_key}"
allowed_ips = ["{other.tunnel_address}/{other.tunnel.max_prefixlen}"]
"""
        for other in others
    )
    return f"""
[interfaces.{INTERFACE}]
private_key_file = "{INTERFACE}.key"
listen_port = {WIREGUARD_PORT}
addresses = ["{home.tunnel}"]
device = "auto"
{peers}"""


def _write_secret(path: Path, private_key: PrivateKey) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(private_key.reveal_base64() + "\n")
