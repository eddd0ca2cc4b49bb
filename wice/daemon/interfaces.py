"""The WireGuard interfaces of one daemon: their devices, and what makes them find paths."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import trio

from wice.config import Config, InterfaceConfig
from wice.daemon.network import HostAddresses, follow_clock, follow_network
from wice.daemon.relay_servers import RelayServers
from wice.daemon.timestamp_floor import TimestampFloor
from wice.errors import NameNotResolvedError
from wice.events import EventStream
from wice.ice import Candidate, IceDriver
from wice.ice.candidate import LOCAL_PREFERENCE_MAX, relayed_candidate
from wice.peer.sources import ConfigSource
from wice.peer.supervisor import InterfaceSupervisor
from wice.platform import IPNetwork, LinkConfig, Platform, is_within
from wice.signaling.backend import Backend
from wice.signaling.transport import RelayGrant, Transport
from wice.stun import LongTermCredentials, StunURI, TokenBucket
from wice.stun.dns_lookup import DnsLookup
from wice.stun.resolve import resolve_stun
from wice.turn.relays import Relays, RelayServer
from wice.wireguard.device import DeviceConfig
from wice.wireguard.embedded import EmbeddedDevice, open_embedded

RESOLVE_RETRY_MIN_S: Final = 1.0
RESOLVE_RETRY_MAX_S: Final = 300.0

CHECKS_OF_ALL_BURST: Final = 8
CHECKS_OF_ALL_RATE_PER_S: Final = 0.2
"""How often all paths are checked since links or addresses changed; new addresses are used at
once however often."""


class Interfaces:
    """The interfaces of one daemon and what they share.

    relays: by interface, in the order of ``supervisors``.
    """

    def __init__(self, config: Config, platform: Platform, events: EventStream) -> None:
        """Raise DeviceError where the host does not tell its addresses."""
        self.supervisors: list[InterfaceSupervisor] = []
        self.relays: list[Relays] = []
        self._config = config
        self._platform = platform
        self._events = events
        self._devices: list[tuple[InterfaceConfig, EmbeddedDevice]] = []
        self._tunnel_indices: set[int] = set()
        own_names = frozenset(interface.name for interface in config.interfaces)
        self._addresses = HostAddresses(platform, own_names, config.ice.uses)
        self._drivers: list[IceDriver] = []
        self._granted: dict[RelayServer, RelayGrant] = {}
        self._relay_servers = RelayServers(
            config.ice.turn,
            DnsLookup(),
            platform.random_bytes,
            self._set_relay_servers,
            self._addresses.known,
        )
        self._checks_of_all = TokenBucket(
            CHECKS_OF_ALL_BURST, CHECKS_OF_ALL_RATE_PER_S, trio.current_time()
        )

    async def open_device(self, interface: InterfaceConfig, stack: AsyncExitStack) -> None:
        """Make the device, which lives as long as ``stack``, and set up its link."""
        floor = TimestampFloor(self._config.state_dir, interface.name)
        device = await stack.enter_async_context(
            open_embedded(
                interface.name,
                DeviceConfig(interface.private_key, interface.listen_port),
                self._platform,
                self._events,
                tai64n_floor=floor.read(),
                mtu_bytes=interface.mtu_bytes,
                tunnel_indices=self._tunnel_indices,
            )
        )
        self._platform.configure_link(device.name, link_config(interface))
        self._devices.append((interface, device))

    async def start(self, transport: Transport, backend: Backend, nursery: trio.Nursery) -> None:
        """Run the peers of every interface."""
        for interface, device in self._devices:
            await self._start(interface, device, transport, backend, nursery)
        nursery.start_soon(self._relay_servers.run)
        if self._config.ice.relays:
            nursery.start_soon(self._follow_grants, transport)
        nursery.start_soon(
            follow_network, self._platform, self._addresses.look, self._network_changed
        )
        nursery.start_soon(follow_clock, self._platform, self._host_slept)

    async def _start(
        self,
        interface: InterfaceConfig,
        device: EmbeddedDevice,
        transport: Transport,
        backend: Backend,
        nursery: trio.Nursery,
    ) -> None:
        ice = IceDriver(
            device.port,
            self._addresses.known,
            self._platform.random_bytes,
            self._events,
            policy=self._config.ice.candidates,
        )
        ice.set_stun_servers(transport.stun_servers())
        self._drivers.append(ice)
        relays = Relays(device.port, self._platform.random_bytes, self._events)
        relays.on_changed = lambda: ice.set_relayed_candidates(relayed_candidates(relays))
        ice.on_mapped = lambda mapping: relays.seen_as(mapping.server, mapping.mapped)
        relays.on_silent = self._relay_servers.set_silent
        relays.on_refused = partial(self._relay_refused, transport)
        self.relays.append(relays)
        await nursery.start(relays.run)
        supervisor = InterfaceSupervisor(
            public_key=interface.private_key.public_key(),
            device=device,
            ice=ice,
            backend=backend,
            platform=self._platform,
            events=self._events,
            probe_relays=relays.probe,
        )
        await nursery.start(supervisor.run)
        for change in ConfigSource().changes_to(interface.peers):
            supervisor.apply(change)
        self.supervisors.append(supervisor)
        nursery.start_soon(
            _resolve_stun_servers,
            self._config.stun,
            transport,
            ice,
            self._platform.random_bytes,
        )
        floor = TimestampFloor(self._config.state_dir, interface.name)
        nursery.start_soon(floor.keep, device)

    async def _follow_grants(self, transport: Transport) -> None:
        """Allocate wherever the community lets us: each interface has addresses of its own."""
        grants: Sequence[RelayGrant] = ()
        while True:
            grants = await transport.relay_grants(grants)
            self._granted = {
                RelayServer(
                    grant.server, LongTermCredentials(grant.username, grant.password)
                ): grant
                for grant in grants
            }
            self._relay_servers.grant(tuple(self._granted))

    def _relay_refused(self, transport: Transport, server: RelayServer) -> None:
        grant = self._granted.get(server)
        if grant is not None:
            transport.relay_refused(grant)

    def _set_relay_servers(self, servers: Sequence[RelayServer]) -> None:
        for relays in self.relays:
            relays.set_servers(servers)

    def _network_changed(self) -> None:
        """Interfaces that come and go without end, as containers' do, must not keep all busy."""
        if self._checks_of_all.take(1, trio.current_time()):
            self._check_all()
        else:
            for ice in self._drivers:
                ice.refresh()

    def _host_slept(self) -> None:
        """Whatever NATs and relays knew of us may be gone, though our addresses are the same."""
        self._check_all()
        for ice in self._drivers:
            ice.query_mappings()

    def _check_all(self) -> None:
        for ice in self._drivers:
            ice.network_changed()
        for relays in self.relays:
            relays.network_changed()
        self._relay_servers.network_changed()


