"""What ``wice status`` shows, as plain JSON values."""

from collections.abc import Sequence
from typing import Any

import trio

from wice.config import Config, InterfaceConfig
from wice.daemon.relay import CommunityRelay
from wice.events import EventStream, OverlayJoined
from wice.peer.machine import PeerMachine
from wice.peer.supervisor import InterfaceSupervisor
from wice.signaling.transport import Transport
from wice.turn.relays import Relays
from wice.wireguard.device import PeerStatus


def daemon_status(
    config: Config,
    supervisors: Sequence[InterfaceSupervisor],
    transport: Transport,
    events: EventStream,
    started_at_s: float,
    *,
    relays: Sequence[Relays] = (),
    relay: CommunityRelay | None = None,
) -> dict[str, Any]:
    """A snapshot; relays: those of each interface. relay: what this host is to others.

    The seconds in ``stages`` count from the daemon's start."""
    joined_at_s = events.first_at_s.get(OverlayJoined.__name__)
    return {
        "uptime_s": trio.current_time() - started_at_s,
        "overlay": {
            **transport.status(),
            "joined_s": None if joined_at_s is None else joined_at_s - started_at_s,
        },
        "interfaces": [
            {
                **_interface_status(interface, supervisor, started_at_s),
                "relays": used.status(),
            }
            for interface, supervisor, used in zip(
                config.interfaces, supervisors, relays, strict=False
            )
        ],
        "relay": None if relay is None else relay.status(),
        "counters": dict(events.counts),
    }


def _interface_status(
    interface: InterfaceConfig, supervisor: InterfaceSupervisor, started_at_s: float
) -> dict[str, Any]:
    names = {peer.config.public_key: peer.name for peer in interface.peers}
    statuses = supervisor.device_status()
    return {
        "name": supervisor.device.name,
        "public_key": str(supervisor.public_key),
        "listen_port": supervisor.device.port.port,
        "addresses": [str(address) for address in interface.addresses],
        "device": supervisor.device.kind,
        "peers": [
            {
                "name": names.get(machine.public_key, ""),
                **_peer_status(machine, statuses.get(machine.public_key), started_at_s),
            }
            for machine in supervisor.machines
        ],
    }


def _path_kind(machine: PeerMachine) -> str | None:
    if machine.path is None:
        return None
    return "relayed" if machine.is_relayed else "direct"


def _peer_status(
    machine: PeerMachine, status: PeerStatus | None, started_at_s: float
) -> dict[str, Any]:
    now = trio.current_time()
    handshake_at_s = status.latest_handshake_at_s if status else None
    stages, signaling = machine.stages, machine.signaling_statistics
    return {
        "public_key": str(machine.public_key),
        "state": str(machine.state),
        "path": _path_kind(machine),
        "endpoint": str(status.path.remote) if status and status.path else None,
        "selected": str(machine.path.remote) if machine.path is not None else None,
        "reason": machine.reason,
        "rtt_ms": None if machine.rtt_s is None else machine.rtt_s * 1000,
        "latest_handshake_age_s": None if handshake_at_s is None else now - handshake_at_s,
        "rx_bytes": status.rx_bytes if status else 0,
        "tx_bytes": status.tx_bytes if status else 0,
        "signaling": {
            "settled": machine.is_settled,
            "sessions": signaling.sessions,
            "messages": signaling.messages,
        },
        "stages": {
            name: None if at_s is None else at_s - started_at_s
            for name, at_s in (
                ("found", stages.found),
                ("described", stages.described),
                ("checking", stages.checking),
                ("selected", stages.selected),
                ("handshake", stages.handshake),
            )
        },
    }
