"""What the supervisor of an interface makes of its device's news, in virtual time."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from wice.config import NamedPeer
from wice.datagram import Endpoint, Path
from wice.events import EventStream
from wice.ice import IceDriver, PairSelected, SelectedPathLost
from wice.keys import PrivateKey
from wice.linux import LinuxPlatform
from wice.peer.sources import PeerAdded
from wice.peer.states import State
from wice.peer.supervisor import TRAFFIC_POLL_S, InterfaceSupervisor
from wice.wireguard.device import PeerConfig, PeerStatus
from wice.wireguard.messages import INITIATION_SIZE_BYTES

OURS, THEIRS = (PrivateKey(bytes([i] * 32)).public_key() for i in (1, 2))
PATH = Path(Endpoint("192.0.2.2", 51_820), "192.0.2.1")


class QuietPort:
    """A DatagramPort that nothing comes in at."""

    port = 51_820

    def send(self, data: bytes, path: Path) -> None:
        pass

    async def receive(self) -> Any:
        await trio.sleep_forever()


class TellingDevice:
    """A Device with one peer, whose status is what the test says."""

    name, kind = "wg0", "embedded"

    def __init__(self) -> None:
        self.port = QuietPort()
        self.status = PeerStatus(THEIRS, PATH, None, None, 0, 0)

    def set_peer(self, peer: PeerConfig) -> None:
        pass

    def set_path(self, *arguments: Any) -> None:
        pass

    def statistics(self) -> Sequence[PeerStatus]:
        return [self.status]

    async def wait_changed(self) -> None:
        await trio.sleep_forever()


class QuietBackend:
    async def publish(self, *_: Any) -> None:
        await trio.sleep_forever()

    @asynccontextmanager
    async def subscribe(self, *_: Any) -> AsyncIterator[trio.MemoryReceiveChannel[Any]]:
        sender, receiver = trio.open_memory_channel[Any](0)
        with sender, receiver:
            yield receiver


@pytest.fixture
async def supervisor(nursery: trio.Nursery, autojump_clock: trio.abc.Clock) -> InterfaceSupervisor:
    device, platform, events = TellingDevice(), LinuxPlatform(), EventStream()
    ice = IceDriver(device.port, lambda: ["192.0.2.1"], bytes, events)  # type: ignore[arg-type]
    supervisor = InterfaceSupervisor(
        public_key=OURS,
        device=device,  # type: ignore[arg-type]
        ice=ice,
        backend=QuietBackend(),  # type: ignore[arg-type]
        platform=platform,
        events=events,
        probe_relays=lambda: None,
    )
    await nursery.start(supervisor.run)
    supervisor.apply(PeerAdded(NamedPeer(PeerConfig(THEIRS, ()), "nas")))
    return supervisor


async def test_only_what_a_session_brings_proves_that_it_lives(
    autojump_clock: trio.testing.MockClock, supervisor: InterfaceSupervisor
) -> None:
    """A peer that was restarted with another preshared key starts handshakes without end."""
    device: Any = supervisor.device
    machine: Any
    (machine,) = supervisor.machines
    await trio.sleep(TRAFFIC_POLL_S)
    device.status = replace(device.status, latest_handshake_at_s=trio.current_time())
    await trio.sleep(2 * TRAFFIC_POLL_S)
    assert machine.state is State.CONNECTED
    _select(machine)
    await trio.sleep(20.0)
    machine.agent_event(machine.agents[0], SelectedPathLost(PATH, "gone"), trio.current_time())
    _select(machine)
    assert machine.state is State.SELECTED

    device.status = replace(device.status, rx_bytes=INITIATION_SIZE_BYTES)
    await trio.sleep(2 * TRAFFIC_POLL_S)
    assert machine.state is State.SELECTED
    device.status = replace(device.status, received_at_s=trio.current_time())
    await trio.sleep(2 * TRAFFIC_POLL_S)
    assert machine.state is State.CONNECTED


def _select(machine: Any) -> None:
    selected = PairSelected(PATH, "host", "host", 0.01)
    machine.agent_event(machine.agents[0], selected, trio.current_time())
