"""How a daemon learns that its host's network is another one."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import trio
import trio.testing

from wice.config import Config, IceConfig
from wice.daemon.interfaces import CHECKS_OF_ALL_BURST, CHECKS_OF_ALL_RATE_PER_S, Interfaces
from wice.daemon.network import (
    CLOCK_JUMP_MIN_S,
    CLOCK_LOOK_S,
    LOOK_AGAIN_S,
    follow_clock,
    follow_network,
)
from wice.datagram import Endpoint
from wice.errors import DeviceRejectedError
from wice.events import EventStream
from wice.platform import Platform
from wice.signaling.in_process import InProcessNetwork
from wice.signaling.transport import RelayGrant
from wice.stun import LongTermCredentials
from wice.turn.relays import RelayServer


class WallClock:
    """ahead_s: how far it is ahead of the clock of timers, which stands still during a suspend."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    @property
    def platform(self) -> Platform:
        return cast(Platform, SimpleNamespace(wall_time=self._now))

    def _now(self) -> float:
        return trio.current_time() + self.ahead_s


async def test_a_suspend_is_seen_once_and_soon(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    clock, jumps = WallClock(), list[float]()
    began_s = trio.current_time()
    nursery.start_soon(
        follow_clock, clock.platform, lambda: jumps.append(trio.current_time() - began_s)
    )
    await trio.sleep(10.5)
    clock.ahead_s += 3_600.0
    await trio.sleep(10)
    assert len(jumps) == 1
    assert 10.5 < jumps[0] <= 10.5 + CLOCK_LOOK_S
    assert autojump_clock.autojump_threshold == 0


async def test_who_sets_the_clock_back_or_a_little_forward_disturbs_nothing(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    clock, jumps = WallClock(), list[float]()
    nursery.start_soon(follow_clock, clock.platform, lambda: jumps.append(clock.ahead_s))
    for change_s in (-3_600.0, CLOCK_JUMP_MIN_S / 2, -1.0):
        await trio.sleep(10)
        clock.ahead_s += change_s
    await trio.sleep(10)
    assert jumps == []
    assert autojump_clock.autojump_threshold == 0


async def test_a_change_is_told_when_the_addresses_could_be_read(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    change, changes = trio.open_memory_channel[None](1)
    happened: list[str] = []

    @asynccontextmanager
    async def watch_network() -> AsyncIterator[trio.MemoryReceiveChannel[None]]:
        yield changes

    def look() -> None:
        happened.append("looked")
        if happened.count("looked") == 1:
            raise DeviceRejectedError("an interface was there no more")

    platform = cast(Platform, SimpleNamespace(watch_network=watch_network))
    nursery.start_soon(follow_network, platform, look, lambda: happened.append("changed"))
    await change.send(None)
    await trio.sleep(LOOK_AGAIN_S / 2)
    assert happened == ["looked"]
    await trio.sleep(LOOK_AGAIN_S)
    assert happened == ["looked", "looked", "changed"]
    assert autojump_clock.autojump_threshold == 0


class _Asked:
    """What a host asks of its paths, in place of an ICE driver and of relays."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.servers: Sequence[RelayServer] = ()

    def refresh(self) -> None:
        self.times["addresses"] += 1

    def network_changed(self) -> None:
        self.times["paths"] += 1

    def query_mappings(self) -> None:
        self.times["mappings"] += 1

    def set_servers(self, servers: Sequence[RelayServer]) -> None:
        self.servers = servers


def _host_with(paths: _Asked, relays: _Asked) -> Any:
    platform = SimpleNamespace(interfaces=list, random_bytes=bytes)
    config = SimpleNamespace(interfaces=(), ice=IceConfig())
    host: Any = Interfaces(cast(Config, config), cast(Platform, platform), EventStream())
    host._drivers, host.relays = [paths], [relays]
    return host


async def test_after_a_sleep_everything_that_others_knew_of_us_is_asked_for_again() -> None:
    paths, relays = _Asked(), _Asked()
    _host_with(paths, relays)._host_slept()
    assert paths.times == {"paths": 1, "mappings": 1}
    assert relays.times == {"paths": 1}


async def test_interfaces_that_come_and_go_without_end_do_not_keep_all_paths_busy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    paths, relays = _Asked(), _Asked()
    host = _host_with(paths, relays)
    for _ in range(100):
        host._network_changed()
    assert paths.times["paths"] == relays.times["paths"] == CHECKS_OF_ALL_BURST
    assert paths.times["addresses"] == 100 - CHECKS_OF_ALL_BURST, "new ones are used at once"
    await trio.sleep(1 / CHECKS_OF_ALL_RATE_PER_S + 0.01)
    host._network_changed()
    assert paths.times["paths"] == CHECKS_OF_ALL_BURST + 1
    assert autojump_clock.autojump_threshold == 0


async def test_what_relays_grant_serves_every_interface_and_what_they_refuse_is_said_of_the_grant(
    nursery: trio.Nursery,
) -> None:
    refused: list[RelayGrant] = []
    grant = RelayGrant(Endpoint("192.0.2.1", 3478), "user", "password", 3_600.0)
    transport: Any = InProcessNetwork(relays=[grant]).open_transport()
    transport.relay_refused = refused.append
    first, second = _Asked(), _Asked()
    host = _host_with(_Asked(), first)
    host.relays.append(second)
    nursery.start_soon(host._follow_grants, transport)
    await trio.testing.wait_all_tasks_blocked()
    server = RelayServer(grant.server, LongTermCredentials("user", "password"))
    assert list(first.servers) == list(second.servers) == [server]
    host._relay_refused(transport, server)
    host._relay_refused(transport, RelayServer(grant.server, LongTermCredentials("user", "other")))
    assert refused == [grant]
