"""What carries sealed envelopes: it can open none of them (DESIGN D8)."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path as FilePath
from typing import Any, Protocol

import trio

from wice.datagram import Endpoint
from wice.events import EventSink
from wice.keys import KeyHolder, PublicKey
from wice.platform import Platform

ENVELOPE_SIZE_MAX_BYTES = 16_384
"""The largest envelope a transport must carry."""


class Transport(Protocol):
    """Carries opaque envelopes addressed by public key.

    Reliable where it says so: when ``send`` returns, the recipient's side took the envelope. It
    may reorder, may duplicate (the receiver of a subscription sees each once), stores nothing.
    """

    async def send(self, recipient: PublicKey, envelope: bytes) -> None:
        """Deliver ``envelope``; raise SignalingUnavailableError, SignalingClosedError."""
        ...

    def subscribe(
        self, key_holder: KeyHolder
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[bytes]]:
        """Be reachable as ``key_holder.public_key`` and get the envelopes addressed to it.

        Entering returns at once; being reachable follows as the network allows.
        """
        ...

    def stun_servers(self) -> Sequence[Endpoint]:
        """STUN servers that the transport's own infrastructure is known to run."""
        ...

    def status(self) -> Mapping[str, Any]:
        """What ``wice status`` shows of it, as plain JSON values."""
        ...

    async def aclose(self) -> None: ...


class TransportFactory(Protocol):
    """What an entry point in ``wice.backends`` names."""

    def __call__(
        self,
        section: Mapping[str, Any],
        *,
        platform: Platform,
        state_directory: FilePath,
        events: EventSink,
        is_bootstrap: bool,
    ) -> AbstractAsyncContextManager[Transport]:
        """Run a transport while the context lasts; its tasks live in it.

        section: the backend's own part of the configuration (``[overlay]``), unread by wice.
        is_bootstrap: this node serves others: DHT server, anchor, nothing of its own to say.
        Raise ConfigError, with a ``where`` that begins with the section's name, or SignalingError.
        """
        ...
