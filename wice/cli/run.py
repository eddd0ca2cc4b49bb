"""``wice up`` and ``wice bootstrap``: the daemon in the foreground, its events as log lines."""

import gc
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path as FilePath

import trio

from wice.config import Config, load_config
from wice.daemon.daemon import check_overlay, preload, run_bootstrap, run_up
from wice.events import Dropped, Event, EventStream
from wice.linux import LinuxPlatform
from wice.udp_sockets import UdpSocketFactory


def load_checked_config(path: FilePath) -> Config:
    """The configuration with the backend's own section checked, too; raise ConfigError."""
    config = load_config(path)
    check_overlay(config)
    return config


def run_foreground(
    path: FilePath, *, is_bootstrap: bool, is_relay: bool = False, debug: bool
) -> None:
    """Run until SIGTERM or SIGINT, then in order down; raise WiceError, alone or in a group.

    is_relay: relay whatever the configuration says.
    The caller may have disabled the garbage collector while it imported this module.
    """
    config = load_checked_config(path)
    if is_relay:
        config = replace(config, relay=replace(config.relay, is_enabled=True))
    preload(config)
    # What was imported stays for good: no collection needs to look at it again.
    gc.freeze()
    gc.enable()
    # A library's warning is not addressed to the person who runs a mesh.
    logging.basicConfig(level=logging.DEBUG if debug else logging.CRITICAL)
    trio.run(_run, config, is_bootstrap)


async def _run(config: Config, is_bootstrap: bool) -> None:
    trio.socket.set_custom_socket_factory(UdpSocketFactory())
    events = EventStream()
    started_at_s = trio.current_time()
    platform = LinuxPlatform()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
        nursery.start_soon(_log, events, started_at_s)
        if is_bootstrap:
            transport = await nursery.start(run_bootstrap, config, platform, events)
            for address in transport.status().get("listen", ()):
                _say(f"bootstrap node ready: {address}")
            if config.relay.is_enabled:
                _say(f"relaying for the community: UDP port {config.relay.port}")
        else:
            await nursery.start(run_up, config, platform, events)
            names = ", ".join(interface.name for interface in config.interfaces)
            _say(f"up: {names}; control socket {config.control_socket}")


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            _say("stopping")
            scope.cancel()
            return


async def _log(events: EventStream, started_at_s: float) -> None:
    with events.subscribe() as stream:
        async for event in stream:
            # What strangers send is counted; a line for each would let them fill the log.
            if not isinstance(event, Dropped):
                _say(_line(replace(event, at_s=event.at_s - started_at_s)))


def _line(event: Event) -> str:
    fields = event.as_json()
    name, at_s = fields.pop("event"), fields.pop("at_s")
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if value != "")
    return f"{at_s:9.3f} {name} {rest}".rstrip()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
