"""Relays of the configuration stand beside those that are granted."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from wice.daemon.relay_servers import RelayServers
from wice.datagram import Endpoint
from wice.errors import NameNotResolvedError
from wice.stun import LongTermCredentials, parse_turn_uri
from wice.stun.resolve import NamingRecord, ServiceRecord
from wice.turn.relays import RelayServer
from wice.turn_config import TurnServerConfig

OURS = LongTermCredentials("alice", "secret")
GRANTED = RelayServer(Endpoint("203.0.113.10", 3478), LongTermCredentials("x", "y"))


class Lookup:
    """``late.example`` is known from ``known_at_s`` on."""

    def __init__(self, known_at_s: float, *hosts: str) -> None:
        self.known_at_s = known_at_s
        self.hosts = list(hosts or ("192.0.2.1", "192.0.2.2"))
        self.asked = 0

    async def addresses(self, name: str) -> list[str]:
        await trio.lowlevel.checkpoint()
        if trio.current_time() < self.known_at_s:
            raise NameNotResolvedError(name)
        self.asked += 1
        return self.hosts

    async def services(self, name: str) -> list[ServiceRecord]:
        await trio.lowlevel.checkpoint()
        assert name == "_turn._udp.late.example"
        return []

    async def naming(self, name: str) -> list[NamingRecord]:
        await trio.lowlevel.checkpoint()
        assert name == "late.example"
        return []


async def test_own_servers_come_first_as_they_are_found_and_grants_replace_grants(
    autojump_clock: trio.testing.MockClock,
) -> None:
    told: list[list[RelayServer]] = []
    configured = [
        TurnServerConfig(parse_turn_uri(text), OURS)
        for text in ("turn:late.example", "turn:192.0.2.9:99")
    ]
    lookup = Lookup(trio.current_time() + 30.0)
    servers = RelayServers(
        configured,
        lookup,
        random.Random(1).randbytes,
        lambda changed: told.append([*changed]),
        lambda: ["10.0.0.2"],
    )
    late = RelayServer(Endpoint("192.0.2.1", 3478), OURS)
    fixed = RelayServer(Endpoint("192.0.2.9", 99), OURS)
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(servers.run)
        await trio.sleep(0.1)
        assert told == [[fixed]]
        servers.grant([GRANTED])
        assert told[-1] == [fixed, GRANTED]
        await trio.sleep(began_s + 30.9 - trio.current_time())
        assert told[-1] == [fixed, GRANTED]
        await trio.sleep(0.2)
        assert told[-1] == [late, fixed, GRANTED]
        servers.grant([])
        assert told[-1] == [late, fixed]
        nursery.cancel_scope.cancel()


class Following:
    """One configured name, and which of its addresses is used."""

    def __init__(self, lookup: Lookup, *own: str) -> None:
        self.used: list[str] = []
        self.own = list(own)
        self.servers = RelayServers(
            [TurnServerConfig(parse_turn_uri("turn:late.example"), OURS)],
            lookup,
            random.Random(1).randbytes,
            lambda servers: self.used.extend(server.endpoint.host for server in servers),
            lambda: self.own,
        )

    async def fails(self) -> None:
        self.servers.set_silent(RelayServer(Endpoint(self.used[-1], 3478), OURS))
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def following(lookup: Lookup, *own: str) -> AsyncIterator[Following]:
    one = Following(lookup, *own)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.servers.run)
        await trio.testing.wait_all_tasks_blocked()
        yield one
        nursery.cancel_scope.cancel()


IPV4, IPV6 = "192.0.2.1", "2001:db8::1"


@pytest.mark.parametrize(
    ("own", "first"),
    [
        (["127.0.0.1", "::1", "10.0.0.2", "fe80::2"], IPV4),
        (["127.0.0.1", "::1", "10.0.0.2", "fd00::2"], IPV4),
        (["127.0.0.1", "::1", "10.0.0.2", "2001:db8:2::2"], IPV6),
        (["127.0.0.1", "::1", "2001:db8:2::2"], IPV6),
    ],
)
async def test_an_address_of_a_family_that_the_host_has_is_used(
    autojump_clock: trio.testing.MockClock, own: list[str], first: str
) -> None:
    for hosts in ((IPV6, IPV4), (IPV6,), (IPV4,)):
        async with following(Lookup(0.0, *hosts), *own) as one:
            assert one.used == [first if first in hosts else hosts[0]]


async def test_the_next_address_is_used_where_one_gives_no_answer_and_names_are_asked_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lookup = Lookup(0.0, "192.0.2.1", "192.0.2.2")
    async with following(lookup, "10.0.0.2") as one:
        one.servers.set_silent(GRANTED)
        await trio.testing.wait_all_tasks_blocked()
        assert one.used == ["192.0.2.1"]
        await one.fails()
        assert one.used[1:] == ["192.0.2.2"]
        await one.fails()
        assert one.used[2:] == []
        lookup.hosts = ["192.0.2.3"]
        await trio.sleep(1.1)
        assert one.used[2:] == ["192.0.2.3"]
        began_at_s, asked = trio.current_time(), lookup.asked
        while trio.current_time() - began_at_s < 3_600.0:
            await one.fails()
            await trio.sleep(1.0)
        assert 12 < lookup.asked - asked < 24


async def test_another_network_is_looked_at_at_once_where_no_address_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lookup = Lookup(0.0, IPV6, IPV4)
    async with following(lookup, "10.0.0.2") as one:
        one.servers.network_changed()
        await trio.testing.wait_all_tasks_blocked()
        assert (one.used, lookup.asked) == ([IPV4], 1), "the one that is used stays"
        await one.fails()
        one.own = ["2001:db8:2::2"]
        await one.fails()
        assert one.used == [IPV4, IPV6, IPV6], "the network changed meanwhile"
        await one.fails()
        await one.fails()
        asked = lookup.asked
        one.servers.network_changed()
        await trio.testing.wait_all_tasks_blocked()
        assert lookup.asked == asked + 1
