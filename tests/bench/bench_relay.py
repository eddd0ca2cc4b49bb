"""What a relayed datagram costs the client more than a direct one, in CPU time.

Run as ``python -m tests.bench relay``.
"""

import socket
import time
from collections.abc import Callable, Iterator
from random import Random

import trio

from tests.bench.report import Row
from tests.turn.turn_cable import Cable
from wice.datagram import Endpoint, Path
from wice.events import EventStream
from wice.stun import Attribute, Class, LongTermCredentials, Method, StaticAccounts, encode
from wice.stun import pack_xor_address as pack_address
from wice.turn import TurnServer
from wice.turn.relays import Relays, RelayServer
from wice.wireguard.port import SharedPort, open_port

SERVER = Endpoint("203.0.113.1", 3478)
PEER = Endpoint("192.0.2.9", 51_820)
PACKET = b"\x04\x00\x00\x00" + bytes(1_396)
CHANNEL_DATA = b"\x40\x00" + len(PACKET).to_bytes(2, "big") + PACKET
ROUNDS = 7
REPEATS = 20_000
BATCH = 64
"""As many as a port queues before who sends shall wait."""


class Nowhere(Cable):
    """A cable that leads to a server, and once it is cut nowhere, or where it is told."""

    is_cut = False
    leads_to: tuple[SharedPort, Path] | None = None

    def send(self, data: bytes, path: Path) -> None:
        if self.leads_to is not None:
            port, elsewhere = self.leads_to
            port.send(data, elsewhere)
        elif not self.is_cut:
            super().send(data, path)

    def hand_up(self, data: bytes, source: Endpoint, destination: str | None) -> None:
        pass


async def granted_relays() -> tuple[Nowhere, Relays, Path]:
    """Relays with a channel to PEER, and the path that goes through it."""
    server = TurnServer(
        StaticAccounts({"alice": "wonderland"}),
        realm="wice",
        random_bytes=Random(1).randbytes,
        now=trio.current_time(),
    )
    cable = Nowhere({SERVER: server})
    relays = Relays(cable, Random(2).randbytes, EventStream())
    relays.set_servers([RelayServer(SERVER, LongTermCredentials("alice", "wonderland"))])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cable.run)
        allocated = trio.Event()
        relays.on_changed = allocated.set
        await allocated.wait()
        path = Path(PEER, str(relays.allocations[0].relayed))
        while not relays.status()[0]["channels"]:
            relays.carry(PACKET, path)
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    cable.is_cut = True
    return cable, relays, path


def nanoseconds(task: Callable[[], object]) -> float:
    start = time.process_time_ns()
    for _ in range(REPEATS):
        task()
    return (time.process_time_ns() - start) / REPEATS


async def sending_nanoseconds(port: SharedPort, path: Path) -> float:
    start = time.process_time_ns()
    for _ in range(REPEATS // BATCH):
        for _ in range(BATCH):
            port.transmit(PACKET, path)
        await port.wait_sent()
    return (time.process_time_ns() - start) / (REPEATS // BATCH * BATCH)


async def measure() -> dict[str, list[float]]:
    cable, relays, path = await granted_relays()
    transaction_id = bytes(12)
    indication = encode(
        Method.DATA,
        Class.INDICATION,
        transaction_id,
        [
            (Attribute.XOR_PEER_ADDRESS, pack_address(PEER, transaction_id)),
            (Attribute.DATA, PACKET),
        ],
        fingerprint=False,
    )
    tasks: dict[str, Callable[[], object]] = {
        "send on a channel": lambda: relays.carry(PACKET, path),
        "receive on a channel": lambda: relays.receive(CHANNEL_DATA, SERVER),
        "receive in an indication": lambda: relays.receive(indication, SERVER),
    }
    found: dict[str, list[float]] = {name: [] for name in tasks}
    direct_ns: list[float] = []
    relayed_ns: list[float] = []
    with socket.socket(type=socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        at_sink = Path(Endpoint(*sink.getsockname()))
        port = await open_port("wg0", 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(port.run, lambda *_: None)
            for _ in range(ROUNDS):
                for name, task in tasks.items():
                    found[name].append(nanoseconds(task))
                direct_ns.append(await sending_nanoseconds(port, at_sink))
                port.carrier = relays
                cable.leads_to = port, at_sink
                relayed_ns.append(await sending_nanoseconds(port, path))
                cable.leads_to = port.carrier = None
            nursery.cancel_scope.cancel()
        port.close()
    found["through the port, direct"] = direct_ns
    found["through the port, relayed"] = relayed_ns
    return found


def rows() -> Iterator[Row]:
    found = trio.run(measure)
    for name, ns in found.items():
        yield Row("relay", f"client: {name}, 1,400 bytes", "µs", [each / 1e3 for each in ns])
    direct, relayed = found["through the port, direct"], found["through the port, relayed"]
    ratios = [theirs / ours for ours, theirs in zip(direct, relayed, strict=True)]
    yield Row("relay", "client: relayed / direct through the port", "×", ratios)
    rate = [1e9 / each for each in relayed]
    yield Row("relay", "client: relayed packets a second of CPU", "1/s", rate)
