"""``aioice.Connection`` on the simulated network of the ICE tests, in virtual time."""

import asyncio
import selectors
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import aioice
import aioice.ice

from tests.ice.conftest import PORT, Host, Nat, Network
from wice.datagram import Endpoint

CONNECTS_WITHIN_S = 120.0


class _VirtualTime(selectors.SelectSelector):
    """Nothing real is waited for: the time to the next timer passes at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "the loop waits for ever"
        self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, network: "AioiceNetwork") -> None:
        self._virtual = _VirtualTime()
        self._virtual.now = network.now
        self._network = network
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    async def create_datagram_endpoint(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], local_addr: tuple[str, int], **_: Any
    ) -> tuple[Any, Any]:
        protocol = protocol_factory()
        transport = _Transport(self._network, local_addr[0], protocol)
        self._network.protocols[local_addr[0]] = protocol
        protocol.connection_made(transport)
        return transport, protocol


class _Transport:
    def __init__(self, network: "AioiceNetwork", address: str, protocol: Any) -> None:
        self._network, self._address, self._protocol = network, address, protocol

    def get_extra_info(self, name: str) -> Any:
        return (self._address, PORT) if name == "sockname" else None

    def sendto(self, data: bytes, addr: tuple[str, int]) -> None:
        self._network.send(self._address, Endpoint(*addr), data)

    def close(self) -> None:
        self._protocol.connection_lost(None)


class AioiceNetwork(Network):
    """Its hosts are aioice's; their agents of ours only say which candidates there are."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.protocols: dict[str, Any] = {}
        self.loop = _Loop(self)

    def send(self, address: str, remote: Endpoint, data: bytes) -> None:
        self.now = self.loop.time()
        host = next(host for host in self.hosts if address in host.addresses)
        self._route(host, Endpoint(address, PORT), remote, data)

    def deliver(self, _: Host, data: bytes, source: Endpoint, destination: str) -> None:
        self.protocols[destination].datagram_received(data, (source.host, source.port))

    def _at_time(self, time: float, action: Callable[[], None]) -> None:
        def act() -> None:
            self.now = self.loop.time()
            action()

        self.loop.call_at(time, act)


class _Connection(aioice.Connection):  # type: ignore[misc]
    """Notes when its first pair is valid, and when one is nominated."""

    valid_at: float | None = None
    nominated_at: float | None = None

    def check_complete(self, pair: Any) -> None:
        super().check_complete(pair)
        now = asyncio.get_running_loop().time()
        if self.valid_at is None and pair.state == pair.State.SUCCEEDED:
            self.valid_at = now
        if self.nominated_at is None and self._nominated:
            self.nominated_at = now


async def _describe(host: Host, controlling: bool) -> _Connection:
    connection = _Connection(ice_controlling=controlling)
    with patch.object(aioice.ice, "get_host_addresses", lambda **_: list(host.addresses)):
        await connection.gather_candidates()
    return connection


async def _meet(connection: _Connection, other: _Connection, remote: Host) -> None:
    connection.remote_username = other.local_username
    connection.remote_password = other.local_password
    for candidate in remote.candidates():
        await connection.add_remote_candidate(candidate)
    await connection.add_remote_candidate(None)


async def _connect(a: Host, b: Host) -> tuple[float, float]:
    ours, theirs = await _describe(a, True), await _describe(b, False)
    await _meet(ours, theirs, b)
    await _meet(theirs, ours, a)
    start = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(CONNECTS_WITHIN_S):
            await asyncio.gather(ours.connect(), theirs.connect())
    finally:
        await ours.close()
        await theirs.close()
    assert ours.valid_at and theirs.valid_at and ours.nominated_at and theirs.nominated_at
    return (
        max(ours.valid_at, theirs.valid_at) - start,
        max(ours.nominated_at, theirs.nominated_at) - start,
    )


def connect_aioice(
    seed: int,
    latency_s: float,
    loss: float,
    ours: Sequence[str],
    theirs: Sequence[str],
    nats: tuple[Nat | None, Nat | None],
) -> tuple[float, float]:
    """Seconds from both descriptions to the first valid pair, and to a nominated one, on the later
    side.
    """
    network = AioiceNetwork(seed)
    network.latency_s, network.loss = latency_s, loss
    a, b = network.host(*ours, nat=nats[0]), network.host(*theirs, nat=nats[1])
    try:
        return network.loop.run_until_complete(_connect(a, b))
    finally:
        network.loop.close()
