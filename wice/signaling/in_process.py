"""A transport between peers of one process: for tests, labs and simulations."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import trio

from wice.datagram import Endpoint
from wice.errors import (
    LocalProtocolError,
    SignalingClosedError,
    SignalingUnavailableError,
)
from wice.keys import KeyHolder, PublicKey
from wice.signaling.transport import ENVELOPE_SIZE_MAX_BYTES, RelayGrant, Transport

INBOX_MAX = 256
"""Envelopes that wait in one subscription; a sender is refused while it is full."""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What the network between transports does to an envelope.

    latency_s: least and greatest; envelopes sent at once overtake each other within it.
    loss: probability that an envelope does not arrive, and its sender is told so.
    silent_loss: probability that it does not arrive, and its sender is told that it did.
    duplication: probability that it arrives twice.
    """

    latency_s: tuple[float, float] = (0.0, 0.0)
    loss: float = 0.0
    silent_loss: float = 0.0
    duplication: float = 0.0


class InProcessNetwork:
    """The hub that transports attach to.

    random: decides what the impairment strikes; without one there is no impairment.
    relays: granted to every transport.
    """

    def __init__(
        self,
        impairment: Impairment | None = None,
        random: Random | None = None,
        relays: Sequence[RelayGrant] = (),
    ) -> None:
        if impairment is not None and random is None:
            raise ValueError("an impairment needs a source of randomness")
        self._impairment = impairment or Impairment()
        self._random = random or Random(0)
        self._inboxes: dict[PublicKey, list[trio.MemorySendChannel[bytes]]] = {}
        self._relays = tuple(relays)
        self._relays_changed = trio.Event()

    def set_relays(self, relays: Sequence[RelayGrant]) -> None:
        """Grant these from now on, the nearest first."""
        self._relays = tuple(relays)
        self._relays_changed.set()
        self._relays_changed = trio.Event()

    async def relay_grants(self, known: Sequence[RelayGrant]) -> Sequence[RelayGrant]:
        """Wait until other relays than ``known`` are granted."""
        while self._relays == tuple(known):
            await self._relays_changed.wait()
        return self._relays

    def open_transport(self) -> "InProcessTransport":
        """A transport of one more peer."""
        return InProcessTransport(self)

    def is_subscribed(self, public_key: PublicKey) -> bool:
        """Whether somebody is reachable as ``public_key``."""
        return public_key in self._inboxes

    def attach(self, public_key: PublicKey, inbox: trio.MemorySendChannel[bytes]) -> None:
        self._inboxes.setdefault(public_key, []).append(inbox)

    def detach(self, public_key: PublicKey, inbox: trio.MemorySendChannel[bytes]) -> None:
        inboxes = self._inboxes[public_key]
        inboxes.remove(inbox)
        if not inboxes:
            del self._inboxes[public_key]

    async def carry(self, recipient: PublicKey, envelope: bytes) -> None:
        """Deliver to everybody who is ``recipient``; raise SignalingUnavailableError."""
        impairment, random = self._impairment, self._random
        await trio.sleep(random.uniform(*impairment.latency_s))
        if random.random() < impairment.loss:
            raise SignalingUnavailableError("lost on the way")
        if random.random() < impairment.silent_loss:
            return
        copies = 2 if random.random() < impairment.duplication else 1
        if not self.hand_over(recipient, envelope, copies):
            raise SignalingUnavailableError(f"nobody takes envelopes for {recipient}")

    def hand_over(self, recipient: PublicKey, envelope: bytes, copies: int = 1) -> bool:
        """Deliver to everybody who is ``recipient``, at once; False where nobody takes it."""
        taken = [self._put(inbox, envelope, copies) for inbox in self._inboxes.get(recipient, ())]
        return any(taken)

    def _put(self, inbox: trio.MemorySendChannel[bytes], envelope: bytes, copies: int) -> bool:
        is_taken = False
        for _ in range(copies):
            try:
                inbox.send_nowait(envelope)
            except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
                break
            is_taken = True
        return is_taken


class InProcessTransport(Transport):
    """One peer's end of an ``InProcessNetwork``."""

    def __init__(self, network: InProcessNetwork) -> None:
        self._network = network
        self._inboxes: dict[trio.MemorySendChannel[bytes], None] = {}
        self._is_closed = False

    async def send(self, recipient: PublicKey, envelope: bytes) -> None:
        """Deliver ``envelope``; raise SignalingUnavailableError, SignalingClosedError."""
        if len(envelope) > ENVELOPE_SIZE_MAX_BYTES:
            raise LocalProtocolError(f"an envelope has at most {ENVELOPE_SIZE_MAX_BYTES} bytes")
        self._check_open()
        await self._network.carry(recipient, envelope)
        self._check_open()

    @asynccontextmanager
    async def subscribe(
        self, key_holder: KeyHolder
    ) -> AsyncIterator[trio.MemoryReceiveChannel[bytes]]:
        """Be reachable as ``key_holder.public_key`` and get the envelopes addressed to it."""
        self._check_open()
        send_channel, receive_channel = trio.open_memory_channel[bytes](INBOX_MAX)
        self._inboxes[send_channel] = None
        self._network.attach(key_holder.public_key, send_channel)
        try:
            with send_channel, receive_channel:
                yield receive_channel
        finally:
            self._network.detach(key_holder.public_key, send_channel)
            del self._inboxes[send_channel]

    def stun_servers(self) -> Sequence[Endpoint]:
        return ()

    async def relay_grants(self, known: Sequence[RelayGrant]) -> Sequence[RelayGrant]:
        """Wait until the network grants other relays than ``known``, and say which."""
        return await self._network.relay_grants(known)

    def relay_refused(self, grant: RelayGrant) -> None:
        """Nothing: what the network grants is all there is."""

    def status(self) -> Mapping[str, Any]:
        return {"kind": "in-process", "subscriptions": len(self._inboxes)}

    async def aclose(self) -> None:
        """End every subscription. More than once is fine."""
        self._is_closed = True
        for inbox in self._inboxes:
            inbox.close()
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self._is_closed:
            raise SignalingClosedError("the transport is closed")
