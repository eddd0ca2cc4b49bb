"""Relays over a real port and a real server on loopback: who gets what, and what is dropped."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network

import trio

from wice.datagram import Endpoint, Path
from wice.events import EventStream
from wice.stun import Class, LongTermCredentials, Method, StaticAccounts, encode
from wice.turn import PeerPolicy, TurnServer
from wice.turn.driver import serve_turn
from wice.turn.relays import Relays, RelayServer
from wice.wireguard.port import SharedPort, open_port

TIMEOUT_S = 10
LOOPBACK = Endpoint("127.0.0.1", 0)
ALICE = LongTermCredentials("alice", "wonderland")
WIREGUARD = b"\x04\x00\x00\x00" + bytes(28)
CHECK = encode(Method.BINDING, Class.REQUEST, bytes(12))


class Host:
    """A port with relays, and what came to its device."""

    def __init__(self, port: SharedPort) -> None:
        self.port = port
        self.events = EventStream()
        self.relays = Relays(port, os.urandom, self.events)
        self.relays.on_changed = self._on_changed
        self.changes = 0
        self._changed = trio.Event()
        self._to_device, self.device = trio.open_memory_channel[tuple[bytes, Endpoint, str | None]](
            100
        )

    def on_wireguard(self, data: bytes, source: Endpoint, destination: str | None) -> None:
        self._to_device.send_nowait((data, source, destination))

    def _on_changed(self) -> None:
        self.changes += 1
        self._changed.set()
        self._changed = trio.Event()

    async def has_allocations(self, count: int) -> None:
        while len(self.relays.allocations) != count:
            await self._changed.wait()


@asynccontextmanager
async def a_host() -> AsyncIterator[Host]:
    port = await open_port("wg0", 0)
    host = Host(port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.run, host.on_wireguard)
        await nursery.start(host.relays.run)
        yield host
        nursery.cancel_scope.cancel()
    port.close()


async def a_server(nursery: trio.Nursery) -> tuple[TurnServer, Endpoint]:
    server = TurnServer(
        StaticAccounts({"alice": "wonderland"}),
        realm="wice",
        random_bytes=os.urandom,
        now=trio.current_time(),
        policy=PeerPolicy(allowed=[ip_network("127.0.0.0/8")]),
    )
    endpoints = await nursery.start(partial(serve_turn, server, 0, hosts=("127.0.0.1",)))
    return server, endpoints[0]


async def test_wireguard_passes_both_ways_through_a_relay(nursery: trio.Nursery) -> None:
    _, endpoint = await a_server(nursery)
    with trio.fail_after(TIMEOUT_S):
        async with a_host() as alice, a_host() as bob:
            alice.relays.set_servers([RelayServer(endpoint, ALICE)])
            await alice.has_allocations(1)
            relayed = alice.relays.allocations[0].relayed
            at_bob = Endpoint("127.0.0.1", bob.port.port)
            for _ in range(2):
                alice.port.transmit(WIREGUARD, Path(at_bob, str(relayed)))
                data, source, _ = await bob.device.receive()
                assert (data, source) == (WIREGUARD, relayed)
                bob.port.transmit(WIREGUARD, Path(relayed))
                assert await alice.device.receive() == (WIREGUARD, at_bob, str(relayed))
            status = alice.relays.status()[0]
            assert (status["permissions"], status["channels"]) == (1, 1)
