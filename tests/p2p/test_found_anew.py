"""Envelopes to recipients that come back while one is on its way, in virtual time."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from p2p.backend import ATTEMPTS_MAX, OverlayTransport
from p2p.node import WAY_TIMEOUT_S
from p2p.records import Node, Presence, build_record, verify_record
from p2p.rendezvous import Directory, Found
from wice.errors import SignalingUnavailableError
from wice.events import Event
from wice.keys import (
    EPOCH_LENGTH_S,
    CommunitySecret,
    EpochSigner,
    LocalKeyHolder,
    PrivateKey,
    PublicKey,
    epoch_at,
)

HARBOUR = CommunitySecret.from_name("harbour")
HERE = Presence(Node(b"peer", ()), (Node(b"anchor", ("/ip4/192.0.2.1/tcp/4001",)),))


class UnheardEvents:
    def emit(self, event: Event) -> None:
        pass


class VirtualWallTime:
    def wall_time(self) -> float:
        return 20_000.0 * EPOCH_LENGTH_S + trio.current_time()


class Recipient:
    """Publishes the same presence each time it starts; its anchor holds on to the line of before.

    lives: sequence of the record by which it takes envelopes.
    """

    def __init__(self) -> None:
        self.platform = VirtualWallTime()
        self.holder = LocalKeyHolder(PrivateKey(os.urandom(32)), os.urandom)
        self.directory = Directory(HARBOUR, self.platform, UnheardEvents())  # type: ignore[arg-type]
        self.lives = 0
        self.tried: list[tuple[int, bytes]] = []
        self.directory.want(self.key)
        self.directory.keys(self.key)

    @property
    def key(self) -> PublicKey:
        return self.holder.public_key

    def publish(self, *, epochs_ahead: int = 0) -> None:
        now_wall = self.platform.wall_time()
        signer = EpochSigner(self.holder, HARBOUR, epoch_at(now_wall) + epochs_ahead, os.urandom)
        raw = build_record(
            signer,
            HERE,
            now_wall=now_wall,
            random_bytes=os.urandom,
            previous_sequence=self.sequence,
        )
        dht_key = signer.blinded_key.dht_key()
        self.directory.learn(dht_key, verify_record(dht_key, raw, now_wall))

    def start(self) -> None:
        self.publish()
        self.lives = self.sequence

    @property
    def sequence(self) -> int:
        found = self.directory.found(self.key)
        return found.sequence if found else 0

    async def resolve(self, *_: Any, **__: Any) -> Found | None:
        return self.directory.found(self.key)

    async def deliver(self, found: Found, envelope_id: bytes, _: bytes) -> str | None:
        self.tried.append((found.sequence, envelope_id))
        if found.sequence != self.lives:
            await trio.sleep(WAY_TIMEOUT_S)
            return None
        await trio.sleep(0.03)
        return "anchor"

    async def send(self) -> str:
        """To it, as the overlay does; the way."""
        node: Any = SimpleNamespace(resolver=self, deliver=self.deliver)
        transport = OverlayTransport(SimpleNamespace(directory=self.directory))  # type: ignore[arg-type]
        return await transport._send(node, self.key, b"an envelope's id", b"envelope")


@pytest.fixture
async def recipient(autojump_clock: trio.testing.MockClock) -> Recipient:
    return Recipient()


async def test_a_recipient_found_anew_need_not_wait_for_who_it_was(
    autojump_clock: trio.testing.MockClock, recipient: Recipient
) -> None:
    recipient.publish()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_start_later, recipient, 3.0)
        began_s = trio.current_time()
        assert await recipient.send() == "anchor"
        assert trio.current_time() - began_s == pytest.approx(3.03)
    # One id: a recipient that had taken the first knows the second when it sees it.
    assert [envelope_id for _, envelope_id in recipient.tried] == [b"an envelope's id"] * 2


async def test_a_recipient_that_is_there_gets_it_once_whatever_else_it_publishes(
    autojump_clock: trio.testing.MockClock, recipient: Recipient
) -> None:
    recipient.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_publish_next_epoch_later, recipient, 0.01)
        assert await recipient.send() == "anchor"
    assert len(recipient.tried) == 1


async def test_news_without_end_do_not_keep_an_envelope_on_its_way(
    autojump_clock: trio.testing.MockClock, recipient: Recipient
) -> None:
    recipient.publish()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_publish_again_and_again, recipient)
        began_s = trio.current_time()
        with pytest.raises(SignalingUnavailableError, match="does not answer"):
            await recipient.send()
        nursery.cancel_scope.cancel()
    assert len(recipient.tried) == ATTEMPTS_MAX
    assert trio.current_time() - began_s < ATTEMPTS_MAX * WAY_TIMEOUT_S


async def test_who_was_forgotten_meanwhile_is_no_error(
    autojump_clock: trio.testing.MockClock, recipient: Recipient
) -> None:
    recipient.start()
    found = recipient.directory.found(recipient.key)
    assert found is not None
    recipient.directory._forget(recipient.key)
    with recipient.directory.until_found_anew(recipient.key, found):
        await trio.sleep(1.0)


async def _start_later(recipient: Recipient, after_s: float) -> None:
    await trio.sleep(after_s)
    recipient.start()


async def _publish_next_epoch_later(recipient: Recipient, after_s: float) -> None:
    await trio.sleep(after_s)
    recipient.publish(epochs_ahead=1)


async def _publish_again_and_again(recipient: Recipient) -> None:
    while True:
        await trio.sleep(0.5)
        recipient.publish()
