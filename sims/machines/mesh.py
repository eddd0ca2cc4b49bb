"""The machines of a scenario on their network, each with its files: made, and nothing runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sims.internet.network import Network
from sims.machines.machine import Observer, SimulatedMachine, WallClock
from sims.machines.mesh_files import MeshFiles
from sims.machines.post_office import PostOffice
from sims.model.presets import BOOTSTRAP_LINE
from sims.model.scenario import Machine, Scenario, Site
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import Entropy


class Mesh:
    """private_keys: of every machine with a WireGuard interface. tunnels: their addresses inside.

    machines: by name, the bootstrap nodes first. wall_clock_began_s: seconds since 1970-01-01
    when the run was made, by a clock that is right.
    """

    def __init__(
        self,
        scenario: Scenario,
        entropy: Entropy,
        clock: VirtualClock,
        network: Network,
        directory: Path,
        wall_clock_began_s: float,
        observer: Observer,
    ) -> None:
        self.machines: dict[str, SimulatedMachine] = {}
        self._files = MeshFiles(scenario, entropy, lambda name: self.machines[name].addresses)
        self.private_keys = self._files.private_keys
        self.tunnels = self._files.tunnels
        self._scenario = scenario
        self._entropy = entropy
        self._clock = clock
        self._network = network
        self._post_office = PostOffice(network, clock, entropy)
        self._directory = directory
        self._wall_clock_began_s = wall_clock_began_s
        self._observer = observer
        self._build()

    def _build(self) -> None:
        for name in self._scenario.bootstrap_names:
            self._network.add_site(Site(name=name, line=BOOTSTRAP_LINE))
            self._add_machine(Machine(name=name), name, is_bootstrap=True)
        for site in outer_first(self._scenario.sites):
            self._network.add_site(site)
        for site in self._scenario.sites:
            for machine in site.machines:
                self._add_machine(machine, site.name, is_bootstrap=False)

    def _add_machine(self, machine: Machine, site: str, *, is_bootstrap: bool) -> None:
        disk = self._directory / machine.name
        self._files.write_keys(machine.name, disk)
        self.machines[machine.name] = SimulatedMachine(
            machine,
            site,
            disk,
            self._files.config,
            is_bootstrap=is_bootstrap,
            network=self._network,
            clock=self._clock,
            wall_clock=WallClock(self._clock, self._wall_clock_began_s, machine),
            entropy=self._entropy,
            post_office=self._post_office,
            observer=self._observer,
        )


def outer_first(sites: Sequence[Site]) -> Iterator[Site]:
    """Each site after the one it is behind."""
    waiting = list(sites)
    added: set[str | None] = {None}
    while waiting:
        ready = [site for site in waiting if site.behind in added]
        yield from ready
        added.update(site.name for site in ready)
        waiting = [site for site in waiting if site.name not in added]
