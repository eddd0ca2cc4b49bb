"""Anchors: public nodes that hand a peer its envelopes (``/wice/anchor/1``).

A peer keeps one stream open to each of its anchors and sends a subscription, signed with its
epoch key, for each blinded key it answers to. The anchor passes envelopes down that stream and
acknowledgements back. It stores nothing, and forgets a subscription with its stream.
"""

from collections.abc import Callable, Iterable
from typing import NoReturn

import trio

from p2p.clock import wait_due
from p2p.frames import parse
from p2p.host import Host
from p2p.inboxes import Inboxes, check_envelope
from p2p.records import SUBSCRIPTION_LIFETIME_MAX_S, sign_subscription, verify_subscription
from p2p.section import check_peer_id
from p2p.shares import Shares
from p2p.signal import Signal
from p2p.streams import FrameStream, StreamClosedError
from wice.errors import RemoteProtocolError
from wice.keys import KEY_SIZE, BlindedKey, EpochSigner
from wice.platform import Platform
from wice.proto.overlay_pb2 import AnchorMessage, EnvelopeMessage

ANCHOR_PROTOCOL = "/wice/anchor/1"
SUBSCRIPTIONS_MAX = 16_384
SUBSCRIPTIONS_PER_SOURCE_MAX = SUBSCRIPTIONS_MAX // 2
"""From one IPv4 address, or the /64 of an IPv6 address: as many peers may be behind one NAT."""
SUBSCRIPTIONS_PER_STREAM_MAX = 256
REASON_SIZE_MAX = 64
"""Characters of an anchor's reason to refuse that are reported."""
DELIVERIES_PENDING_MAX = 64
"""Envelopes on one stream that wait for their acknowledgement."""
DELIVERY_TIMEOUT_S = 5.0
SUBSCRIBE_AGAIN_S = 1_200.0
"""A third of a subscription's lifetime."""
PING_INTERVAL_S = 20.0
"""Also keeps the TCP mapping of a NAT alive (RFC 5382 asks for 124 min; some give 1)."""
PING_TIMEOUT_S = 8.0
"""Without an answer for that long, the connection is closed and dialled anew."""
PROBE_TIMEOUT_S = 3.0
"""The same, where the network has changed and the connection may well be dead."""

Status = EnvelopeMessage.Status
CountFault = Callable[[str], None]


