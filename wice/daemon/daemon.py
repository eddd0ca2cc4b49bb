"""The composition root: a configuration becomes a running daemon."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache
from importlib.metadata import entry_points

import trio

from wice.config import Config, InterfaceConfig
from wice.daemon.control import Verb, bind_control, serve_control
from wice.daemon.status import daemon_status
from wice.daemon.timestamp_floor import TimestampFloor
from wice.datagram import Endpoint
from wice.errors import ConfigError, DeviceError, WiceError
from wice.events import EventStream
from wice.ice import IceDriver
from wice.keys import LocalKeyHolder
from wice.peer.sources import ConfigSource
from wice.peer.supervisor import InterfaceSupervisor
from wice.platform import IPNetwork, LinkConfig, Platform
from wice.signaling.backend import Backend
from wice.signaling.sealed import SealedBackend
from wice.signaling.transport import Transport, TransportFactory
from wice.stun import StunURI
from wice.stun.driver import serve_stun
from wice.wireguard.device import DeviceConfig
from wice.wireguard.embedded import EmbeddedDevice, open_embedded

RESOLVE_RETRY_MIN_S = 1.0
RESOLVE_RETRY_MAX_S = 300.0

LOOK_AGAIN_S = 1.0
"""Until the host's addresses are read again when they could not be."""

BACKEND = "libp2p"
"""The entry point in ``wice.backends`` that carries envelopes."""


