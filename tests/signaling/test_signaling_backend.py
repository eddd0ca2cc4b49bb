"""The in-process backend passes the conformance suite, and what the suite cannot see."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from wice.datagram import Endpoint
from wice.errors import (
    EnvelopeError,
    LocalProtocolError,
    SignalingClosedError,
    SignalingUnavailableError,
)
from wice.keys import ANY, KeyHolder, KeyPair, LocalKeyHolder, PublicKey
from wice.signaling import sealed
from wice.signaling.backend import Backend, Received
from wice.signaling.conformance import check_backend, check_every_pair
from wice.signaling.envelope import open_envelope, seal
from wice.signaling.in_process import (
    INBOX_MAX,
    Impairment,
    InProcessNetwork,
    InProcessTransport,
)
from wice.signaling.sealed import SUBSCRIPTION_QUEUE_MAX, SealedBackend
from wice.signaling.transport import RelayGrant

MakeHolder = Callable[[], LocalKeyHolder]
ROUGH = Impairment(latency_s=(0.01, 2.0), loss=0.3, duplication=0.3)


def opener(network: InProcessNetwork, sink: Any) -> Callable[..., Any]:
    def open_backend(holder: KeyHolder) -> AbstractAsyncContextManager[Backend]:
        return SealedBackend.open(network.open_transport(), [holder], os.urandom, sink)

    return open_backend


async def test_in_process_conforms(autojump_clock, sink):
    await check_backend(opener(InProcessNetwork(), sink))


@pytest.mark.parametrize("seed", range(3))
async def test_in_process_conforms_on_a_rough_network(autojump_clock, sink, seed):
    network = InProcessNetwork(ROUGH, Random(seed))
    await check_backend(opener(network, sink), timeout_s=600.0)
    assert "a second copy of an envelope" in sink.dropped


async def test_the_suite_finds_a_network_that_loses_silently(autojump_clock, sink):
    network = InProcessNetwork(Impairment(silent_loss=0.3), Random(0))
    with pytest.raises(trio.TooSlowError), trio.fail_after(60):
        await check_every_pair(opener(network, sink))


async def test_the_suite_finds_duplicates(autojump_clock, sink, monkeypatch):
    monkeypatch.setattr(sealed._RecentlySeen, "add", lambda *_: True)
    network = InProcessNetwork(Impairment(duplication=0.5), Random(0))
    with pytest.RaisesGroup(
        pytest.RaisesExc(AssertionError, match="more than once"), flatten_subgroups=True
    ):
        await check_every_pair(opener(network, sink))


async def test_the_suite_finds_messages_for_someone_else(autojump_clock, sink, monkeypatch):
    monkeypatch.setattr(sealed, "ANY", type("Everyone", (), {"__eq__": lambda *_: True})())
    with pytest.RaisesGroup(AssertionError, flatten_subgroups=True):
        await check_backend(opener(InProcessNetwork(), sink))


async def test_a_message_to_nobody_is_unavailable(make_holder, sink):
    ours, theirs = make_holder(), make_holder()
    async with opener(InProcessNetwork(), sink)(ours) as backend:
        with pytest.raises(SignalingUnavailableError):
            await backend.publish(KeyPair(ours.public_key, theirs.public_key), b"hello")


async def test_a_lost_envelope_is_unavailable(make_holder, sink, autojump_clock):
    network = InProcessNetwork(Impairment(loss=1.0), Random(0))
    ours, theirs = make_holder(), make_holder()
    relation = KeyPair(theirs.public_key, ours.public_key)
    async with (
        opener(network, sink)(ours) as backend,
        opener(network, sink)(theirs) as other,
        other.subscribe(relation),
    ):
        with pytest.raises(SignalingUnavailableError):
            await backend.publish(KeyPair(ours.public_key, theirs.public_key), b"hello")


async def test_misuse_is_our_own_error(make_holder, sink):
    ours, theirs = make_holder(), make_holder()
    async with opener(InProcessNetwork(), sink)(ours) as backend:
        for pair in (
            KeyPair(theirs.public_key, ours.public_key),
            KeyPair(ours.public_key, ANY),
            KeyPair(ours.public_key, ours.public_key),
        ):
            with pytest.raises(LocalProtocolError):
                await backend.publish(pair, b"hello")
        with pytest.raises(LocalProtocolError):
            async with backend.subscribe(KeyPair(theirs.public_key, ANY)):
                pass


class CountingTransport(InProcessTransport):
    """Counts subscriptions and keeps the envelopes that pass."""

    def __init__(self, network: InProcessNetwork) -> None:
        super().__init__(network)
        self.subscribed = 0
        self.subscribed_now = 0
        self.envelopes: list[bytes] = []

    @asynccontextmanager
    async def subscribe(
        self, key_holder: KeyHolder
    ) -> AsyncIterator[trio.MemoryReceiveChannel[bytes]]:
        self.subscribed += 1
        self.subscribed_now += 1
        async with super().subscribe(key_holder) as channel:
            try:
                yield channel
            finally:
                self.subscribed_now -= 1

    async def send(self, recipient: PublicKey, envelope: bytes) -> None:
        self.envelopes.append(envelope)
        await super().send(recipient, envelope)


async def test_the_transport_is_subscribed_to_once_for_each_key(make_holder, sink):
    holders = [make_holder(), make_holder()]
    transport = CountingTransport(InProcessNetwork())
    async with SealedBackend.open(transport, holders, os.urandom, sink) as backend:
        for lap in (1, 2):
            async with (
                backend.subscribe(KeyPair(holders[0].public_key, ANY)),
                backend.subscribe(KeyPair(holders[0].public_key, ANY)),
                backend.subscribe(KeyPair(holders[1].public_key, holders[0].public_key)),
            ):
                await trio.testing.wait_all_tasks_blocked()
                assert transport.subscribed == 2 * lap
            await trio.testing.wait_all_tasks_blocked()
            assert transport.subscribed_now == 0


async def test_what_is_carried_names_nobody_and_opens_to_nobody_else(make_holder, sink):
    network = InProcessNetwork()
    ours, theirs, stranger = make_holder(), make_holder(), make_holder()
    transport = CountingTransport(network)
    async with (
        SealedBackend.open(transport, [ours], os.urandom, sink) as backend,
        opener(network, sink)(theirs) as other,
        other.subscribe(KeyPair(theirs.public_key, ANY)) as inbox,
    ):
        await trio.testing.wait_all_tasks_blocked()
        await backend.publish(KeyPair(ours.public_key, theirs.public_key), b"a plain secret")
        await inbox.receive()
    (envelope,) = transport.envelopes
    for hidden in (bytes(ours.public_key), bytes(theirs.public_key), b"a plain secret"):
        assert hidden not in envelope
    for holder in (ours, stranger):
        with pytest.raises(EnvelopeError):
            open_envelope(holder, envelope)


async def test_what_cannot_be_opened_is_reported_and_ends_nothing(make_holder, sink):
    network = InProcessNetwork()
    ours, theirs = make_holder(), make_holder()
    transport = network.open_transport()
    good = seal(theirs, ours.public_key, b"good", os.urandom)
    async with (
        opener(network, sink)(ours) as backend,
        backend.subscribe(KeyPair(ours.public_key, ANY)) as inbox,
    ):
        await trio.testing.wait_all_tasks_blocked()
        for envelope in (
            b"garbage",
            b"",
            good[:-1],
            seal(ours, theirs.public_key, b"", os.urandom),
        ):
            await transport.send(ours.public_key, envelope)
        for _ in range(3):
            await transport.send(ours.public_key, good)
        received = await inbox.receive()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            inbox.receive_nowait()
    assert received == Received(KeyPair(ours.public_key, theirs.public_key), b"good")
    assert len(sink.dropped) == 4 + 2
    assert sink.dropped.count("a second copy of an envelope") == 2


async def test_a_slow_subscriber_loses_messages_and_holds_nobody_up(make_holder, sink):
    network = InProcessNetwork()
    ours, theirs = make_holder(), make_holder()
    to_ours = KeyPair(theirs.public_key, ours.public_key)
    sent = SUBSCRIPTION_QUEUE_MAX + 10
    async with (
        opener(network, sink)(ours) as backend,
        opener(network, sink)(theirs) as other,
        backend.subscribe(KeyPair(ours.public_key, ANY)) as slow,
        backend.subscribe(KeyPair(ours.public_key, ANY)) as quick,
    ):
        await trio.testing.wait_all_tasks_blocked()
        for number in range(sent):
            await other.publish(to_ours, b"%d" % number)
            assert (await quick.receive()).message == b"%d" % number
        assert slow.statistics().current_buffer_used == SUBSCRIPTION_QUEUE_MAX
    assert sink.dropped == ["a subscriber's queue is full"] * 10


async def test_the_memory_of_envelopes_is_bounded():
    seen = sealed._RecentlySeen(3)
    assert [seen.add(b"%d" % (number % 4)) for number in range(8)] == [True] * 8
    assert not seen.add(b"3")


async def test_a_full_recipient_is_unavailable(make_holder):
    network = InProcessNetwork()
    ours = make_holder()
    transport = network.open_transport()
    async with network.open_transport().subscribe(ours):
        for _ in range(INBOX_MAX):
            await transport.send(ours.public_key, b"envelope")
        with pytest.raises(SignalingUnavailableError):
            await transport.send(ours.public_key, b"envelope")


async def test_a_transport_that_closes_ends_the_subscriptions(make_holder, sink):
    ours = make_holder()
    transport = InProcessNetwork().open_transport()
    async with SealedBackend.open(transport, [ours], os.urandom, sink) as backend:
        async with backend.subscribe(KeyPair(ours.public_key, ANY)) as inbox:
            await trio.testing.wait_all_tasks_blocked()
            await transport.aclose()
            assert [received async for received in inbox] == []
        with pytest.raises(SignalingClosedError):
            await transport.send(ours.public_key, b"envelope")
        async with backend.subscribe(KeyPair(ours.public_key, ANY)) as inbox:
            assert [received async for received in inbox] == []


async def test_leaving_under_cancellation_closes_the_transport(make_holder, sink):
    ours = make_holder()
    network = InProcessNetwork()
    with trio.CancelScope() as scope:
        async with (
            opener(network, sink)(ours) as backend,
            backend.subscribe(KeyPair(ours.public_key, ANY)),
        ):
            await trio.testing.wait_all_tasks_blocked()
            assert network.is_subscribed(ours.public_key)
            scope.cancel()
            await trio.sleep_forever()
    assert not network.is_subscribed(ours.public_key)


async def test_the_network_grants_its_relays_to_every_transport(autojump_clock):
    first, second = (
        RelayGrant(Endpoint(host, 3478), "user", "password", 3_600.0)
        for host in ("192.0.2.1", "192.0.2.2")
    )
    network = InProcessNetwork(relays=[first])
    transports = [network.open_transport(), network.open_transport()]
    for transport in transports:
        assert await transport.relay_grants(()) == (first,)
        with trio.move_on_after(1) as scope:
            await transport.relay_grants([first])
        assert scope.cancelled_caught, "nothing has changed"
    told = []

    async def learn(transport: InProcessTransport) -> None:
        told.append(await transport.relay_grants([first]))

    async with trio.open_nursery() as nursery:
        for transport in transports:
            nursery.start_soon(learn, transport)
        await trio.testing.wait_all_tasks_blocked()
        network.set_relays([second, first])
    assert told == [(second, first)] * 2
    network.set_relays([])
    assert await transports[0].relay_grants([first]) == ()
