"""The composition root: a configuration becomes a running daemon."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial

import trio

from wice.config import Config
from wice.daemon.backends import check_section, load_backend
from wice.daemon.control import Verb, bind_control, serve_control
from wice.daemon.interfaces import Interfaces
from wice.daemon.network import public_addresses
from wice.daemon.relay import CommunityRelay
from wice.daemon.status import daemon_status
from wice.daemon.why import explain_peer, refuse_peer
from wice.errors import ConfigError
from wice.events import EventStream
from wice.keys import LocalKeyHolder
from wice.platform import Platform
from wice.signaling.sealed import SealedBackend
from wice.signaling.transport import RelayLender, Transport
from wice.stun.driver import serve_stun


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
        host = Interfaces(config, platform, events)
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
                    lambda: daemon_status(
                        config,
                        host.supervisors,
                        transport,
                        events,
                        started_at_s,
                        relays=host.relays,
                    )
                ),
                "why": Verb(
                    lambda peer: explain_peer(config, host.supervisors, transport, peer), ("peer",)
                ),
            },
            events,
        )
        task_status.started()
        await trio.sleep_forever()


async def run_bootstrap(
    config: Config,
    platform: Platform,
    events: EventStream,
    *,
    task_status: trio.TaskStatus[Transport] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a public overlay node with its STUN server, and its relay, until cancelled."""
    started_at_s = trio.current_time()
    async with (
        bind_control(config.control_socket) as control,
        trio.open_nursery() as nursery,
    ):
        # What this host may refuse comes before anything that talks to others.
        relay = CommunityRelay(config.relay, platform) if config.relay.is_enabled else None
        stun_ports = config.stun_server_ports
        if relay is not None:
            await nursery.start(relay.run)
            # A TURN server answers STUN, too.
            stun_ports = tuple(port for port in stun_ports if port != config.relay.port)
        if stun_ports:
            public = public_addresses(platform)
            await nursery.start(partial(serve_stun, stun_ports, public_addresses=public))
        async with _open_transport(
            config,
            platform,
            events,
            is_bootstrap=True,
            lend_relay=None if relay is None else relay.lend,
        ) as transport:
            nursery.start_soon(
                serve_control,
                control,
                {
                    "status": Verb(
                        lambda: daemon_status(
                            config, [], transport, events, started_at_s, relay=relay
                        )
                    ),
                    "why": Verb(refuse_peer, ("peer",)),
                },
                events,
            )
            task_status.started(transport)
            await trio.sleep_forever()


def check_overlay(config: Config) -> None:
    """Let the backend check its own section; raise ConfigError."""
    with _places_in(config):
        check_section(config.backend, config.overlay, is_bootstrap=not config.interfaces)


def preload(config: Config) -> None:
    """Import the backend ahead of the first run; raise ConfigError where it is not installed."""
    with _places_in(config):
        load_backend(config.backend)


@asynccontextmanager
async def _open_transport(
    config: Config,
    platform: Platform,
    events: EventStream,
    *,
    is_bootstrap: bool,
    lend_relay: RelayLender | None = None,
) -> AsyncIterator[Transport]:
    async with AsyncExitStack() as stack:
        with _places_in(config):
            opening = load_backend(config.backend)(
                config.overlay,
                platform=platform,
                state_directory=platform.state_directory(config.state_dir),
                events=events,
                is_bootstrap=is_bootstrap,
                lend_relay=lend_relay,
            )
            transport = await stack.enter_async_context(opening)
        yield transport


@contextmanager
def _places_in(config: Config) -> Iterator[None]:
    """The backend knows its section; which file that stands in is known here."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{config.path}: {error.where}", error.why, error.hint) from None
