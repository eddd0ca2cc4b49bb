"""Helpers shared by the tests of the overlay: real py-libp2p over loopback sockets."""

import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest
import trio
from google.protobuf.message import Message

from p2p.backend import OverlayTransport, open_transport
from p2p.host import Host, open_host
from p2p.identity import Identity, peer_id_of
from p2p.section import NodeAddress, TcpAddress
from p2p.streams import FrameStream, StreamClosedError
from wice.errors import SignalingUnavailableError
from wice.events import Dropped, Event
from wice.keys import EPOCH_LENGTH_S, LocalKeyHolder, PrivateKey, PublicKey
from wice.platform import NetworkInterface
from wice.signaling.transport import RelayLender

LOOPBACK = "127.0.0.1"
HOUR_S = 3_600.0
PATIENCE_S = 30.0
"""A test that waits longer for one thing hangs."""


class Sink:
    """Keeps the events it gets, and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._arrived = trio.Event()

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self._arrived.set()
        self._arrived = trio.Event()

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def dropped(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, Dropped)]

    async def wait_for(self, kind: type[Event], count: int = 1) -> list[Event]:
        with trio.fail_after(PATIENCE_S):
            while len(found := self.of(kind)) < count:
                await self._arrived.wait()
        return found


class LoopbackPlatform:
    """A host with a loopback interface and a clock that a test may turn."""

    def __init__(self) -> None:
        # No test crosses into the next epoch, or hour, by chance.
        self.clock_offset_s = (EPOCH_LENGTH_S + HOUR_S) / 2 - time.time() % EPOCH_LENGTH_S
        self._watchers: list[trio.MemorySendChannel[None]] = []

    def change_network(self) -> None:
        """Tell every node that links or addresses changed."""
        for watcher in self._watchers:
            watcher.send_nowait(None)

    def wall_time(self) -> float:
        return time.time() + self.clock_offset_s

    def random_bytes(self, size_bytes: int) -> bytes:
        return os.urandom(size_bytes)

    def state_directory(self, path: Path) -> Path:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def interfaces(self) -> Sequence[NetworkInterface]:
        return [NetworkInterface("lo", 1, True, True, (IPv4Interface("127.0.0.1/8"),))]

    @asynccontextmanager
    async def watch_network(self) -> AsyncIterator[trio.MemoryReceiveChannel[None]]:
        send_channel, receive_channel = trio.open_memory_channel[None](1)
        self._watchers.append(send_channel)
        try:
            with send_channel, receive_channel:
                yield receive_channel
        finally:
            self._watchers.remove(send_channel)


class Stranger:
    """A node that speaks to one other as it likes."""

    def __init__(self, host: Host, other: str) -> None:
        self.host = host
        self.other = other

    async def open(self, protocol: str) -> FrameStream:
        return await self.host.open_stream(self.other, protocol)

    async def ask(self, protocol: str, request: Message, answer: Message) -> Message | None:
        """Send one message and fill ``answer``; None where the stream was closed on us."""
        stream = await self.open(protocol)
        try:
            with trio.fail_after(PATIENCE_S):
                await stream.send(request.SerializeToString())
                answer.ParseFromString(await stream.receive())
        except StreamClosedError:
            return None
        finally:
            await stream.aclose()
        return answer


class Overlay:
    """A bootstrap list and a place for state; opens nodes on loopback."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bootstrap: list[str] = []
        self.platform = LoopbackPlatform()

    def place_bootstrap(self, name: str, port: int) -> str:
        """Put a bootstrap node into the list before it runs; its full multiaddr."""
        peer_id = peer_id_of(self.directory / name)
        address = f"/ip4/{LOOPBACK}/tcp/{port}/p2p/{peer_id}"
        self.bootstrap.append(address)
        return address

    async def eventually(self, condition: Callable[[], bool]) -> None:
        """Wait for what has no event."""
        with trio.fail_after(PATIENCE_S):
            while not condition():  # noqa: ASYNC110
                await trio.sleep(0.02)

    async def send(
        self, transport: OverlayTransport, recipient: PublicKey, envelope: bytes
    ) -> None:
        """Send as the session layer does: again until it is taken."""
        with trio.fail_after(PATIENCE_S):
            while True:
                try:
                    await transport.send(recipient, envelope)
                except SignalingUnavailableError:
                    await trio.sleep(0.1)
                else:
                    return

    def make_sink(self) -> Sink:
        return Sink()

    def make_holder(self) -> LocalKeyHolder:
        return LocalKeyHolder(PrivateKey(os.urandom(32)), os.urandom)

    @asynccontextmanager
    async def open_stranger(self, node: str) -> AsyncIterator[Stranger]:
        """A bare libp2p node connected to the node at the multiaddr ``node``."""
        address = NodeAddress.parse(node)
        async with open_host(
            Identity.from_seed(os.urandom(32)),
            [TcpAddress(LOOPBACK, 0)],
            connections_max=8,
            is_valuable=lambda _: False,
            count_fault=lambda _: None,
        ) as host:
            await host.connect(address.peer_id, [address.address])
            yield Stranger(host, address.peer_id)

    def open_bootstrap(
        self,
        name: str,
        *,
        sink: Sink | None = None,
        lend_relay: RelayLender | None = None,
        **section: Any,
    ) -> AbstractAsyncContextManager[OverlayTransport]:
        peer_id = peer_id_of(self.directory / name)
        own = [address for address in self.bootstrap if address.endswith(peer_id)]
        listen = own[0].partition("/p2p/")[0] if own else f"/ip4/{LOOPBACK}/tcp/0"
        others = [address for address in self.bootstrap if address not in own]
        section = {"listen": [listen], "bootstrap": others, **section}
        return self._open(name, section, sink, is_bootstrap=True, lend_relay=lend_relay)

    def open_peer(
        self, name: str, *, sink: Sink | None = None, **section: Any
    ) -> AbstractAsyncContextManager[OverlayTransport]:
        section = {"bootstrap": self.bootstrap, **section}
        return self._open(name, section, sink, is_bootstrap=False)

    def _open(
        self,
        name: str,
        section: dict[str, Any],
        sink: Sink | None,
        *,
        is_bootstrap: bool,
        lend_relay: RelayLender | None = None,
    ) -> AbstractAsyncContextManager[OverlayTransport]:
        return open_transport(
            {"community": "harbour", **section},
            platform=self.platform,
            state_directory=self.directory / name,
            events=sink or Sink(),
            is_bootstrap=is_bootstrap,
            lend_relay=lend_relay,
        )


@pytest.fixture
def overlay(tmp_path: Path) -> Overlay:
    return Overlay(tmp_path)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives ports of loopback that nobody listens on now."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
            return port

    return find


@pytest.fixture
def sink() -> Sink:
    return Sink()