class AnchorServer:
    """Takes subscriptions on a node in anchor role and delivers to them."""

    def __init__(
        self,
        peer_id: str,
        platform: Platform,
        count_fault: CountFault,
        source_of: Callable[[str], str] = lambda peer_id: peer_id,
    ) -> None:
        """source_of: the network from which a peer is connected."""
        self._own_id = check_peer_id(peer_id)
        self._platform = platform
        self._count_fault = count_fault
        self._source_of = source_of
        self._subscriptions: dict[BlindedKey, tuple[_Subscriber, float]] = {}
        self._shares = Shares[BlindedKey]()
        self._streams: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def has_subscriber(self, peer_id: str) -> bool:
        """Whether connections to ``peer_id`` carry a stream of this protocol."""
        return peer_id in self._streams

    def is_subscribed(self, blinded_key: BlindedKey) -> bool:
        """Whether somebody asked for the envelopes to ``blinded_key``, and that still counts."""
        _, expiry = self._subscriptions.get(blinded_key, (None, 0.0))
        return expiry > self._platform.wall_time()

    async def deliver(
        self, blinded_key: BlindedKey, envelope_id: bytes, envelope: bytes
    ) -> "Status":
        """Hand an envelope to who subscribed to ``blinded_key``, and wait until it is taken."""
        if not self.is_subscribed(blinded_key):
            return Status.NOT_HERE
        subscriber, _ = self._subscriptions[blinded_key]
        return await subscriber.deliver(blinded_key, envelope_id, envelope)

    async def serve(self, stream: FrameStream) -> None:
        subscriber = _Subscriber(stream)
        self._streams[stream.peer_id] = self._streams.get(stream.peer_id, 0) + 1
        try:
            while True:
                message = AnchorMessage()
                parse(message, await stream.receive())
                await self._take(message, subscriber)
        finally:
            subscriber.end()
            for key in tuple(subscriber.keys):
                self._remove(key)
            self._streams[stream.peer_id] -= 1
            if not self._streams[stream.peer_id]:
                del self._streams[stream.peer_id]

    async def _take(self, message: AnchorMessage, subscriber: "_Subscriber") -> None:
        kind = message.WhichOneof("kind")
        if kind == "subscribe":
            await subscriber.stream.send(
                self._subscribe(message.subscribe, subscriber).SerializeToString()
            )
        elif kind == "acknowledge":
            subscriber.acknowledge(message.acknowledge.id, message.acknowledge.taken)
        elif kind == "ping" and not message.ping.answer:
            pong = AnchorMessage(ping=AnchorMessage.Ping(id=message.ping.id, answer=True))
            await subscriber.stream.send(pong.SerializeToString())

    def drop_expired(self) -> None:
        """Forget the subscriptions that no longer count."""
        self._drop_expired(tuple(self._subscriptions))

    def _subscribe(self, subscription: bytes, subscriber: "_Subscriber") -> AnchorMessage:
        now_wall = self._platform.wall_time()
        try:
            claim = verify_subscription(subscription, self._own_id, now_wall)
        except RemoteProtocolError as error:
            self._count_fault(f"{ANCHOR_PROTOCOL}: {error}")
            return AnchorMessage(refused=AnchorMessage.Refused(reason=str(error)))
        key = claim.blinded_key
        source = self._source_of(subscriber.stream.peer_id)
        if not self._make_room(key, subscriber, source):
            self._count_fault("too many subscriptions")
            refused = AnchorMessage.Refused(blinded_key=key.raw, reason="too many subscriptions")
            return AnchorMessage(refused=refused)
        holder = self._subscriptions.get(key)
        if holder is not None and holder[0] is not subscriber:
            # The owner came back before its old stream was found dead: the newest counts.
            holder[0].keys.pop(key)
        self._subscriptions[key] = (subscriber, claim.expiry)
        self._shares.touch(key, source)
        subscriber.keys[key] = None
        subscribed = AnchorMessage.Subscribed(
            blinded_key=key.raw, lifetime_s=max(int(claim.expiry - now_wall), 0)
        )
        return AnchorMessage(subscribed=subscribed)

    def _make_room(self, key: BlindedKey, subscriber: "_Subscriber", source: str) -> bool:
        """Whether ``key`` may be subscribed; takes from whoever holds most if nothing is free."""
        if key not in subscriber.keys and len(subscriber.keys) >= SUBSCRIPTIONS_PER_STREAM_MAX:
            self._drop_expired(tuple(subscriber.keys))  # the keys of epochs gone by
            if len(subscriber.keys) >= SUBSCRIPTIONS_PER_STREAM_MAX:
                return False
        if key in self._subscriptions:
            return True
        if self._shares.count(source) >= SUBSCRIPTIONS_PER_SOURCE_MAX:
            return False
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            self._count_fault("ended a subscription to make room")
            self._remove(self._shares.victim())
        return True

    def _drop_expired(self, keys: Iterable[BlindedKey]) -> None:
        now_wall = self._platform.wall_time()
        for key in keys:
            if self._subscriptions[key][1] <= now_wall:
                self._remove(key)

    def _remove(self, key: BlindedKey) -> None:
        subscriber, _ = self._subscriptions.pop(key)
        del subscriber.keys[key]
        self._shares.remove(key)


class _Subscriber:
    """One inbound stream, the keys it answers to, and what it has yet to acknowledge."""

    def __init__(self, stream: FrameStream) -> None:
        self.stream = stream
        self.keys: dict[BlindedKey, None] = {}
        self._next_id = 0
        self._pending: dict[int, _Delivery] = {}

    async def deliver(
        self, blinded_key: BlindedKey, envelope_id: bytes, envelope: bytes
    ) -> "Status":
        if len(self._pending) >= DELIVERIES_PENDING_MAX:
            return Status.UNAVAILABLE
        self._next_id += 1
        delivery_id = self._next_id
        delivery = self._pending[delivery_id] = _Delivery()
        message = AnchorMessage(
            deliver=AnchorMessage.Deliver(
                id=delivery_id,
                blinded_key=blinded_key.raw,
                envelope_id=envelope_id,
                envelope=envelope,
            )
        )
        try:
            with trio.move_on_after(DELIVERY_TIMEOUT_S):
                await self.stream.send(message.SerializeToString())
                await delivery.done.wait()
        except StreamClosedError:
            return Status.UNAVAILABLE
        finally:
            self._pending.pop(delivery_id, None)
        return Status.TAKEN if delivery.taken else Status.UNAVAILABLE

    def acknowledge(self, delivery_id: int, taken: bool) -> None:
        delivery = self._pending.pop(delivery_id, None)
        if delivery is not None:  # else it came too late
            delivery.finish(taken)

    def end(self) -> None:
        for delivery in self._pending.values():
            delivery.finish(taken=False)
        self._pending.clear()


class _Delivery:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.taken = False

    def finish(self, taken: bool) -> None:
        self.taken = taken
        self.done.set()


