"""Who is kept connected, and what is said when nobody answers (virtual time, no network)."""

from collections.abc import Sequence
from random import Random
from typing import Any

import trio

from p2p.connections import BACKOFF_MAX_S, STABLE_AFTER_S, Connections
from p2p.identity import Identity
from p2p.section import NodeAddress, TcpAddress
from p2p.streams import StreamClosedError
from tests.p2p.test_rendezvous import Events
from wice.errors import SignalingUnavailableError
from wice.events import OverlayJoined, OverlayUnreachable

US, THEM, OTHERS = (Identity.from_seed(bytes([n]) * 32).peer_id for n in range(3))


class ThatHost:
    """Reaches whoever is in ``answering``."""

    peer_id = US

    def __init__(self) -> None:
        self.answering: set[str] = set()
        self.left = trio.Event()

    async def connect(self, peer_id: str, _addresses: Sequence[TcpAddress]) -> None:
        await trio.sleep(0.1)
        if peer_id not in self.answering:
            raise SignalingUnavailableError(f"cannot reach {peer_id}: refused")

    async def disconnect(self, _peer_id: str) -> None:
        await trio.lowlevel.checkpoint()

    async def use(self, _peer_id: str) -> None:
        await self.left.wait()
        raise StreamClosedError("gone")


async def test_each_node_that_does_not_answer_is_told_once(autojump_clock: Any) -> None:
    host: Any = ThatHost()
    events = Events()
    nodes = [NodeAddress(TcpAddress("192.0.2.1", 4001), peer_id) for peer_id in (THEM, OTHERS)]
    connections = Connections(host, nodes, events, Random(1), use=host.use)

    def unreachable() -> list[str]:
        return [event.peer_id for event in events.seen if isinstance(event, OverlayUnreachable)]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connections.run)
        await trio.sleep(10 * BACKOFF_MAX_S)
        assert sorted(unreachable()) == sorted([THEM, OTHERS])
        reasons = {e.reason for e in events.seen if isinstance(e, OverlayUnreachable)}
        assert f"cannot reach {THEM}: refused" in reasons
        host.answering.add(THEM)
        await trio.sleep(3 * BACKOFF_MAX_S + STABLE_AFTER_S)
        assert [e.peer_id for e in events.seen if isinstance(e, OverlayJoined)] == [THEM]
        host.answering.clear()
        host.left.set()
        await trio.sleep(10 * BACKOFF_MAX_S)
        assert sorted(unreachable()) == sorted([THEM, THEM, OTHERS])
        nursery.cancel_scope.cancel()
