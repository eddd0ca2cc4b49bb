"""What each machine of the demo is given: its own files, and of the others a public key."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Final

from p2p.identity import peer_id_of
from sims.lab.lab import Lab
from sims.lab.topology import IPAddress, IPInterface, IpVersions
from sims.machines.machine_files import (
    MachineFiles,
    Peer,
    bootstrap_config,
    home_config,
    overlay_multiaddr,
    write_private_key,
)
from wice.keys import KEY_SIZE, PrivateKey, PublicKey

TUNNEL_NETWORK: Final = IPv4Network("10.77.0.0/24")
TUNNEL_NETWORK_IPV6: Final = IPv6Network("fd77::/64")
"""For a mesh without IPv4."""


@dataclass(frozen=True, slots=True)
class Home(MachineFiles):
    """A machine with a WireGuard interface."""

    public_key: PublicKey
    tunnel: IPInterface

    @property
    def tunnel_address(self) -> IPAddress:
        return self.tunnel.ip


def equip_bootstrap(lab: Lab, name: str) -> tuple[MachineFiles, tuple[str, ...]]:
    """Write the files of a bootstrap node; give it, and its addresses with its peer id."""
    machine = MachineFiles(name, lab.directory / name)
    machine.directory.mkdir(mode=0o700)
    listen = [overlay_multiaddr(address) for address in lab.nodes[name].public_addresses]
    machine.config.write_text(bootstrap_config(machine, listen))
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
    for home in homes.values():
        home.directory.mkdir(mode=0o700)
        write_private_key(home, private_keys[home.name])
        peers = [
            Peer(other.name, other.public_key, other.tunnel_address)
            for other in homes.values()
            if other is not home
        ]
        versions = lab.topology.ip.versions
        home.config.write_text(home_config(home, versions, bootstrap, home.tunnel, peers))
    return homes


def _tunnel(number: int, ip: IpVersions) -> IPInterface:
    if 4 in ip.versions:
        return IPv4Interface((TUNNEL_NETWORK[number], TUNNEL_NETWORK.prefixlen))
    return IPv6Interface((TUNNEL_NETWORK_IPV6[number], TUNNEL_NETWORK_IPV6.prefixlen))