class AnchorClient:
    """Keeps our keys subscribed at our anchors. ``changed`` tells when ``anchors`` does."""

    def __init__(
        self, host: Host, inboxes: Inboxes, platform: Platform, count_fault: CountFault
    ) -> None:
        self.changed = Signal()
        self._probe = Signal()
        self._host = host
        self._inboxes = inboxes
        self._platform = platform
        self._count_fault = count_fault
        self._anchors: dict[str, None] = {}

    @property
    def anchors(self) -> tuple[str, ...]:
        """Peer ids of the nodes that take our envelopes now, the longest-standing first."""
        return tuple(self._anchors)

    def probe(self) -> None:
        """Ask every anchor for a sign of life now: the network has changed."""
        self._probe.notify()

    async def run(self, peer_id: str) -> None:
        """Be subscribed at a connected node until the connection or the stream ends.

        Raise StreamClosedError, RemoteProtocolError.
        """
        stream = await self._host.open_stream(peer_id, ANCHOR_PROTOCOL)
        session = _AnchorSession(
            stream,
            self._inboxes,
            self._platform,
            self._setter(peer_id),
            self._probe,
            self._count_fault,
        )
        try:
            await session.run()
        finally:
            if peer_id in self._anchors:
                del self._anchors[peer_id]
                self.changed.notify()
            await stream.aclose()

    def _setter(self, peer_id: str) -> Callable[[bool], None]:
        def set_anchor(is_anchor: bool) -> None:
            if is_anchor == (peer_id in self._anchors):
                return
            if is_anchor:
                self._anchors[peer_id] = None
            else:
                del self._anchors[peer_id]
            self.changed.notify()

        return set_anchor


class _AnchorSession:
    """One stream to one anchor, from our side."""

    def __init__(
        self,
        stream: FrameStream,
        inboxes: Inboxes,
        platform: Platform,
        set_anchor: Callable[[bool], None],
        probe: Signal,
        count_fault: CountFault,
    ) -> None:
        self._stream = stream
        self._anchor_id = check_peer_id(stream.peer_id)
        self._inboxes = inboxes
        self._platform = platform
        self._set_anchor = set_anchor
        self._probe = probe
        self._count_fault = count_fault
        self._pongs = Signal()

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_subscribed)
                nursery.start_soon(self._ping)
                nursery.start_soon(self._listen)
        except* (StreamClosedError, RemoteProtocolError) as group:
            raise _first(group) from None

    async def _keep_subscribed(self) -> None:
        while True:
            seen = self._inboxes.changed.count
            signers = self._inboxes.signers_to_receive()
            for signer in signers:
                await self._stream.send(self._subscription(signer).SerializeToString())
            # A node that serves this protocol and does not refuse is an anchor from now on: a
            # record that says so must not wait another round trip.
            self._set_anchor(bool(signers))
            await wait_due(self._platform, SUBSCRIBE_AGAIN_S, self._inboxes.changed, seen)

    def _subscription(self, signer: EpochSigner) -> AnchorMessage:
        expiry = int(self._platform.wall_time()) + SUBSCRIPTION_LIFETIME_MAX_S
        return AnchorMessage(subscribe=sign_subscription(signer, self._anchor_id, expiry))

    async def _ping(self) -> NoReturn:
        number = 0
        while True:
            probed = self._probe.count
            with trio.move_on_after(PING_INTERVAL_S):
                await self._probe.wait_beyond(probed)
            timeout_s = PROBE_TIMEOUT_S if self._probe.count > probed else PING_TIMEOUT_S
            number += 1
            seen = self._pongs.count
            ping = AnchorMessage(ping=AnchorMessage.Ping(id=number))
            await self._stream.send(ping.SerializeToString())
            with trio.move_on_after(timeout_s) as scope:
                await self._pongs.wait_beyond(seen)
            if scope.cancelled_caught:
                raise StreamClosedError("the anchor does not answer")

    async def _listen(self) -> NoReturn:
        while True:
            message = AnchorMessage()
            parse(message, await self._stream.receive())
            kind = message.WhichOneof("kind")
            if kind == "deliver":
                await self._deliver(message.deliver)
            elif kind == "refused":
                # Its own words, and as such not to be trusted.
                reason = message.refused.reason[:REASON_SIZE_MAX]
                self._count_fault(f"an anchor refused us: {reason!r}")
                self._set_anchor(False)
            elif kind == "ping" and message.ping.answer:
                self._pongs.notify()

    async def _deliver(self, deliver: AnchorMessage.Deliver) -> None:
        check_envelope(deliver.envelope_id, deliver.envelope)
        taken = self._inboxes.deliver(
            blinded_key_from(deliver.blinded_key), deliver.envelope_id, deliver.envelope
        )
        acknowledge = AnchorMessage.Acknowledge(id=deliver.id, taken=bool(taken))
        await self._stream.send(AnchorMessage(acknowledge=acknowledge).SerializeToString())


def blinded_key_from(raw: bytes) -> BlindedKey:
    """Raise RemoteProtocolError for a key of the wrong size."""
    if len(raw) != KEY_SIZE:
        raise RemoteProtocolError("a blinded key of the wrong size")
    return BlindedKey(raw)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
