"""The embedded device: a TUN, a UDP port and the tunnel between them, in this process."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from wice.datagram import Endpoint, Path
from wice.errors import RemoteProtocolError
from wice.events import Dropped, EventSink
from wice.keys import PublicKey
from wice.platform import Platform, Tun
from wice.wireguard.device import DeviceConfig, PeerConfig, PeerStatus
from wice.wireguard.port import SharedPort, open_port
from wice.wireguard.shared import HandshakeCompleted, PathRoamed
from wice.wireguard.tunnel import MTU_BYTES, Tunnel


class EmbeddedDevice:
    """A ``Device``; made by ``open_embedded``, which owns its tasks."""

    kind = "embedded"

    def __init__(self, tun: Tun, port: SharedPort, tunnel: Tunnel, events: EventSink) -> None:
        self.name = tun.name
        self.port = port
        self._tun = tun
        self._tunnel = tunnel
        self._events = events
        self._sleep = trio.CancelScope()
        self._change = trio.Event()

    def set_peer(self, peer: PeerConfig) -> None:
        self._tunnel.set_peer(peer)
        self._drain()

    def remove_peer(self, public_key: PublicKey) -> None:
        self._tunnel.remove_peer(public_key)
        self._drain()

    def set_path(
        self, public_key: PublicKey, path: Path | None, persistent_keepalive_s: int = 0
    ) -> None:
        self._tunnel.set_path(public_key, path, persistent_keepalive_s, trio.current_time())
        self._drain()

    @property
    def latest_timestamp(self) -> bytes:
        """The newest TAI64N timestamp of our initiations: the floor for the next start."""
        return self._tunnel.latest_timestamp

    def statistics(self) -> Sequence[PeerStatus]:
        return self._tunnel.statistics()

    async def wait_changed(self) -> None:
        await self._change.wait()
        self._change = trio.Event()

    async def run(self) -> None:
        """Carry packets until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.port.run, self._receive)
            nursery.start_soon(self._read_tun)
            nursery.start_soon(self._run_timers)

    async def _read_tun(self) -> None:
        while True:
            packet = await self._tun.read()
            self._tunnel.send(packet, trio.current_time())
            self._drain()
            await self.port.wait_sent()

    async def _run_timers(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._tunnel.deadline()) as self._sleep:
                await trio.sleep_forever()
            self._tunnel.handle_timeout(trio.current_time())
            self._drain()

    def _receive(self, data: bytes, source: Endpoint, destination: str | None) -> None:
        try:
            self._tunnel.receive(data, source, destination, trio.current_time())
        except RemoteProtocolError as error:
            self._events.emit(Dropped(room="wireguard", reason=str(error)))
        self._drain()

    def _drain(self) -> None:
        """Carry out what the last call to the tunnel left to do."""
        while (transmit := self._tunnel.poll_transmit()) is not None:
            self.port.transmit(transmit.data, transmit.path)
        while (packet := self._tunnel.poll_packet()) is not None:
            self._tun.write(packet)
        while (event := self._tunnel.poll_event()) is not None:
            if isinstance(event, HandshakeCompleted | PathRoamed):
                self._change.set()
        deadline = self._tunnel.deadline()
        if deadline != self._sleep.deadline:
            self._sleep.deadline = deadline


@asynccontextmanager
async def open_embedded(
    name: str,
    config: DeviceConfig,
    platform: Platform,
    events: EventSink,
    *,
    tai64n_floor: bytes = b"",
    mtu_bytes: int = MTU_BYTES,
    tunnel_indices: set[int] | None = None,
) -> AsyncIterator[EmbeddedDevice]:
    """Make the interface ``name`` and carry its packets while the context lasts.

    mtu_bytes: the MTU that the caller gives the interface; packets are not padded beyond it.
    tai64n_floor: see ``Tunnel``. tunnel_indices: the indices of all tunnels of this process, which
    devices share and add theirs to; what comes through one is not taken as an outer datagram, or
    routes through a tunnel could make one run inside itself.

    Raise DeviceNotFoundError (no TUN on this host), DevicePermissionDeniedError,
    DeviceRejectedError (name or port in use), each before the body runs.
    """
    tunnel = Tunnel(
        config.private_key,
        random_bytes=platform.random_bytes,
        wall_time=platform.wall_time,
        tai64n_floor=tai64n_floor,
        mtu_bytes=mtu_bytes,
    )
    tunnel_indices = set() if tunnel_indices is None else tunnel_indices
    port = await open_port(name, config.listen_port)
    port.refused_interfaces = tunnel_indices
    try:
        tun = platform.open_tun(name)
        try:
            tunnel_indices.add(tun.index)
            device = EmbeddedDevice(tun, port, tunnel, events)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(device.run)
                yield device
                nursery.cancel_scope.cancel()
        finally:
            await port.send_rest()
            tunnel_indices.discard(tun.index)
            tun.close()
    finally:
        port.close()
