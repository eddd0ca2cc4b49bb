"""The relay of a bootstrap node on real sockets: who may use it, how far, and what it refuses."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_interface, ip_network
from types import SimpleNamespace
from typing import cast

import pytest
import trio
import trio.testing

from wice.daemon import relay as relay_module
from wice.daemon.relay import LOAN_LIFETIME_S, CommunityRelay, relay_hosts
from wice.datagram import Endpoint, Path
from wice.events import EventStream
from wice.platform import NetworkInterface, Platform
from wice.relay_config import RelayConfig
from wice.signaling.transport import RelayLoan
from wice.stun import Class, LongTermCredentials, Method, encode
from wice.turn import Budgets
from wice.turn.relays import Relays, RelayServer
from wice.wireguard.port import SharedPort, open_port

HOST = "127.0.0.1"
LOOPBACK = (ip_network("127.0.0.0/8"),)
TIMEOUT_S = 30
WALL_S = 1_700_000_000.0
CHECK = encode(Method.BINDING, Class.REQUEST, bytes(12))


class Host:
    """A platform whose addresses and clock a test sets."""

    def __init__(self, *addresses: str) -> None:
        self.wall_s = WALL_S
        self.addresses = addresses
        self.changed, self._changes = trio.open_memory_channel[None](1)

    @property
    def platform(self) -> Platform:
        return cast(
            Platform,
            SimpleNamespace(
                wall_time=lambda: self.wall_s,
                random_bytes=os.urandom,
                interfaces=self._interfaces,
                watch_network=self._watch_network,
            ),
        )

    def _interfaces(self) -> Sequence[NetworkInterface]:
        addresses = tuple(ip_interface(address) for address in self.addresses)
        return [NetworkInterface("lo", 1, True, True, addresses)]

    @asynccontextmanager
    async def _watch_network(self) -> AsyncIterator[trio.MemoryReceiveChannel[None]]:
        yield self._changes


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def relaying(
    host: Host | None = None, budgets: Budgets | None = None, **changes: object
) -> AsyncIterator[CommunityRelay]:
    settings = {"allowed_networks": LOOPBACK, **changes}
    config = RelayConfig(True, free_port(), budgets=budgets or Budgets(), **settings)  # type: ignore[arg-type]
    relay = CommunityRelay(config, (host or Host(f"{HOST}/8")).platform)
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(relay.run)
            yield relay
            nursery.cancel_scope.cancel()


async def eventually(condition: Callable[[], object]) -> None:
    with trio.fail_after(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


class Member:
    """A WireGuard port that allocates with a loan."""

    def __init__(self, relays: Relays, port: SharedPort) -> None:
        self.relays = relays
        self.port = port

    def use(self, loan: RelayLoan) -> None:
        credentials = LongTermCredentials(loan.username, loan.password)
        self.relays.set_servers([RelayServer(Endpoint(HOST, loan.port), credentials)])

    async def allocated(self) -> Endpoint:
        await eventually(lambda: self.relays.allocations)
        return self.relays.allocations[0].relayed

    async def refused(self) -> str:
        await eventually(lambda: self.relays.status()[0]["reason"])
        return str(self.relays.status()[0]["reason"])


@asynccontextmanager
async def a_member() -> AsyncIterator[Member]:
    port = await open_port("wg0", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.run, lambda *_: None)
        relays = Relays(port, os.urandom, EventStream())
        await nursery.start(relays.run)
        yield Member(relays, port)
        nursery.cancel_scope.cancel()
    port.close()


async def test_a_member_gets_an_address_of_its_own_and_data_through_it() -> None:
    async with relaying() as relay, a_member() as member, a_member() as other:
        member.use(relay.lend("member"))
        other.use(relay.lend("other"))
        ours, theirs = await member.allocated(), await other.allocated()

        def is_through() -> bool:
            # Each has to permit the other before anything comes through.
            member.relays.carry(CHECK, Path(theirs, str(ours)))
            other.relays.carry(CHECK, Path(ours, str(theirs)))
            return "data relayed to clients" in relay.status()["counters"]

        await eventually(is_through)
        received = await member.port.receive()
        assert (received.data, received.source) == (CHECK, theirs)
        assert received.destination == str(ours)
        listed = {a["member"]: a["relayed"] for a in relay.status()["allocations"]}
        assert listed == {"member": [str(ours)], "other": [str(theirs)]}


async def test_a_stranger_gets_none() -> None:
    """Neither by a name and a password of its own, nor by what another relay lent."""
    async with relaying() as relay, relaying() as elsewhere, a_member() as stranger:
        lent = elsewhere.lend("stranger")
        stranger.use(RelayLoan(relay.lend("x").port, lent.username, lent.password, 1.0))
        assert await stranger.refused() == "the server refuses the credentials"
        assert relay.status()["allocations"] == []


async def test_a_loan_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with relaying() as relay, a_member() as late:
        with monkeypatch.context() as lifetime:
            lifetime.setattr(relay_module, "LOAN_LIFETIME_S", 0.0)
            late.use(relay.lend("late"))
        assert await late.refused() == "the server refuses the credentials"
        loan = relay.lend("late")
        assert loan.lifetime_s == LOAN_LIFETIME_S
        late.use(loan)
        await late.allocated()


@pytest.mark.parametrize("step_s", [2 * LOAN_LIFETIME_S, -2 * LOAN_LIFETIME_S])
async def test_a_wall_clock_that_is_set_ends_no_loan(step_s: float) -> None:
    host = Host(f"{HOST}/8")
    async with relaying(host) as relay, a_member() as member, a_member() as other:
        before = relay.lend("member")
        host.wall_s += step_s
        member.use(before)
        await member.allocated()
        other.use(relay.lend("other"))
        await other.allocated()


async def test_a_member_has_no_more_allocations_than_its_budget_under_any_loan() -> None:
    budgets = Budgets(allocations=8, allocations_per_user=1)
    async with (
        relaying(budgets=budgets) as relay,
        a_member() as first,
        a_member() as second,
        a_member() as other,
    ):
        first.use(relay.lend("member"))
        await first.allocated()
        second.use(relay.lend("member"))
        assert await second.refused() == "our quota at the server is used up"
        other.use(relay.lend("other"))
        await other.allocated()


async def test_nothing_is_sent_to_addresses_of_the_host_also_to_those_it_gets_later() -> None:
    host = Host("192.0.2.1/24")
    async with relaying(host, allowed_networks=()) as relay:
        assert not relay._policy.allows("192.0.2.1")
        assert relay._policy.allows("192.0.2.2")
        assert not relay._policy.allows("127.0.0.1")
        host.addresses = ("192.0.2.2/24",)
        await host.changed.send(None)
        await eventually(lambda: not relay._policy.allows("192.0.2.2"))
        assert relay._policy.allows("192.0.2.1")


async def test_nothing_is_sent_to_an_address_that_stands_for_the_host() -> None:
    announced = {"10.0.0.5": "203.0.113.10"}
    async with relaying(Host("10.0.0.5/24"), announced=announced) as relay:
        assert not relay._policy.allows("203.0.113.10")


async def test_ports_of_relayed_addresses_keep_to_the_range() -> None:
    relayed_ports = range(free_port(), 65_536)[:4]
    async with relaying(relayed_ports=relayed_ports) as relay, a_member() as member:
        member.use(relay.lend("member"))
        assert (await member.allocated()).port in relayed_ports


@pytest.mark.parametrize(
    ("announced", "expected"),
    [
        ((), ("203.0.113.10", "2001:db8::10")),
        (("10.0.0.5",), ("10.0.0.5", "203.0.113.10", "2001:db8::10")),
    ],
)
def test_relayed_addresses_are_those_that_are_announced_then_public_ones(
    announced: Sequence[str], expected: Sequence[str]
) -> None:
    """An IPv4 address that is announced leaves the host its IPv6."""
    addresses = ("127.0.0.1", "10.0.0.5", "203.0.113.10", "fe80::1", "2001:db8::10", "fd00::1")
    assert relay_hosts(addresses, announced) == expected


async def test_a_public_address_that_comes_later_is_relayed_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_module, "relay_hosts", lambda addresses, _: addresses)
    host = Host(f"{HOST}/8")
    async with relaying(host) as relay, a_member() as early, a_member() as late:
        early.use(relay.lend("early"))
        assert (await early.allocated()).host == HOST
        host.addresses = ("127.0.0.3/8", f"{HOST}/8")
        await host.changed.send(None)
        await trio.testing.wait_all_tasks_blocked()
        late.use(relay.lend("late"))
        assert (await late.allocated()).host == "127.0.0.3"
