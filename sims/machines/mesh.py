"""The machines of a scenario on their network, each with its files: made, and nothing runs."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

from p2p.identity import FILE_NAME, SEED_SIZE_BYTES, Identity
from sims.internet.network import Network
from sims.machines.machine import Observer, SimulatedMachine, WallClock, WriteConfig
from sims.machines.machine_files import (
    MachineFiles,
    Peer,
    bootstrap_config,
    home_config,
    overlay_multiaddr,
    write_private_key,
)
from sims.machines.post_office import PostOffice
from sims.model.presets import BOOTSTRAP_LINE
from sims.model.scenario import TUNNEL_NETWORK, TUNNEL_NETWORK_IPV6, Machine, Scenario, Site
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import Entropy
from wice.keys import KEY_SIZE, PrivateKey


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
        self.private_keys = {
            machine.name: PrivateKey(entropy.stream("wireguard key", machine.name).read(KEY_SIZE))
            for machine in scenario.machines
        }
        self.tunnels = tunnels_of(scenario)
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
            self._add_machine(Machine(name=name), name, self._bootstrap_config, is_bootstrap=True)
        for site in outer_first(self._scenario.sites):
            self._network.add_site(site)
        for site in self._scenario.sites:
            for machine in site.machines:
                self._add_machine(machine, site.name, self._home_config, is_bootstrap=False)

    def _add_machine(
        self, machine: Machine, site: str, write_config: WriteConfig, *, is_bootstrap: bool
    ) -> None:
        disk = self._directory / machine.name
        state = MachineFiles(machine.name, disk).state
        state.mkdir(parents=True)
        (state / FILE_NAME).write_bytes(self._node_seed(machine.name))
        (state / FILE_NAME).chmod(0o600)
        if not is_bootstrap:
            write_private_key(MachineFiles(machine.name, disk), self.private_keys[machine.name])
        self.machines[machine.name] = SimulatedMachine(
            machine,
            site,
            disk,
            write_config,
            is_bootstrap=is_bootstrap,
            network=self._network,
            clock=self._clock,
            wall_clock=WallClock(self._clock, self._wall_clock_began_s, machine),
            entropy=self._entropy,
            post_office=self._post_office,
            observer=self._observer,
        )

    def _node_seed(self, name: str) -> bytes:
        return self._entropy.stream("overlay key", name).read(SEED_SIZE_BYTES)

    def _listens_at(self, name: str) -> list[str]:
        return [overlay_multiaddr(address.ip) for address in self.machines[name].addresses]

    def _bootstrap_config(self, files: MachineFiles) -> str:
        has_relay = self._scenario.has_relay
        listen = self._listens_at(files.name)
        backend = self._scenario.overlay
        return bootstrap_config(files, listen, has_relay=has_relay, backend=backend)

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
        versions = self._scenario.ip_versions
        tunnel, backend = self.tunnels[files.name], self._scenario.overlay
        return home_config(files, versions, bootstrap, tunnel, peers, backend=backend)


def tunnels_of(scenario: Scenario) -> dict[str, IPv4Interface | IPv6Interface]:
    """Addresses inside of the tunnel: those that the scenario gives, and others in its order."""
    network: Any = TUNNEL_NETWORK if 4 in scenario.ip_versions else TUNNEL_NETWORK_IPV6
    given = {machine.tunnel_address for machine in scenario.machines if machine.tunnel_address}
    free = (address for address in network.hosts() if str(address) not in given)
    interface: Any = IPv4Interface if 4 in scenario.ip_versions else IPv6Interface
    return {
        machine.name: interface((machine.tunnel_address or next(free), network.prefixlen))
        for machine in scenario.machines
    }


def outer_first(sites: Sequence[Site]) -> Iterator[Site]:
    """Each site after the one it is behind."""
    waiting = list(sites)
    added: set[str | None] = {None}
    while waiting:
        ready = [site for site in waiting if site.behind in added]
        yield from ready
        added.update(site.name for site in ready)
        waiting = [site for site in waiting if site.name not in added]
