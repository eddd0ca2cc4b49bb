"""Lookups among nodes that name whomever they like (virtual time, no network)."""

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import trio

from p2p.dht import DIALS_FAILED_MAX, DIALS_FAILED_PER_NODE_MAX, KadClient
from p2p.identity import Identity
from p2p.kad import QUERIES_PARALLEL, RoutingTable, ServerNode, position
from p2p.reach import may_name, scope
from p2p.requests import REQUESTS_IN_FLIGHT_MAX
from p2p.section import TcpAddress, check_peer_id
from p2p.streams import StreamClosedError
from wice.proto.overlay_pb2 import KadMessage

US = Identity.from_seed(bytes(32)).peer_id
LIAR = Identity.from_seed(bytes([1]) * 32).peer_id
VICTIM = TcpAddress("1.1.1.1", 443)
FOREIGN = [
    TcpAddress("127.0.0.1", 6379),
    TcpAddress("10.0.0.1", 22),
    TcpAddress("169.254.169.254", 80),
    TcpAddress("224.0.0.1", 5000),
    TcpAddress("::1", 22),
    TcpAddress("::ffff:127.0.0.1", 22),
    TcpAddress("fd00::1", 22),
    TcpAddress("100.64.0.1", 22),
]


class OneHost:
    """Connected to one node; every dial takes longer than a query may."""

    peer_id = US

    def __init__(self, liar_at: str) -> None:
        self.liar_at = liar_at
        self.dials: Counter[TcpAddress] = Counter()

    def is_connected(self, peer_id: str) -> bool:
        return peer_id == LIAR

    def remote_hosts(self, peer_id: str) -> frozenset[str]:
        return frozenset({self.liar_at} if peer_id == LIAR else ())

    async def connect(self, _peer_id: str, addresses: Sequence[TcpAddress]) -> None:
        self.dials.update(addresses)
        await trio.sleep(10)


class Answers:
    """Every answer names as many nodes as one may, that do not exist, all at ``addresses``."""

    def __init__(self, addresses: Sequence[TcpAddress]) -> None:
        self.addresses = addresses
        self.running = 0
        self.most = 0

    async def request(self, _peer_id: str, _payload: bytes) -> bytes:
        answer = KadMessage()
        for _ in range(20):
            fake = b"\x12\x20" + os.urandom(32)
            addrs = [address.to_bytes() for address in self.addresses]
            answer.closer_peers.append(KadMessage.Peer(id=fake, addrs=addrs))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await trio.sleep(1.0)
        finally:
            self.running -= 1
        return answer.SerializeToString()

    async def drop(self, _peer_id: str) -> None:
        raise StreamClosedError("it was asked more than it answers in time")


def make_client(host: OneHost, answers: Answers) -> KadClient:
    table = RoutingTable(position(check_peer_id(US)))
    liar = ServerNode(LIAR, position(check_peer_id(LIAR)), (TcpAddress("198.51.100.1", 4001),))
    table.add(liar)
    parts: tuple[Any, Any, Any] = (host, answers, VirtualTime())
    return KadClient(
        parts[0],
        table,
        parts[1],
        parts[2],
        announced=(),
        is_kept=lambda _: False,
        count_fault=lambda _: None,
    )


class VirtualTime:
    def wall_time(self) -> float:
        return 1.7e9


class Silent(Answers):
    """As ``Answers``, and nobody minds a stream that is dropped."""

    async def drop(self, _peer_id: str) -> None:
        return


@pytest.mark.parametrize("liar_at", ["9.9.9.9", "203.0.113.9"])
async def test_nobody_is_sent_into_other_networks(autojump_clock: Any, liar_at: str) -> None:
    for address in FOREIGN:
        host = OneHost(liar_at)
        await make_client(host, Silent([address])).get(os.urandom(20))
        assert not host.dials, f"a node at {liar_at} names {address}"


@pytest.mark.parametrize(
    ("teller", "named"),
    [
        ("127.0.0.1", "127.0.0.2"),
        ("203.0.113.9", "198.51.100.1"),
        ("192.168.1.1", "10.0.0.1"),
        ("2001:db8::1", "203.0.113.1"),
        ("fe80::1%eth0", "169.254.0.1"),
        ("10.0.0.1", "1.1.1.1"),
        ("198.51.100.1", "2606:4700::1111"),
    ],
)
def test_who_is_in_a_network_may_name_others_there(teller: str, named: str) -> None:
    assert may_name([teller], named)


def test_kinds_of_addresses() -> None:
    assert {scope(address.host) for address in FOREIGN}.isdisjoint({"global"})
    assert not may_name(["224.0.0.1"], "224.0.0.1")
    assert not may_name([], "127.0.0.1")
    assert scope("192.0.2.1") == "reserved"


async def test_a_lookup_knocks_only_so_often_in_vain(autojump_clock: Any) -> None:
    host = OneHost("9.9.9.9")
    client = make_client(host, Silent([VICTIM]))
    await client.get(os.urandom(20))
    assert 0 < host.dials.total() < DIALS_FAILED_PER_NODE_MAX + QUERIES_PARALLEL
    assert DIALS_FAILED_PER_NODE_MAX <= DIALS_FAILED_MAX


class OneAtATime(Silent):
    """A node far away that answers everybody, so many at once."""

    async def request(self, peer_id: str, payload: bytes) -> bytes:
        self.addresses = ()
        answer = await super().request(peer_id, payload)
        assert self.running < REQUESTS_IN_FLIGHT_MAX
        return answer


async def test_more_lookups_than_a_node_answers_at_once_wait(autojump_clock: Any) -> None:
    host, answers = OneHost("9.9.9.9"), OneAtATime(())
    client = make_client(host, answers)
    failed: list[str] = []
    client._table.failed = failed.append  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        for _ in range(10 * REQUESTS_IN_FLIGHT_MAX):
            nursery.start_soon(client.get, os.urandom(20))
    assert answers.most == REQUESTS_IN_FLIGHT_MAX
    assert not failed, "nothing is held against a node that answers"
    assert not client._queues
