"""What agents cost that are connected and idle: two real drivers over ports joined in memory, in
virtual time, 1,000 peers on each.

Run as ``python -m tests.bench ice-idle``.
"""

import gc
import math
import multiprocessing
import pathlib
import random
import resource
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import trio
import trio.testing

from tests.bench.report import Goal, Row
from wice.datagram import Carrier, Datagram, Endpoint, Path
from wice.events import EventStream
from wice.ice import Agent, Credentials, IceDriver

PEERS = 1_000
PORT = 51_820
ADDRESSES = (["192.0.2.1", "2001:db8::1"], ["192.0.2.2", "2001:db8::2"])
SETTLE_S = 60.0
IDLE_S = 60.0


class _Port:
    """Hands what it is given to the port that has the address."""

    carrier: Carrier | None = None
    port = PORT

    def __init__(self, ports: "dict[str, _Port]", addresses: list[str]) -> None:
        self._ports = ports
        self._sender, self._receiver = trio.open_memory_channel[Datagram](math.inf)
        ports.update(dict.fromkeys(addresses, self))

    def send(self, data: bytes, path: Path) -> None:
        assert path.source is not None
        there = self._ports[path.remote.host]
        there.hand_up(data, Endpoint(path.source, PORT), path.remote.host)

    def hand_up(self, data: bytes, source: Endpoint, destination: str | None) -> None:
        self._sender.send_nowait(Datagram(data, source, destination))

    async def receive(self) -> Datagram:
        return await self._receiver.receive()


class _Drivers:
    def __init__(self) -> None:
        ports: dict[str, _Port] = {}
        self._random_bytes = random.Random(1).randbytes
        self._drivers = [
            IceDriver(
                _Port(ports, addresses),
                partial(tuple, addresses),
                self._random_bytes,
                EventStream(),
            )
            for addresses in ADDRESSES
        ]
        self.agents: list[Agent] = []

    async def run(self, nursery: trio.Nursery) -> None:
        for driver in self._drivers:
            nursery.start_soon(driver.run)
        await trio.sleep(1)

    def add_pair(self) -> None:
        """A peer on each side that has the other's description."""
        pair = [
            Agent(
                controlling=controlling,
                local=Credentials.generate(self._random_bytes),
                random_bytes=self._random_bytes,
                now=trio.current_time(),
            )
            for controlling in (True, False)
        ]
        now = trio.current_time()
        for agent, driver in zip(pair, self._drivers, strict=True):
            driver.register(agent, lambda _: None)
        for own, other in ((0, 1), (1, 0)):
            pair[own].set_remote(pair[other].local, now, renomination=True)
            for candidate in self._drivers[other].candidates:
                pair[own].add_remote_candidate(candidate, now)
            pair[own].end_of_candidates(now)
            self._drivers[own].wake(pair[own])
        self.agents += pair


@asynccontextmanager
async def _running() -> AsyncIterator[_Drivers]:
    drivers = _Drivers()
    async with trio.open_nursery() as nursery:
        await drivers.run(nursery)
        yield drivers
        nursery.cancel_scope.cancel()


async def _settle(drivers: _Drivers) -> None:
    for _ in range(PEERS):
        drivers.add_pair()
        await trio.sleep(0.01)
    await trio.sleep(SETTLE_S)
    assert all(agent.selected is not None for agent in drivers.agents)


def _resident_bytes() -> int:
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def _measure() -> tuple[float, float]:
    async with _running() as drivers:
        before_bytes = _resident_bytes()
        await _settle(drivers)
        grown_bytes = _resident_bytes() - before_bytes
        start = time.process_time()
        await trio.sleep(IDLE_S)
        return time.process_time() - start, grown_bytes


def measure() -> tuple[float, float]:
    """CPU seconds of an idle minute and bytes of memory, of all agents."""
    return trio.run(_measure, clock=trio.testing.MockClock(autojump_threshold=0))


def rows() -> Iterator[Row]:
    # A process of its own: what others freed would be taken again, and memory seem to cost nothing.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        cpu_s, size_bytes = process.submit(measure).result()
    agents = 2 * PEERS
    share_percent = cpu_s / IDLE_S / agents * 100 * 100
    note = "two pairs each; drivers and clock included, sockets not"
    yield Row("ice-idle", "CPU of 100 idle agents", "% of a core", [share_percent], Goal(1), note)
    memory_kb = size_bytes / agents / 1e3
    yield Row("ice-idle", "memory of an idle agent", "kB", [memory_kb], Goal(20), "resident")
