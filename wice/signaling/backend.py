"""The Backend interface: messages between public keys (DESIGN D8)."""

from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

import trio

from wice.keys import KeyPair


class Received(NamedTuple):
    """A message and the relation it came over: ``key_pair.theirs`` is the proven sender."""

    key_pair: KeyPair
    message: bytes


class Backend(Protocol):
    """Carries messages that only the two of a relation can read or write."""

    async def publish(self, key_pair: KeyPair, message: bytes) -> None:
        """Seal ``message`` from ``ours`` to ``theirs`` and deliver it.

        Raise SignalingUnavailableError, SignalingClosedError.
        """
        ...

    def subscribe(
        self, key_pair: KeyPair
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[Received]]:
        """Messages to ``ours`` from ``theirs``; ``theirs=ANY`` means from anyone."""
        ...

    async def aclose(self) -> None: ...
