"""Relays of the configuration stand beside those that are granted."""

import random

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

    def __init__(self, known_at_s: float) -> None:
        self.known_at_s = known_at_s

    async def addresses(self, name: str) -> list[str]:
        await trio.lowlevel.checkpoint()
        if trio.current_time() < self.known_at_s:
            raise NameNotResolvedError(name)
        return ["192.0.2.1", "192.0.2.2"]

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
        configured, lookup, random.Random(1).randbytes, lambda changed: told.append([*changed])
    )
    late = RelayServer(Endpoint("192.0.2.1", 3478), OURS)
    fixed = RelayServer(Endpoint("192.0.2.9", 99), OURS)
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(servers.resolve)
        await trio.sleep(0.1)
        assert told == [[fixed]]
        servers.grant([GRANTED])
        assert told[-1] == [fixed, GRANTED]
    assert told[-1] == [late, fixed, GRANTED]
    assert 30.0 <= trio.current_time() - began_s == pytest.approx(31.0)
    servers.grant([])
    assert told[-1] == [late, fixed]
