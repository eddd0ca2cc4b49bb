"""What stands in the files of a scenario's machines, whatever they run on.

The keys are chance: those of one seed are the same on each engine.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

from p2p.identity import FILE_NAME, SEED_SIZE_BYTES, Identity
from sims.machines.machine_files import (
    MachineFiles,
    Peer,
    bootstrap_config,
    home_config,
    overlay_multiaddr,
    write_private_key,
)
from sims.model.scenario import TUNNEL_NETWORK, TUNNEL_NETWORK_IPV6, Scenario
from sims.runtime.entropy import Entropy
from wice.keys import KEY_SIZE, PrivateKey
from wice.platform import IPInterface


class MeshFiles:
    """private_keys: of every machine with a WireGuard interface. tunnels: their addresses inside,
    with prefix lengths."""

    def __init__(
        self,
        scenario: Scenario,
        entropy: Entropy,
        addresses_of: Callable[[str], Iterable[IPInterface]],
    ) -> None:
        """addresses_of: those of a bootstrap node, now."""
        self.private_keys = {
            machine.name: PrivateKey(entropy.stream("wireguard key", machine.name).read(KEY_SIZE))
            for machine in scenario.machines
        }
        self.tunnels = _tunnels_of(scenario)
        self._scenario = scenario
        self._entropy = entropy
        self._addresses_of = addresses_of

    def write_keys(self, name: str, directory: Path) -> MachineFiles:
        """Make the directories of a machine, with its keys; ``config`` is left to who starts it."""
        files = MachineFiles(name, directory)
        directory.mkdir(mode=0o700)
        files.state.mkdir(mode=0o700)
        (files.state / FILE_NAME).write_bytes(self._node_seed(name))
        (files.state / FILE_NAME).chmod(0o600)
        if name in self.private_keys:
            write_private_key(files, self.private_keys[name])
        return files

    def config(self, files: MachineFiles) -> str:
        """The configuration of a machine, with what is known now."""
        scenario = self._scenario
        backend = scenario.overlay
        if files.name not in self.private_keys:
            listen = self._listens_at(files.name)
            return bootstrap_config(files, listen, has_relay=scenario.has_relay, backend=backend)
        bootstrap = [
            f"{multiaddr}/p2p/{Identity.from_seed(self._node_seed(name)).peer_id}"
            for name in scenario.bootstrap_names
            for multiaddr in self._listens_at(name)
        ]
        peers = [
            Peer(name, self.private_keys[name].public_key(), self.tunnels[name].ip)
            for name in scenario.peers_of(files.name)
        ]
        tunnel = self.tunnels[files.name]
        return home_config(files, scenario.ip_versions, bootstrap, tunnel, peers, backend=backend)

    def _node_seed(self, name: str) -> bytes:
        return self._entropy.stream("overlay key", name).read(SEED_SIZE_BYTES)

    def _listens_at(self, name: str) -> list[str]:
        return [overlay_multiaddr(address.ip) for address in self._addresses_of(name)]


def _tunnels_of(scenario: Scenario) -> dict[str, IPInterface]:
    """Addresses inside of the tunnel: those that the scenario gives, and others in its order."""
    network: Any = TUNNEL_NETWORK if 4 in scenario.ip_versions else TUNNEL_NETWORK_IPV6
    given = {machine.tunnel_address for machine in scenario.machines if machine.tunnel_address}
    free = (address for address in network.hosts() if str(address) not in given)
    interface: Any = IPv4Interface if 4 in scenario.ip_versions else IPv6Interface
    return {
        machine.name: interface((machine.tunnel_address or next(free), network.prefixlen))
        for machine in scenario.machines
    }
