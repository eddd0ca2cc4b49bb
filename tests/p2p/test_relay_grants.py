"""Asking for relays, in virtual time: which are used, which asked again, what is believed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing

from p2p.relay_grants import (
    ANSWER_TIMEOUT_S,
    LIFETIME_MAX_S,
    LIFETIME_MIN_S,
    REFUSED_WAIT_S,
    RETRY_MAX_S,
    RETRY_MIN_S,
    Borrower,
    RelayGrants,
)
from p2p.relay_loans import decode_request, encode
from p2p.section import TcpAddress
from p2p.signal import Signal
from p2p.streams import FrameStream, NotServedError, StreamClosedError
from tests.p2p.test_clock import Pipe
from tests.p2p.test_relay_loans import HARBOUR, LIFETIME_S, MEMBER, a_member
from tests.p2p.test_rendezvous import VirtualPlatform
from wice.datagram import Endpoint
from wice.proto.overlay_pb2 import RelayAnswer
from wice.signaling.transport import RelayGrant

NODES = tuple(a_member(number) for number in range(100, 105))
ADDRESSES = {
    node: (TcpAddress("2001:db8::1", 4_001), TcpAddress(f"198.51.100.{number}", 4_001))
    for number, node in enumerate(NODES)
}


def a_loan(**changes: Any) -> RelayAnswer:
    fields = {"port": 3_478, "username": "u", "password": "p", "lifetime_s": int(LIFETIME_S)}
    return RelayAnswer(loan=RelayAnswer.Loan(**(fields | changes)))


class Wire(Pipe):
    """Ends as a stream of libp2p does."""

    async def read(self, size: int) -> bytes:
        try:
            return await super().read(size)
        except trio.EndOfChannel:
            return b""


class Nodes:
    """Public nodes and the host that reaches them; each answers as ``answers`` says, or not."""

    def __init__(self, nursery: trio.Nursery, platform: VirtualPlatform) -> None:
        self.peer_id = MEMBER
        self.changed = Signal()
        self.connected: tuple[str, ...] = ()
        self.asked: list[tuple[float, str]] = []
        self.open_streams = 0
        self.answers: dict[str, Callable[[], bytes | None]] = {}
        self.delays_s: dict[str, float] = {}
        self.grants = RelayGrants(NODES, platform)  # type: ignore[arg-type]
        self.faults: list[str] = []
        self._nursery = nursery
        ours: Any = self
        self.borrower = Borrower(
            ours,
            ours,
            ADDRESSES,
            self.grants,
            HARBOUR,
            platform,  # type: ignore[arg-type]
            self.faults.append,
        )

    def set_connected(self, *nodes: str) -> None:
        self.connected = nodes
        self.changed.notify()

    def remote_hosts(self, peer_id: str) -> frozenset[str]:
        return frozenset({ADDRESSES[peer_id][1].host})

    async def open_stream(self, peer_id: str, _protocol: str) -> FrameStream:
        self.asked.append((trio.current_time(), peer_id))
        if peer_id not in self.answers:
            raise NotServedError(peer_id)
        there, back = trio.open_memory_channel[bytes](8), trio.open_memory_channel[bytes](8)
        ours: Any = Wire(back[1], there[0])
        theirs: Any = Wire(there[1], back[0])
        self._nursery.start_soon(self._serve, peer_id, FrameStream(theirs, MEMBER))
        return FrameStream(ours, peer_id)

    async def _serve(self, peer_id: str, stream: FrameStream) -> None:
        self.open_streams += 1
        try:
            decode_request(await stream.receive())
            await trio.sleep(self.delays_s.get(peer_id, 0.01))
            answer = self.answers[peer_id]()
            if answer is not None:
                await stream.send(answer)
            await stream.receive()
        except StreamClosedError:
            self.open_streams -= 1

    def servers(self) -> list[str]:
        return [grant.server.host for grant in self.grants.current()]

    def asked_after_s(self) -> list[float]:
        return [round(at - self.asked[0][0], 1) for at, _ in self.asked]


@asynccontextmanager
async def asking() -> AsyncIterator[Nodes]:
    async with trio.open_nursery() as nursery:
        nodes = Nodes(nursery, VirtualPlatform())
        nursery.start_soon(nodes.borrower.run)
        yield nodes
        nursery.cancel_scope.cancel()


async def test_grants_are_renewed_at_half_their_lifetime(autojump_clock: Any) -> None:
    async with asking() as nodes:
        nodes.answers[NODES[1]] = lambda: encode(a_loan())
        nodes.set_connected(NODES[1])
        await trio.sleep(2 * LIFETIME_S - 1)
        assert nodes.asked_after_s() == pytest.approx([0, 1_800, 3_600, 5_400], abs=0.5)
        (grant,) = nodes.grants.current()
        assert grant.server == Endpoint("198.51.100.1", 3_478), "where it is connected"
        assert nodes.open_streams == 0


async def test_the_nearest_come_first_and_those_of_nodes_that_are_gone_last(
    autojump_clock: Any,
) -> None:
    async with asking() as nodes:
        for node, delay_s in zip(NODES, (0.05, 0.04, 0.01, 0.01, 0.02), strict=True):
            nodes.answers[node] = lambda: encode(a_loan())
            nodes.delays_s[node] = delay_s
        nodes.set_connected(*reversed(NODES))
        await trio.sleep(1)
        assert nodes.servers() == [f"198.51.100.{number}" for number in (2, 3, 4, 1, 0)]
        assert len(nodes.grants.status()) == len(NODES)
        nodes.set_connected(*NODES[:3])
        await trio.sleep(1)
        assert nodes.servers() == [f"198.51.100.{number}" for number in (2, 1, 0, 3, 4)]
        nodes.set_connected(NODES[0])
        await trio.sleep(1)
        assert nodes.servers() == [f"198.51.100.{number}" for number in (2, 3, 0, 4, 1)]


async def test_one_slow_answer_does_not_move_a_relay_back(autojump_clock: Any) -> None:
    async with asking() as nodes:
        for node, delay_s in zip(NODES[:2], (0.01, 0.02), strict=True):
            nodes.answers[node] = lambda: encode(a_loan())
            nodes.delays_s[node] = delay_s
        nodes.set_connected(*NODES[:2])
        await trio.sleep(1)
        nodes.delays_s[NODES[0]] = 0.5
        await trio.sleep(LIFETIME_S)
        assert nodes.servers() == ["198.51.100.0", "198.51.100.1"]
        nodes.set_connected(NODES[1])
        await trio.sleep(1)
        nodes.set_connected(*NODES[:2])
        await trio.sleep(1)
        assert nodes.servers() == ["198.51.100.1", "198.51.100.0"], "it is measured anew"


async def test_a_grant_ends_when_it_expires_and_whoever_waits_is_told(autojump_clock: Any) -> None:
    async with asking() as nodes:
        nodes.answers[NODES[0]] = lambda: encode(a_loan())
        nodes.set_connected(NODES[0])
        (grant,) = await nodes.grants.wait_other(())
        granted_at = trio.current_time()
        nodes.set_connected()
        assert await nodes.grants.wait_other([grant]) == ()
        assert trio.current_time() - granted_at == pytest.approx(LIFETIME_S, abs=0.1)
        assert nodes.grants.status() == []


async def test_news_that_came_before_are_not_missed(autojump_clock: Any) -> None:
    grants = RelayGrants(NODES, VirtualPlatform())  # type: ignore[arg-type]
    expires_at_wall_s = VirtualPlatform().wall_time() + LIFETIME_S
    old, new = (
        RelayGrant(Endpoint("198.51.100.1", 3_478), "u", password, expires_at_wall_s)
        for password in ("old", "new")
    )
    grants.put(NODES[0], old, 0.01)
    assert await grants.wait_other(()) == (old,)
    grants.put(NODES[0], new, 0.01)
    with trio.fail_after(1):
        assert await grants.wait_other([old]) == (new,)
        assert await grants.wait_other(()) == (new,)


async def test_two_nodes_with_one_relay_are_one(autojump_clock: Any) -> None:
    grants = RelayGrants(NODES, VirtualPlatform())  # type: ignore[arg-type]
    expires_at_wall_s = VirtualPlatform().wall_time() + LIFETIME_S
    for node in NODES[:2]:
        server = Endpoint("198.51.100.1", 3_478)
        grants.put(node, RelayGrant(server, node, "p", expires_at_wall_s), 0.01)
    assert [grant.username for grant in grants.current()] == [NODES[0]]


async def test_a_node_that_does_not_answer_is_asked_ever_less(autojump_clock: Any) -> None:
    async with asking() as nodes:
        nodes.answers[NODES[0]] = lambda: None
        nodes.set_connected(NODES[0])
        await trio.sleep(2_000)
        at = nodes.asked_after_s()
        waits = [later - earlier - ANSWER_TIMEOUT_S for earlier, later in pairwise(at)]
        assert waits[:3] == pytest.approx([RETRY_MIN_S, 2 * RETRY_MIN_S, 4 * RETRY_MIN_S], abs=0.1)
        assert waits[-1] == pytest.approx(RETRY_MAX_S, abs=0.1)
        asked = len(at)
        nodes.borrower.hurry()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nodes.asked) == asked + 1, "the network has changed"
        assert not nodes.faults


async def test_a_node_that_refuses_is_left_alone_for_a_while(autojump_clock: Any) -> None:
    async with asking() as nodes:
        rude = RelayAnswer(refused=RelayAnswer.Refused(reason="no\n" * 100))
        nodes.answers[NODES[0]] = lambda: encode(rude)
        nodes.set_connected(NODES[0])
        await trio.sleep(REFUSED_WAIT_S + 1)
        assert nodes.asked_after_s() == pytest.approx([0, REFUSED_WAIT_S], abs=0.1)
        assert all("\n" not in fault and len(fault) < 200 for fault in nodes.faults)
        assert len(nodes.faults) == 2


async def test_a_node_that_serves_none_is_asked_once_a_connection(autojump_clock: Any) -> None:
    async with asking() as nodes:
        nodes.set_connected(NODES[0])
        await trio.sleep(10_000)
        nodes.borrower.hurry()
        await trio.sleep(1)
        assert len(nodes.asked) == 1
        nodes.set_connected()
        await trio.sleep(1)
        nodes.set_connected(NODES[0])
        await trio.sleep(1)
        assert len(nodes.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        encode(a_loan(port=0)),
        encode(a_loan(port=65_536)),
        encode(a_loan(username="")),
        encode(a_loan(username="u" * 300)),
        encode(a_loan(username="a\nb")),
        encode(a_loan(password="")),
        encode(a_loan(password="\u0000")),
        encode(a_loan(lifetime_s=int(LIFETIME_MIN_S) - 1)),
        encode(a_loan())[1:],
        b"\x01\xff",
        b"",
    ],
)
async def test_a_loan_of_no_use_is_counted_and_not_taken(
    autojump_clock: Any, answer: bytes
) -> None:
    async with asking() as nodes:
        nodes.answers[NODES[0]] = lambda: answer
        nodes.set_connected(NODES[0])
        await trio.sleep(1)
        assert nodes.grants.current() == ()
        assert len(nodes.faults) == 1
        nodes.answers[NODES[0]] = lambda: encode(a_loan())
        await trio.sleep(RETRY_MIN_S)
        assert len(nodes.grants.current()) == 1


async def test_a_loan_for_ever_is_one_for_a_day(autojump_clock: Any) -> None:
    async with asking() as nodes:
        nodes.answers[NODES[0]] = lambda: encode(a_loan(lifetime_s=2**32 - 1))
        nodes.set_connected(NODES[0])
        await trio.sleep(1)
        (relay,) = nodes.grants.status()
        assert relay["expires_in_s"] == pytest.approx(LIFETIME_MAX_S, abs=2)


async def test_a_relay_that_refuses_what_was_granted_is_borrowed_again_at_once_and_then_seldom(
    autojump_clock: Any,
) -> None:
    async with asking() as nodes:
        passwords = (str(number) for number in range(1_000))
        nodes.answers[NODES[0]] = lambda: encode(a_loan(password=next(passwords)))
        nodes.set_connected(NODES[0])
        (first,) = await nodes.grants.wait_other(())
        await trio.sleep(100)
        nodes.grants.refuse(first)
        with trio.fail_after(1):
            await nodes.grants.wait_other([first])
        nodes.grants.refuse(first)
        await trio.sleep(100)
        assert len(nodes.asked) == 2, "what was refused is no longer what we hold"
        for _ in range(1_200):
            nodes.grants.refuse(*nodes.grants.current())
            await trio.sleep(1)
        waits = [later - earlier for earlier, later in pairwise(nodes.asked_after_s())]
        assert waits[2:] == pytest.approx([20, 40, 80, 160, 300, 300], abs=2)


@pytest.mark.parametrize("step_s", [2 * LIFETIME_S, -2 * LIFETIME_S])
async def test_a_wall_clock_that_is_set_ends_no_grant(autojump_clock: Any, step_s: float) -> None:
    platform = VirtualPlatform()
    grants = RelayGrants(NODES, platform)  # type: ignore[arg-type]
    grant = RelayGrant(Endpoint("198.51.100.1", 3_478), "u", "p", platform.wall_time() + LIFETIME_S)
    grants.put(NODES[0], grant, 0.01)
    platform.start += step_s
    assert grants.current() == (grant,)
    granted_at = trio.current_time()
    assert await grants.wait_other([grant]) == ()
    assert trio.current_time() - granted_at == pytest.approx(LIFETIME_S, abs=0.1)
