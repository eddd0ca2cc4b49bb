"""A tunnel interface of a simulated host."""

from collections import Counter, deque
from collections.abc import Callable
from typing import Final, Protocol

import trio

from sims.internet.packet import Packet
from sims.internet.packet import Protocol as IpProtocol
from sims.stack.ip import encode_udp
from wice.platform import IPInterface, IPNetwork, LinkConfig

QUEUE_PACKETS_MAX: Final = 500
"""Linux's txqueuelen of a TUN."""
READS_PER_CHECKPOINT_MAX: Final = 64
"""Packets that are read at once until other tasks run."""
MTU_DEFAULT_BYTES: Final = 1_500


class WatchTunnel(Protocol):
    """Takes packets that a host sends into its tunnel, and those that come out of it."""

    def __call__(self, packet: bytes, *, is_outbound: bool) -> None: ...


class SimulatedTun:
    """A ``wice.platform.Tun``, and an interface of the host that opened it.

    give: takes a packet that came out of the tunnel. on_close: called once. watch: sees what
    passes it.
    """

    def __init__(
        self,
        name: str,
        index: int,
        give: Callable[["SimulatedTun", bytes], None],
        on_close: Callable[["SimulatedTun"], None],
        watch: WatchTunnel | None = None,
    ) -> None:
        self.name = name
        self.index = index
        self.is_up = False
        self.addresses: tuple[IPInterface, ...] = ()
        self.routes: tuple[IPNetwork, ...] = ()
        self.mtu_bytes = MTU_DEFAULT_BYTES
        self.dropped: Counter[str] = Counter()
        """Packets that the host did not take or could not give, by reason."""
        self._give = give
        self._on_close = on_close
        self._watch = watch
        self._is_closed = False
        self._waiting: deque[bytes] = deque()
        self._readers = trio.lowlevel.ParkingLot()
        self._reads_until_checkpoint = READS_PER_CHECKPOINT_MAX

    # What a device does (``wice.platform.Tun``)

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        while not self._waiting:
            self._reads_until_checkpoint = READS_PER_CHECKPOINT_MAX
            await self._readers.park()
            self._check_open()
        packet = self._waiting.popleft()
        self._reads_until_checkpoint -= 1
        if self._reads_until_checkpoint <= 0:
            self._reads_until_checkpoint = READS_PER_CHECKPOINT_MAX
            await trio.lowlevel.cancel_shielded_checkpoint()
        return packet

    def write(self, packet: bytes) -> None:
        self._check_open()
        if self.is_up:
            if self._watch is not None:
                self._watch(packet, is_outbound=False)
            self._give(self, packet)
        else:
            self.dropped["the interface is down"] += 1

    def close(self) -> None:
        if not self._is_closed:
            self.vanish()
            self._on_close(self)
            self._readers.unpark_all()

    # What its host does

    def configure(self, config: LinkConfig) -> None:
        self.addresses = config.addresses
        self.routes = config.routes
        self.mtu_bytes = config.mtu_bytes
        self.is_up = True

    def networks(self) -> list[IPNetwork]:
        return [*self.routes, *(address.network for address in self.addresses)]

    def transmit(self, packet: Packet) -> None:
        """Send UDP into the tunnel; the stack speaks no TCP there."""
        if packet.protocol is IpProtocol.UDP:
            self.put(encode_udp(packet.source, packet.destination, packet.payload))
        else:
            self.dropped["TCP in a tunnel"] += 1

    def put(self, packet: bytes) -> None:
        """Send a whole IP packet into the tunnel."""
        if self._is_closed or len(packet) > self.mtu_bytes:
            self.dropped["larger than the MTU"] += 1
        elif len(self._waiting) >= QUEUE_PACKETS_MAX:
            self.dropped["a full queue into the tunnel"] += 1
        else:
            if self._watch is not None:
                self._watch(packet, is_outbound=True)
            self._waiting.append(packet)
            if self._readers:
                self._readers.unpark()

    def vanish(self) -> None:
        """Crash: gone without a word to who reads."""
        self._is_closed = True
        self.is_up = False
        self.addresses = ()
        self.routes = ()
        self._waiting.clear()

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError(f"{self.name} is closed")
