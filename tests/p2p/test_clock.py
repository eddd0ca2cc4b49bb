"""What happens when the host has slept: the wall clock goes on and trio's does not."""

from typing import Any

import pytest
import trio

from p2p import clock
from p2p.anchors import SUBSCRIBE_AGAIN_S, AnchorClient, AnchorServer
from p2p.identity import Identity
from p2p.inboxes import Inboxes
from p2p.rendezvous import REFRESH_S
from p2p.signal import Signal
from p2p.streams import FrameStream
from tests.p2p.test_rendezvous import (
    HARBOUR,
    HERE,
    FakeDht,
    VirtualPlatform,
    make_holder,
    publishing,
)

HOURS_ASLEEP = 2
SOON_S = clock.STEP_S + 1.0
ANCHOR = Identity.from_seed(bytes(32)).peer_id
CLIENT = Identity.from_seed(bytes([1]) * 32).peer_id


class Pipe:
    """A libp2p stream and its other end."""

    def __init__(self, incoming: Any, outgoing: Any) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    async def write(self, data: bytes) -> None:
        await self._outgoing.send(data)

    async def read(self, _size: int) -> bytes:
        return bytes(await self._incoming.receive())

    async def reset(self) -> None:
        await self._outgoing.aclose()


def pipe() -> tuple[FrameStream, FrameStream]:
    there, back = trio.open_memory_channel[bytes](64), trio.open_memory_channel[bytes](64)
    ours: Any = Pipe(back[1], there[0])
    theirs: Any = Pipe(there[1], back[0])
    return FrameStream(ours, ANCHOR), FrameStream(theirs, CLIENT)


async def test_a_wait_ends_on_whichever_clock_is_first(autojump_clock: Any) -> None:
    platform, signal = VirtualPlatform(), Signal()
    started = trio.current_time()
    platform.start -= 3_600.0  # set back: the other clock counts
    await clock.wait_due(platform, 100.0, signal, signal.count)
    assert trio.current_time() - started == pytest.approx(100.0)

    async def sleep_long() -> None:
        await trio.sleep(1.0)
        platform.start += HOURS_ASLEEP * 3_600

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep_long)
        await clock.wait_due(platform, 3_600.0, signal, signal.count)
    assert trio.current_time() - started <= SOON_S


async def test_a_clock_that_is_steered_is_no_jump(autojump_clock: Any) -> None:
    platform = VirtualPlatform()
    with trio.move_on_after(100 * clock.STEP_S) as scope:
        async with trio.open_nursery() as nursery:

            async def steer() -> None:
                while True:
                    await trio.sleep(1.0)
                    platform.start += 0.1

            nursery.start_soon(steer)
            await clock.wait_jump(platform)
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(clock.wait_jump, platform)
        await trio.sleep(1.0)
        platform.start += 600.0
        with trio.fail_after(SOON_S):
            while nursery.child_tasks:  # noqa: ASYNC110
                await trio.sleep(1.0)


async def test_after_sleep_the_anchor_has_our_subscription_again(autojump_clock: Any) -> None:
    platform = VirtualPlatform()
    ours, theirs = pipe()
    inboxes = Inboxes(HARBOUR, platform)
    server = AnchorServer(ANCHOR, platform, lambda _: None)

    class OneHost:
        async def open_stream(self, _peer_id: str, _protocol: str) -> FrameStream:
            return ours

    host: Any = OneHost()
    client = AnchorClient(host, inboxes, platform, lambda _: None)
    with inboxes.subscribe(make_holder()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, theirs)
            nursery.start_soon(client.run, ANCHOR)
            await trio.sleep(SUBSCRIBE_AGAIN_S / 2)
            (key, *_) = [signer.blinded_key for signer in inboxes.signers_to_receive()]
            assert server.is_subscribed(key)
            platform.start += HOURS_ASLEEP * 3_600
            assert not server.is_subscribed(key)
            await trio.sleep(SOON_S)
            assert server.is_subscribed(key)
            nursery.cancel_scope.cancel()


async def test_after_sleep_our_record_is_published_again(autojump_clock: Any) -> None:
    platform, dht = VirtualPlatform(), FakeDht()
    with publishing(platform, dht, [HERE]) as (publisher, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            await trio.sleep(REFRESH_S / 2)
            published = len(dht.puts)
            platform.start += HOURS_ASLEEP * 3_600
            await trio.sleep(SOON_S)
            assert len(dht.puts) > published
            nursery.cancel_scope.cancel()


async def test_a_jump_is_a_network_that_changed(
    overlay: Any, free_port: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "STEP_S", 0.05)
    overlay.place_bootstrap("bootstrap", free_port())
    ours = overlay.make_holder()
    async with (
        overlay.open_bootstrap("bootstrap") as bootstrap,
        overlay.open_peer("a") as a,
        overlay.open_peer("b") as b,
        a.subscribe(ours) as inbox,
    ):
        await overlay.send(b, ours.public_key, b"before")
        watches = a._node.anchors._probe.count
        overlay.platform.clock_offset_s += HOURS_ASLEEP * 3_600
        await overlay.eventually(lambda: a._node.anchors._probe.count > watches)
        await overlay.send(b, ours.public_key, b"after")
        assert [await inbox.receive(), await inbox.receive()] == [b"before", b"after"]
        assert bootstrap.status()["subscriptions"]
