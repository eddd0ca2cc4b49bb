"""The machines of a scenario on the kernel's network, each with its files; nothing runs yet."""

from pathlib import Path

import trio

from p2p.identity import FILE_NAME, SEED_SIZE_BYTES, Identity
from sims.kernel.machine import KernelMachine, Watcher
from sims.kernel.network import KernelNetwork
from sims.machines.machine_files import (
    MachineFiles,
    Peer,
    bootstrap_config,
    home_config,
    overlay_multiaddr,
    write_private_key,
)
from sims.machines.mesh import tunnels_of
from sims.model.scenario import Scenario
from sims.runtime.entropy import Entropy
from wice.keys import KEY_SIZE, PrivateKey


class KernelMesh:
    """private_keys: of every machine with a WireGuard interface, those of the simulator's machines
    with the same seed. tunnels: their addresses inside. machines: the bootstrap nodes first."""

    def __init__(
        self,
        scenario: Scenario,
        entropy: Entropy,
        network: KernelNetwork,
        nursery: trio.Nursery,
        watcher: Watcher,
    ) -> None:
        self.private_keys = {
            machine.name: PrivateKey(entropy.stream("wireguard key", machine.name).read(KEY_SIZE))
            for machine in scenario.machines
        }
        self.tunnels = tunnels_of(scenario)
        self.machines: dict[str, KernelMachine] = {}
        self._scenario = scenario
        self._entropy = entropy
        self._network = network
        for name in scenario.bootstrap_names:
            files = self._files(name)
            listen = self._listens_at(name)
            files.config.write_text(bootstrap_config(files, listen, has_relay=scenario.has_relay))
            self.machines[name] = KernelMachine(
                files, name, ("bootstrap",), network, nursery, watcher
            )
        for site in scenario.sites:
            for machine in site.machines:
                files = self._files(machine.name)
                write_private_key(files, self.private_keys[machine.name])
                files.config.write_text(self._home_config(files))
                self.machines[machine.name] = KernelMachine(
                    files, site.name, ("up",), network, nursery, watcher
                )

    def _files(self, name: str) -> MachineFiles:
        directory: Path = self._network.directory / name
        files = MachineFiles(name, directory)
        directory.mkdir(mode=0o700)
        files.state.mkdir(mode=0o700)
        (files.state / FILE_NAME).write_bytes(self._node_seed(name))
        (files.state / FILE_NAME).chmod(0o600)
        return files

    def _node_seed(self, name: str) -> bytes:
        return self._entropy.stream("overlay key", name).read(SEED_SIZE_BYTES)

    def _listens_at(self, name: str) -> list[str]:
        addresses = self._network.layout.bootstraps[name].addresses
        return [overlay_multiaddr(address.ip) for address in addresses]

    def _home_config(self, files: MachineFiles) -> str:
        bootstrap = [
            f"{multiaddr}/p2p/{Identity.from_seed(self._node_seed(name)).peer_id}"
            for name in self._scenario.bootstrap_names
            for multiaddr in self._listens_at(name)
        ]
        peers = [
            Peer(name, self.private_keys[name].public_key(), self.tunnels[name].ip)
            for name in self._scenario.peers_of(files.name)
        ]
        tunnel = self.tunnels[files.name]
        return home_config(files, self._scenario.ip_versions, bootstrap, tunnel, peers)
