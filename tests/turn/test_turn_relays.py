"""Relays of a port: with servers in memory and in virtual time, and on real sockets."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network
from random import Random

import pytest
import trio
import trio.testing

from tests.turn.turn_cable import DELAY_S, Cable
from wice.datagram import Endpoint, Path
from wice.events import EventStream
from wice.stun import Class, LongTermCredentials, Method, StaticAccounts, encode
from wice.turn import Budgets, PeerPolicy, TurnServer
from wice.turn.driver import serve_turn
from wice.turn.relays import (
    HELD_MAX,
    HELD_PER_HOST_MAX,
    IDLE_S,
    PROBE_INTERVAL_S,
    SERVERS_ENOUGH,
    SERVERS_MAX,
    SWEEP_S,
    Allocation,
    Relays,
    RelayServer,
)
from wice.wireguard.port import SharedPort, open_port

TIMEOUT_S = 10
ALICE = LongTermCredentials("alice", "wonderland")
NEAR = RelayServer(Endpoint("203.0.113.1", 3478), ALICE)
FAR = RelayServer(Endpoint("203.0.113.2", 3478), ALICE)
SILENT = [RelayServer(Endpoint(f"203.0.113.{i}", 3478), ALICE) for i in range(100, 200)]
PEER = Endpoint("192.0.2.9", 51_820)
PEER_IPV6 = Endpoint("2001:db8:2::9", 51_820)
WIREGUARD = b"\x04\x00\x00\x00" + bytes(28)
CHECK = encode(Method.BINDING, Class.REQUEST, bytes(12))
CHANNEL_DATA = b"\x40\x00\x00\x04data"


def a_server(budgets: Budgets | None = None) -> TurnServer:
    return TurnServer(
        StaticAccounts({"alice": "wonderland"}),
        realm="wice",
        random_bytes=Random(1).randbytes,
        now=trio.current_time(),
        budgets=budgets,
        policy=PeerPolicy(allowed=[ip_network("127.0.0.0/8")]),
    )


class World:
    """Two servers, and the relays of one port."""

    def __init__(self, budgets: Budgets | None) -> None:
        servers = {server.endpoint: a_server(budgets) for server in (NEAR, FAR)}
        self.near = servers[NEAR.endpoint]
        self.cable = Cable(servers)
        self.events = EventStream()
        self.relays = Relays(self.cable, Random(2).randbytes, self.events)
        self.heard: list[tuple[Allocation, ...]] = []
        self.relays.on_changed = lambda: self.heard.append(self.relays.allocations)

    @property
    def dropped(self) -> int:
        return self.events.counts["Dropped.relay"]

    def base(self, is_ipv6: bool = False) -> str:
        """Of the first allocation of a family."""
        found = (a.relayed for a in self.relays.allocations if a.relayed.is_ipv6 == is_ipv6)
        return str(next(found))

    def carry(self, data: bytes, remote: Endpoint = PEER) -> None:
        self.relays.carry(data, Path(remote, self.base(remote.is_ipv6)))

    def requests(self, server: RelayServer = NEAR) -> list[float]:
        return [at for at, to, _ in self.cable.to_servers if to == server.endpoint]

    def data_sent(self) -> list[bytes]:
        return [data for _, _, data in self.cable.at_peers]


StartWorld = Callable[..., World]


@pytest.fixture
def start(nursery: trio.Nursery) -> StartWorld:
    def start(*servers: RelayServer, budgets: Budgets | None = None) -> World:
        world = World(budgets)
        nursery.start_soon(world.cable.run)
        nursery.start_soon(world.relays.run)
        world.relays.set_servers(servers)
        return world

    return start


async def test_every_server_gives_both_families_in_the_order_of_the_servers(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(FAR, NEAR)
    await trio.sleep(1)
    found = [(a.server, a.relayed.is_ipv6) for a in world.relays.allocations]
    assert found == [
        (FAR.endpoint, False),
        (FAR.endpoint, True),
        (NEAR.endpoint, False),
        (NEAR.endpoint, True),
    ]
    assert {a.mapped for a in world.relays.allocations} == {world.cable.client}
    assert world.heard[-1] == world.relays.allocations
    assert len(world.heard) == 2
    assert list(world.relays.bases) == [str(a.relayed) for a in world.relays.allocations]


async def test_the_first_datagram_waits_for_its_permission(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    for remote in (PEER, PEER_IPV6):
        world.carry(CHECK, remote)
        await trio.sleep(3 * DELAY_S)
        assert not world.cable.at_peers
        await trio.sleep(2 * DELAY_S)
        ((relayed, to, data),) = world.cable.at_peers
        assert (str(relayed), to, data) == (world.base(remote.is_ipv6), remote, CHECK)
        world.cable.at_peers.clear()
    assert world.relays.status()[0]["channels"] == 0
    assert world.dropped == 0


async def test_wireguard_gets_a_channel(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    world.carry(CHECK)
    await trio.sleep(1)
    for _ in range(2):
        world.carry(WIREGUARD)
        await trio.sleep(1)
    assert world.data_sent() == [CHECK, WIREGUARD, WIREGUARD]
    assert world.relays.status()[0]["channels"] == 1
    assert world.cable.to_servers[-1][2] == b"\x40\x00\x00\x20" + WIREGUARD


@pytest.mark.parametrize("data", [CHECK, WIREGUARD])
async def test_what_a_peer_sends_is_handed_up_with_its_base(
    autojump_clock: trio.testing.MockClock, start: StartWorld, data: bytes
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    for remote in (PEER, PEER_IPV6):
        world.carry(data, remote)
        await trio.sleep(1)
        base = world.base(remote.is_ipv6)
        world.cable.peer_sends(remote, Endpoint.parse(base), data)
        assert world.cable.came.pop() == (data, remote, base)


async def test_only_what_is_the_servers_as_a_relay_is_taken(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    receive = world.relays.receive
    binding = [encode(Method.BINDING, kind, bytes(12)) for kind in Class]
    for data in (WIREGUARD, *binding, b"", b"\x40"):
        assert not receive(data, NEAR.endpoint)
    assert not receive(CHANNEL_DATA, FAR.endpoint)
    assert world.dropped == 0 and not world.cable.came
    forged = encode(Method.ALLOCATE, Class.SUCCESS, bytes(12))
    for dropped, data in enumerate((CHANNEL_DATA, forged, forged[:-1]), 1):
        assert receive(data, NEAR.endpoint)
        assert world.dropped == dropped
    assert len(world.relays.allocations) == 2


async def test_what_waits_for_permissions_is_bounded(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    for i in range(HELD_PER_HOST_MAX + 3):
        world.carry(CHECK + bytes([i]))
    assert world.dropped == 3
    for i in range(2 * HELD_MAX):
        world.carry(CHECK, Endpoint(f"192.0.2.{100 + i}", 1))
    assert world.dropped == 3 + 2 * HELD_MAX - (HELD_MAX - HELD_PER_HOST_MAX)
    await trio.sleep(2)
    kept = [CHECK + bytes([i]) for i in range(3, HELD_PER_HOST_MAX + 3)]
    assert [data for _, to, data in world.cable.at_peers if to == PEER] == kept
    assert len(world.cable.at_peers) == HELD_MAX


async def test_an_address_that_the_relay_refuses_costs_a_request_and_not_a_place(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    private = Endpoint("10.0.0.1", 51_820)
    before = len(world.requests())
    for _ in range(20):
        world.carry(WIREGUARD, private)
        await trio.sleep(0.5)
    assert world.dropped == 20 and not world.cable.at_peers
    assert len(world.requests()) - before <= 4


async def test_what_no_relay_can_carry_is_dropped(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    of_ipv4 = world.base()
    for remote in (PEER_IPV6, Endpoint("fe80::1%2", 1)):
        world.relays.carry(CHECK, Path(remote, of_ipv4))
    world.carry(WIREGUARD + bytes(65_000))
    world.relays.carry(CHECK, Path(PEER, "203.0.113.9:50000"))
    await trio.sleep(1)
    assert world.dropped == 4 and not world.cable.at_peers
    assert world.relays.status()[0]["permissions"] == 0


async def test_what_is_idle_ends_and_what_is_used_stays(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    world.carry(WIREGUARD)
    world.carry(WIREGUARD, PEER_IPV6)
    await trio.sleep(1)
    assert [world.relays.status()[0][name] for name in ("permissions", "channels")] == [2, 2]
    for _ in range(60):
        world.carry(WIREGUARD)
        await trio.sleep((IDLE_S + 2 * SWEEP_S) / 60)
    assert [world.relays.status()[0][name] for name in ("permissions", "channels")] == [1, 1]
    await trio.sleep(IDLE_S + SWEEP_S)
    assert [world.relays.status()[0][name] for name in ("permissions", "channels")] == [0, 0]
    assert len(world.relays.allocations) == 2


async def test_wrong_credentials_are_said_and_right_ones_serve_at_once(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    wrong = LongTermCredentials("alice", "hatter")
    world = start(RelayServer(NEAR.endpoint, wrong))
    await trio.sleep(600)
    (status,) = world.relays.status()
    assert (status["state"], status["relayed"]) == ("waiting", [])
    assert status["reason"] == "the server refuses the credentials"
    assert len(world.requests()) < 10
    world.relays.set_servers([NEAR])
    await trio.sleep(1)
    (status,) = world.relays.status()
    assert (status["state"], status["reason"]) == ("allocated", "")
    assert status["relayed"] == [str(a.relayed) for a in world.relays.allocations] != []


async def test_renewed_credentials_keep_the_allocation(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    allocations = world.relays.allocations
    world.relays.set_servers([RelayServer(NEAR.endpoint, LongTermCredentials("alice", "new"))])
    await trio.sleep(100)
    assert world.relays.allocations == allocations
    assert len(world.heard) == 1


async def test_refused_credentials_are_told_with_the_server_that_refuses_them(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    wrong = RelayServer(NEAR.endpoint, LongTermCredentials("alice", "hatter"))
    world = start(FAR, wrong)
    told: list[RelayServer] = []
    world.relays.on_refused = told.append
    await trio.sleep(10)
    assert told == [wrong]
    worse = RelayServer(NEAR.endpoint, LongTermCredentials("alice", "rabbit"))
    world.relays.set_servers([FAR, worse])
    await trio.sleep(10)
    assert told == [wrong, worse]
    world.relays.set_servers([FAR, NEAR])
    await trio.sleep(10)
    assert told == [wrong, worse]


async def test_a_full_server_is_said_and_asked_seldom(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR, budgets=Budgets(allocations=0))
    await trio.sleep(600)
    assert world.relays.status()[0]["reason"] == "the server is full"
    assert len(world.requests()) < 10


async def test_a_silent_server_delays_no_other(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    nowhere = RelayServer(Endpoint("203.0.113.77", 3478), ALICE)
    world = start(nowhere, NEAR)
    told: list[RelayServer] = []
    world.relays.on_silent = told.append
    await trio.sleep(1)
    assert len(world.relays.allocations) == 2
    await trio.sleep(600)
    silent, near = world.relays.status()
    assert silent["reason"] == "the server does not answer"
    assert told and all(server == nowhere for server in told)
    assert near["state"] == "allocated"
    assert len(world.requests(nowhere)) < 100


async def test_a_server_that_goes_and_comes_back(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    world.carry(WIREGUARD)
    server = world.cable.servers.pop(NEAR.endpoint)
    await trio.sleep(60)
    assert world.relays.allocations == () == world.heard[-1]
    assert world.relays.status()[0]["reason"] == "the server does not answer"
    world.cable.servers[NEAR.endpoint] = server
    await trio.sleep(60)
    assert len(world.relays.allocations) == 2


async def test_a_server_that_is_no_longer_given_gets_its_allocation_back(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR, FAR)
    await trio.sleep(1)
    world.relays.set_servers([FAR])
    assert [a.server for a in world.relays.allocations] == [FAR.endpoint] * 2
    assert world.heard[-1] == world.relays.allocations
    await trio.sleep(1)
    assert world.near.allocations(trio.current_time()) == []
    assert [status["server"] for status in world.relays.status()] == [str(FAR.endpoint)]


async def test_an_allocation_in_use_keeps_its_place_until_it_is_idle(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    world.carry(WIREGUARD)
    await trio.sleep(1)
    allocations = world.relays.allocations
    nearer = [RelayServer(Endpoint(f"203.0.113.{i}", 3478), ALICE) for i in range(10, 20)]
    for servers in ([*nearer, NEAR], nearer):
        world.relays.set_servers(servers)
        await trio.sleep(1)
        assert world.relays.allocations == allocations
        assert [status["server"] for status in world.relays.status()] == [
            *(str(server.endpoint) for server in nearer[: SERVERS_ENOUGH - 1]),
            str(NEAR.endpoint),
        ]
    await trio.sleep(IDLE_S + 2 * SWEEP_S)
    assert world.relays.allocations == ()
    assert world.near.allocations(trio.current_time()) == []
    assert [status["server"] for status in world.relays.status()] == [
        str(server.endpoint) for server in nearer[:SERVERS_MAX]
    ]


async def test_an_allocation_of_a_server_that_is_no_longer_given_is_not_asked_for_again(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    world.carry(WIREGUARD)
    await trio.sleep(1)
    world.relays.set_servers([FAR])
    await trio.sleep(1)
    assert [a.server for a in world.relays.allocations] == [FAR.endpoint] * 2 + [NEAR.endpoint] * 2
    world.cable.servers[NEAR.endpoint] = a_server()
    await trio.sleep(30)
    assert [a.server for a in world.relays.allocations] == [FAR.endpoint] * 2
    assert [status["server"] for status in world.relays.status()] == [str(FAR.endpoint)]


async def test_data_whose_permission_never_came_is_dropped(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    # It goes on refreshing, and has no room for permissions.
    near = world.cable.servers[NEAR.endpoint]
    take = near.receive

    def refuse_permissions(data: bytes, *rest: object) -> None:
        if data[:2] != Method.CREATE_PERMISSION.to_bytes(2, "big"):
            take(data, *rest)  # type: ignore[arg-type]

    near.receive = refuse_permissions  # type: ignore[method-assign]
    world.carry(CHECK)
    await trio.sleep(IDLE_S - 1)
    assert world.dropped == 0
    await trio.sleep(2 * SWEEP_S)
    assert world.dropped == 1
    assert world.data_sent() == []


async def test_no_more_servers_than_enough_are_asked_while_they_answer(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR, FAR, *SILENT)
    await trio.sleep(600)
    asked = {to for _, to, _ in world.cable.to_servers}
    assert asked == {NEAR.endpoint, FAR.endpoint}


async def test_servers_that_fail_give_others_their_turn(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    wrong = RelayServer(FAR.endpoint, LongTermCredentials("alice", "hatter"))
    for given in ((*SILENT[:2], NEAR, FAR), (wrong, SILENT[0], NEAR)):
        world = start(*given)
        await trio.sleep(20)
        served = [server.endpoint for server in given if server in (NEAR, FAR)]
        assert list(dict.fromkeys(a.server for a in world.relays.allocations)) == served


async def test_a_server_that_was_lost_is_made_up_for(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(SILENT[0], NEAR, FAR)
    await trio.sleep(20)
    server = world.cable.servers.pop(NEAR.endpoint)
    await trio.sleep(60)
    assert {a.server for a in world.relays.allocations} == {FAR.endpoint}
    world.cable.servers[NEAR.endpoint] = server
    await trio.sleep(60)
    assert {a.server for a in world.relays.allocations} == {NEAR.endpoint, FAR.endpoint}


async def test_a_relay_that_made_up_for_another_stays_while_data_goes_through_it(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    third = RelayServer(Endpoint("203.0.113.3", 3478), ALICE)
    world = start(NEAR, FAR, third)
    world.cable.servers[third.endpoint] = a_server()
    await trio.sleep(1)
    near = world.cable.servers.pop(NEAR.endpoint)
    await trio.sleep(60)
    assert {a.server for a in world.relays.allocations} == {FAR.endpoint, third.endpoint}
    world.cable.servers[NEAR.endpoint] = near
    await trio.sleep(25)
    assert len(world.relays.allocations) == 6
    for _ in range(60):
        for allocation in world.relays.allocations:
            if not allocation.relayed.is_ipv6:
                world.relays.carry(CHECK, Path(PEER, str(allocation.relayed)))
        await trio.sleep(1)
    assert third.endpoint in {a.server for a in world.relays.allocations}
    await trio.sleep(IDLE_S + 2 * SWEEP_S)
    assert {a.server for a in world.relays.allocations} == {NEAR.endpoint, FAR.endpoint}


async def test_allocations_that_are_had_again_at_once_need_no_other_server(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    """Who moves loses all of them in one moment, and has them again after a round trip."""
    world = start(NEAR, FAR, *SILENT)
    await trio.sleep(10)
    world.cable.client = Endpoint("198.51.100.8", 40_000)
    world.relays.network_changed()
    await trio.sleep(60)
    assert {a.mapped for a in world.relays.allocations} == {world.cable.client}
    assert {to for _, to, _ in world.cable.to_servers} == {NEAR.endpoint, FAR.endpoint}


async def test_servers_that_fail_are_bounded(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(*SILENT)
    await trio.sleep(3_600)
    asked = {to for _, to, _ in world.cable.to_servers}
    assert asked == {server.endpoint for server in SILENT[:SERVERS_MAX]}


async def test_a_changed_network_costs_nothing_where_it_did_not_move_us(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    world = start(NEAR)
    await trio.sleep(1)
    allocations = world.relays.allocations
    world.relays.network_changed()
    await trio.sleep(1)
    assert world.relays.allocations == allocations
    assert len(world.heard) == 1
    world.cable.client = Endpoint("198.51.100.8", 40_000)
    world.relays.network_changed()
    await trio.sleep(1)
    assert {a.mapped for a in world.relays.allocations} == {world.cable.client}


async def test_back_where_it_was_before_it_allocates_anew(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    """The server still has the allocation of then, and refreshes that: it relayed from an address
    that no peer was told, and the one of now ended.
    """
    world = start(NEAR)
    await trio.sleep(1)
    home, away = world.cable.client, Endpoint("198.51.100.8", 40_000)
    for client in (away, home):
        world.cable.client = client
        world.relays.network_changed()
        await trio.sleep(1)
    world.relays.seen_as(NEAR.endpoint, home)
    world.relays.seen_as(FAR.endpoint, away)
    await trio.sleep(1)
    allocations = world.relays.allocations
    assert {a.mapped for a in allocations} == {home}
    world.relays.seen_as(NEAR.endpoint, home)
    await trio.sleep(1)
    assert world.relays.allocations == allocations
    world.carry(b"hello")
    await trio.sleep(1)
    assert [str(base) for base, _, _ in world.cable.at_peers] == [world.base()]


async def test_a_probe_asks_each_server_however_many_peers_want_it(
    autojump_clock: trio.testing.MockClock, start: StartWorld
) -> None:
    """Each peer whose path is doubted asks for one."""
    world = start(NEAR)
    await trio.sleep(1)
    world.cable.client = Endpoint("198.51.100.8", 40_000)
    asked_at_s = trio.current_time()
    for _ in range(100):
        world.relays.probe()
    await trio.sleep(1)
    assert world.requests().count(asked_at_s) == 1
    assert {a.mapped for a in world.relays.allocations} == {world.cable.client}
    await trio.sleep(PROBE_INTERVAL_S - 1)
    asked_at_s = trio.current_time()
    world.relays.probe()
    await trio.sleep(1)
    assert world.requests().count(asked_at_s) == 1


async def test_the_end_gives_allocations_back(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    world = World(None)
    nursery.start_soon(world.cable.run)
    world.relays.set_servers([NEAR])
    with trio.move_on_after(1):
        await world.relays.run()
    assert not world.relays.bases and not world.relays.servers and not world.relays.allocations
    await trio.sleep(1)
    assert world.near.counts["allocate"] and world.near.allocations(trio.current_time()) == []


class Host:
    """A port with relays, and what came to its device."""

    def __init__(self, port: SharedPort) -> None:
        self.port = port
        self.relays = Relays(port, os.urandom, EventStream())
        self.relays.on_changed = self._on_changed
        self._changed = trio.Event()
        self._to_device, self.device = trio.open_memory_channel[tuple[bytes, Endpoint, str | None]](
            100
        )

    def on_wireguard(self, data: bytes, source: Endpoint, destination: str | None) -> None:
        self._to_device.send_nowait((data, source, destination))

    def _on_changed(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def has_allocation(self) -> Endpoint:
        while not self.relays.allocations:
            await self._changed.wait()
        return self.relays.allocations[0].relayed


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


@pytest.fixture
async def served(nursery: trio.Nursery) -> RelayServer:
    """A server on loopback."""
    endpoints = await nursery.start(partial(serve_turn, a_server(), 0, hosts=("127.0.0.1",)))
    return RelayServer(endpoints[0], ALICE)


async def test_wireguard_and_checks_pass_both_ways_on_real_sockets(served: RelayServer) -> None:
    with trio.fail_after(TIMEOUT_S):
        async with a_host() as alice, a_host() as bob:
            alice.relays.set_servers([served])
            relayed = await alice.has_allocation()
            at_bob = Endpoint("127.0.0.1", bob.port.port)
            there, back = Path(at_bob, str(relayed)), Path(relayed)
            for _ in range(2):
                alice.port.send(CHECK, there)
                assert (await bob.port.receive())[:2] == (CHECK, relayed)
                bob.port.send(CHECK, back)
                assert await alice.port.receive() == (CHECK, at_bob, str(relayed))
                alice.port.transmit(WIREGUARD, there)
                assert (await bob.device.receive())[:2] == (WIREGUARD, relayed)
                bob.port.transmit(WIREGUARD, back)
                assert await alice.device.receive() == (WIREGUARD, at_bob, str(relayed))
            assert alice.relays.status()[0]["channels"] == 1


async def test_a_relay_answers_binding_requests_to_whoever_asks_them(served: RelayServer) -> None:
    with trio.fail_after(TIMEOUT_S):
        async with a_host() as alice:
            alice.relays.set_servers([served])
            await alice.has_allocation()
            alice.port.send(CHECK, Path(served.endpoint))
            answer = await alice.port.receive()
            assert answer.source == served.endpoint
            assert answer.data[:2] == b"\x01\x01" and answer.destination == "127.0.0.1"


async def test_a_server_that_the_host_has_no_way_to_ends_nothing(served: RelayServer) -> None:
    nowhere = RelayServer(Endpoint("255.255.255.255", 3478), ALICE)
    with trio.fail_after(TIMEOUT_S):
        async with a_host() as alice:
            alice.relays.set_servers([nowhere, served])
            await alice.has_allocation()
            assert alice.relays.allocations[0].server == served.endpoint
            assert alice.port.dropped["EACCES"]


async def test_a_path_of_an_allocation_that_is_gone_is_dropped_by_the_port() -> None:
    with trio.fail_after(TIMEOUT_S):
        async with a_host() as alice, a_host() as bob:
            gone = Path(Endpoint("127.0.0.1", bob.port.port), "203.0.113.1:50000")
            alice.port.transmit(WIREGUARD, gone)
            alice.port.transmit(WIREGUARD, Path(gone.remote))
            await bob.device.receive()
            assert bob.device.statistics().current_buffer_used == 0
            assert alice.port.dropped["a path that is no longer there"] == 1