async def run_up(
    config: Config,
    platform: Platform,
    events: EventStream,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run every interface of ``config`` until cancelled."""
    if not config.interfaces:
        raise ConfigError(
            f"{config.path}: interfaces", "there is none", "add an [interfaces.wg0] section"
        )
    started_at_s = trio.current_time()
    async with AsyncExitStack() as stack:
        # What this host may refuse comes before anything that talks to others.
        control = await stack.enter_async_context(bind_control(config.control_socket))
        host = _Host(config, platform, events)
        for interface in config.interfaces:
            await host.open_device(interface, stack)
        transport = await stack.enter_async_context(
            _open_transport(config, platform, events, is_bootstrap=False)
        )
        key_holders = [
            LocalKeyHolder(interface.private_key, platform.random_bytes)
            for interface in config.interfaces
        ]
        backend = await stack.enter_async_context(
            SealedBackend.open(transport, key_holders, platform.random_bytes, events)
        )
        nursery = await stack.enter_async_context(trio.open_nursery())
        await host.start(transport, backend, nursery)
        nursery.start_soon(
            serve_control,
            control,
            {
                "status": Verb(
                    lambda: daemon_status(config, host.supervisors, transport, events, started_at_s)
                ),
            },
            events,
        )
        task_status.started()
        await trio.sleep_forever()


class _Host:
    """The interfaces of one daemon and what they share."""

    def __init__(self, config: Config, platform: Platform, events: EventStream) -> None:
        self.supervisors: list[InterfaceSupervisor] = []
        self._config = config
        self._platform = platform
        self._events = events
        self._devices: list[tuple[InterfaceConfig, EmbeddedDevice]] = []
        self._tunnel_indices: set[int] = set()
        own_names = frozenset(interface.name for interface in config.interfaces)
        self._addresses = HostAddresses(platform, own_names, config.ice.uses)
        self._drivers: list[IceDriver] = []

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
            ice = IceDriver(
                device.port,
                self._addresses.known,
                self._platform.random_bytes,
                self._events,
                policy=self._config.ice.candidates,
            )
            ice.set_stun_servers(transport.stun_servers())
            self._drivers.append(ice)
            supervisor = InterfaceSupervisor(
                public_key=interface.private_key.public_key(),
                device=device,
                ice=ice,
                backend=backend,
                platform=self._platform,
                events=self._events,
            )
            await nursery.start(supervisor.run)
            for change in ConfigSource().changes_to(interface.peers):
                supervisor.apply(change)
            self.supervisors.append(supervisor)
            nursery.start_soon(_resolve_stun_servers, self._config.stun, transport, ice)
            floor = TimestampFloor(self._config.state_dir, interface.name)
            nursery.start_soon(floor.keep, device)
        nursery.start_soon(self._follow_network)

    async def _follow_network(self) -> None:
        """Tell every interface when the host's addresses changed."""
        async with self._platform.watch_network() as changes:
            async for _ in changes:
                await self._look_at_addresses()
                for ice in self._drivers:
                    ice.refresh()

    async def _look_at_addresses(self) -> None:
        while True:
            try:
                self._addresses.look()
                return
            except DeviceError:
                # Interfaces come and go faster than their list can be read, as containers do.
                await trio.sleep(LOOK_AGAIN_S)


async def run_bootstrap(
    config: Config,
    platform: Platform,
    events: EventStream,
    *,
    task_status: trio.TaskStatus[Transport] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a public overlay node with its STUN server until cancelled."""
    started_at_s = trio.current_time()
    async with (
        bind_control(config.control_socket) as control,
        trio.open_nursery() as nursery,
    ):
        # What this host may refuse comes before anything that talks to others.
        await nursery.start(serve_stun, config.stun_server_ports)
        async with _open_transport(config, platform, events, is_bootstrap=True) as transport:
            nursery.start_soon(
                serve_control,
                control,
                {
                    "status": Verb(
                        lambda: daemon_status(config, [], transport, events, started_at_s)
                    )
                },
                events,
            )
            task_status.started(transport)
            await trio.sleep_forever()


def link_config(interface: InterfaceConfig) -> LinkConfig:
    """Addresses, MTU, and a route to what peers are allowed that no address covers.

    Default routes are left to the person: taking them would cut the way to the peers themselves.
    """
    connected = [address.network for address in interface.addresses]
    routes: list[IPNetwork] = []
    for peer in interface.peers:
        for network in peer.config.allowed_ips:
            is_covered = any(
                network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]
                for other in connected
            )
            if network.prefixlen > 0 and not is_covered:
                routes.append(network)
    return LinkConfig(
        addresses=interface.addresses, routes=tuple(routes), mtu_bytes=interface.mtu_bytes
    )


class HostAddresses:
    """Addresses of the host that a peer could send to: up, on no tunnel of ours, and on interfaces
    that are used by configuration.

    Read once a change for all interfaces; raise DeviceError when made.
    """

    def __init__(
        self,
        platform: Platform,
        own_names: frozenset[str],
        is_used: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._platform = platform
        self._is_used = is_used
        self._own_names = own_names
        self._addresses: tuple[str, ...] = ()
        self.look()

    def look(self) -> None:
        """Read them anew; raise DeviceError, and then keep what was known."""
        self._addresses = tuple(
            str(address.ip)
            for interface in self._platform.interfaces()
            if interface.is_up
            and interface.name not in self._own_names
            and self._is_used(interface.name)
            for address in interface.addresses
        )

    def known(self) -> Sequence[str]:
        return self._addresses


def check_overlay(config: Config) -> None:
    """Let the backend check its own section; raise ConfigError."""
    with _places_in(config):
        for entry in entry_points(group="wice.config_checks", name=BACKEND):
            entry.load()(config.overlay, is_bootstrap=not config.interfaces)


@cache
def load_backend() -> TransportFactory:
    """Import the backend, which takes most of the start; raise WiceError where there is none."""
    entries = tuple(entry_points(group="wice.backends", name=BACKEND))
    if not entries:
        raise WiceError(f"the backend {BACKEND} is not installed")
    factory: TransportFactory = entries[0].load()
    return factory


@asynccontextmanager
async def _open_transport(
    config: Config, platform: Platform, events: EventStream, *, is_bootstrap: bool
) -> AsyncIterator[Transport]:
    opening = load_backend()(
        config.overlay,
        platform=platform,
        state_directory=platform.state_directory(config.state_dir),
        events=events,
        is_bootstrap=is_bootstrap,
    )
    async with AsyncExitStack() as stack:
        with _places_in(config):
            transport = await stack.enter_async_context(opening)
        yield transport


@contextmanager
def _places_in(config: Config) -> Iterator[None]:
    """The backend knows its section; which file that stands in is known here."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{config.path}: {error.where}", error.why, error.hint) from None


async def _resolve_stun_servers(
    uris: Sequence[StunURI], transport: Transport, ice: IceDriver
) -> None:
    """Add the configured servers as their names resolve; a dead name delays no other."""

    servers = set(transport.stun_servers())

    async def resolve(uri: StunURI) -> None:
        wait_s = RESOLVE_RETRY_MIN_S
        while True:
            try:
                found = await trio.socket.getaddrinfo(
                    uri.host, uri.port, type=trio.socket.SOCK_DGRAM
                )
            except OSError:
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, RESOLVE_RETRY_MAX_S)
                continue
            servers.update(Endpoint(str(address[0]), int(address[1])) for *_, address in found)
            ice.set_stun_servers(sorted(servers))
            return

    async with trio.open_nursery() as nursery:
        for uri in uris:
            nursery.start_soon(resolve, uri)