def relayed_candidates(relays: Relays) -> list[Candidate]:
    """A candidate for each allocation, the first the best."""
    return [
        relayed_candidate(
            allocation.relayed, allocation.mapped, allocation.server, LOCAL_PREFERENCE_MAX - index
        )
        for index, allocation in enumerate(relays.allocations)
    ]


def link_config(interface: InterfaceConfig) -> LinkConfig:
    """Addresses, MTU, and a route to what peers are allowed that no address covers.

    Default routes are left to the person: taking them would cut the way to the peers themselves.
    """
    connected = [address.network for address in interface.addresses]
    routes: list[IPNetwork] = []
    for peer in interface.peers:
        for network in peer.config.allowed_ips:
            is_covered = any(is_within(network, other) for other in connected)
            if network.prefixlen > 0 and not is_covered:
                routes.append(network)
    return LinkConfig(
        addresses=interface.addresses, routes=tuple(routes), mtu_bytes=interface.mtu_bytes
    )


async def _resolve_stun_servers(
    uris: Sequence[StunURI],
    transport: Transport,
    ice: IceDriver,
    random_bytes: Callable[[int], bytes],
) -> None:
    """Add the configured servers as their names resolve; a dead name delays no other."""

    servers = set(transport.stun_servers())
    lookup = DnsLookup()

    async def resolve(uri: StunURI) -> None:
        wait_s = RESOLVE_RETRY_MIN_S
        while True:
            try:
                found = await resolve_stun(uri, lookup, random_bytes)
            except NameNotResolvedError:
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, RESOLVE_RETRY_MAX_S)
                continue
            servers.update(server.endpoint for server in found)
            ice.set_stun_servers(sorted(servers))
            return

    async with trio.open_nursery() as nursery:
        for uri in uris:
            nursery.start_soon(resolve, uri)
