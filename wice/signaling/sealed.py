"""The Backend over any Transport: seals what goes out, opens what comes in (DESIGN D8)."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Self

import trio

from wice.errors import EnvelopeError, LocalProtocolError, SignalingClosedError
from wice.events import Dropped, EventSink
from wice.keys import ANY, KeyHolder, KeyPair, PublicKey, RandomBytes
from wice.signaling.backend import Backend, Received
from wice.signaling.envelope import Opened, open_envelope, seal
from wice.signaling.transport import Transport

SUBSCRIPTION_QUEUE_MAX = 256
"""Messages that wait for one slow subscriber; further ones are dropped."""

SUBSCRIPTIONS_MAX = 4_096
"""Subscriptions of one key of ours."""

NONCES_REMEMBERED_MAX = 4_096
"""Envelopes of one key of ours whose second copy is known as such."""

ROOM = "signaling"


class SealedBackend(Backend):
    """A ``Backend`` made of a ``Transport`` and the holders of our keys.

    Each key of ours is subscribed to at the transport once, from its first subscription here to
    its last. A message goes to every subscription that it matches. What cannot be opened, comes a
    second time, or finds its subscriber's queue full, is dropped and reported.
    """

    def __init__(
        self,
        transport: Transport,
        key_holders: Iterable[KeyHolder],
        random_bytes: RandomBytes,
        events: EventSink,
        nursery: trio.Nursery,
    ) -> None:
        """Use ``SealedBackend.open``."""
        self._transport = transport
        self._key_holders = {holder.public_key: holder for holder in key_holders}
        self._random_bytes = random_bytes
        self._events = events
        self._nursery = nursery
        self._inboxes: dict[PublicKey, _Inbox] = {}
        self._is_closed = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        transport: Transport,
        key_holders: Iterable[KeyHolder],
        random_bytes: RandomBytes,
        events: EventSink,
    ) -> AsyncIterator[Self]:
        """Run the backend while the context lasts; leaving it closes ``transport`` as well.

        random_bytes: fit for nonces and keys.
        """
        async with trio.open_nursery() as nursery:
            backend = cls(transport, key_holders, random_bytes, events, nursery)
            try:
                yield backend
            finally:
                # Closing must not be cut short by what ended the context.
                with trio.CancelScope(shield=True):
                    await backend.aclose()

    async def publish(self, key_pair: KeyPair, message: bytes) -> None:
        """Seal ``message`` from ``ours`` to ``theirs`` and deliver it.

        Raise SignalingUnavailableError, SignalingClosedError; LocalProtocolError for a message of
        more than MESSAGE_SIZE_MAX_BYTES, a wildcard recipient, or a key that is not ours.
        """
        self._check_open()
        envelope = seal(self._holder(key_pair), key_pair.theirs, message, self._random_bytes)
        await self._transport.send(key_pair.theirs, envelope)

    @asynccontextmanager
    async def subscribe(
        self, key_pair: KeyPair
    ) -> AsyncIterator[trio.MemoryReceiveChannel[Received]]:
        """Messages to ``ours`` from ``theirs``; ``theirs=ANY`` means from anyone.

        The channel ends when the backend or its transport closes. Raise SignalingClosedError;
        LocalProtocolError for a key that is not ours.
        """
        self._check_open()
        holder = self._holder(key_pair)
        while (inbox := self._inboxes.get(key_pair.ours)) is not None and inbox.is_ending:
            await inbox.ended.wait()
            self._check_open()
        if inbox is None:
            inbox = _Inbox(holder, self._events)
            self._inboxes[key_pair.ours] = inbox
            self._nursery.start_soon(self._run_inbox, inbox)
        with inbox.subscription(key_pair.theirs) as channel:
            yield channel

    async def aclose(self) -> None:
        """End every subscription, then close the transport."""
        self._is_closed = True
        for inbox in list(self._inboxes.values()):
            inbox.end()
        await self._transport.aclose()
        for inbox in list(self._inboxes.values()):
            await inbox.ended.wait()

    async def _run_inbox(self, inbox: "_Inbox") -> None:
        try:
            await inbox.run(self._transport)
        finally:
            del self._inboxes[inbox.public_key]

    def _holder(self, key_pair: KeyPair) -> KeyHolder:
        holder = self._key_holders.get(key_pair.ours)
        if holder is None:
            raise LocalProtocolError(f"{key_pair.ours} is none of our keys")
        return holder

    def _check_open(self) -> None:
        if self._is_closed:
            raise SignalingClosedError("the backend is closed")


class _Inbox:
    """One key of ours: its subscription to the transport, and those that share it."""

    def __init__(self, key_holder: KeyHolder, events: EventSink) -> None:
        self.public_key = key_holder.public_key
        self.is_ending = False
        self.ended = trio.Event()
        self._key_holder = key_holder
        self._events = events
        self._scope = trio.CancelScope()
        self._subscribers: list[tuple[PublicKey, trio.MemorySendChannel[Received]]] = []
        self._nonces = _RecentlySeen(NONCES_REMEMBERED_MAX)

    async def run(self, transport: Transport) -> None:
        """Deliver until ended, or until the transport closes."""
        try:
            with self._scope, suppress(SignalingClosedError):
                async with transport.subscribe(self._key_holder) as envelopes:
                    async for envelope in envelopes:
                        self._take(envelope)
        finally:
            self.end()
            self.ended.set()

    def end(self) -> None:
        self.is_ending = True
        self._scope.cancel()
        for _, channel in self._subscribers:
            channel.close()

    @contextmanager
    def subscription(self, sender: PublicKey) -> Iterator[trio.MemoryReceiveChannel[Received]]:
        if len(self._subscribers) >= SUBSCRIPTIONS_MAX:
            raise LocalProtocolError(f"a key has at most {SUBSCRIPTIONS_MAX} subscriptions")
        send_channel, receive_channel = trio.open_memory_channel[Received](SUBSCRIPTION_QUEUE_MAX)
        subscriber = (sender, send_channel)
        self._subscribers.append(subscriber)
        try:
            with send_channel, receive_channel:
                yield receive_channel
        finally:
            self._subscribers.remove(subscriber)
            if not self._subscribers:
                self.end()

    def _take(self, envelope: bytes) -> None:
        try:
            opened = open_envelope(self._key_holder, envelope)
        except EnvelopeError as error:
            self._drop(str(error))
            return
        if self._nonces.add(bytes(opened.key_pair.theirs) + opened.nonce):
            self._fan_out(opened)
        else:
            self._drop("a second copy of an envelope")

    def _fan_out(self, opened: Opened) -> None:
        received = Received(opened.key_pair, opened.message)
        matching = [
            channel
            for sender, channel in self._subscribers
            if sender in (ANY, opened.key_pair.theirs)
        ]
        if not matching:
            self._drop("a message that nobody subscribed to")
        for channel in matching:
            try:
                channel.send_nowait(received)
            except trio.WouldBlock:
                self._drop("a subscriber's queue is full")
            except trio.BrokenResourceError:
                # The subscriber closed its channel before it left the context.
                self._drop("a message that nobody subscribed to")

    def _drop(self, reason: str) -> None:
        self._events.emit(Dropped(room=ROOM, reason=reason))


class _RecentlySeen:
    """A bounded set that forgets what was added first."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._items: OrderedDict[bytes, None] = OrderedDict()

    def add(self, item: bytes) -> bool:
        """Add ``item``; whether it was not there."""
        if item in self._items:
            return False
        self._items[item] = None
        if len(self._items) > self._size_max:
            self._items.popitem(last=False)
        return True
