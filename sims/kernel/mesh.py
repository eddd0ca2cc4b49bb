"""The machines of a scenario on the kernel's network, each with its files; nothing runs yet."""

import trio

from sims.kernel.machine import KernelMachine, Watcher
from sims.kernel.network import KernelNetwork
from sims.machines.mesh_files import MeshFiles
from sims.model.scenario import Scenario
from sims.runtime.entropy import Entropy


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
        bootstraps = network.layout.bootstraps
        mesh_files = MeshFiles(scenario, entropy, lambda name: bootstraps[name].addresses)
        self.private_keys = mesh_files.private_keys
        self.tunnels = mesh_files.tunnels
        self.machines: dict[str, KernelMachine] = {}
        places = [
            *((name, name, ("bootstrap",)) for name in scenario.bootstrap_names),
            *((each.name, site.name, ("up",)) for site in scenario.sites for each in site.machines),
        ]
        for name, site, verb in places:
            files = mesh_files.write_keys(name, network.directory / name)
            files.config.write_text(mesh_files.config(files))
            self.machines[name] = KernelMachine(files, site, verb, network, nursery, watcher)
