"""What carries sealed envelopes: it can open none of them (DESIGN D8)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Protocol

import trio

from wice.datagram import Endpoint
from wice.events import EventSink
from wice.keys import KeyHolder, PublicKey
from wice.platform import Platform

ENVELOPE_SIZE_MAX_BYTES = 16_384
"""The largest envelope a transport must carry."""


@dataclass(frozen=True, slots=True)
class RelayGrant:
    """A relay of the community (TURN over UDP, RFC 8656) and what opens it for us."""

    server: Endpoint
    username: str
    password: str = field(repr=False)
    expires_at_wall_s: float


@dataclass(frozen=True, slots=True)
class RelayLoan:
    """What a host that relays gives a member: the UDP port of its TURN server, and credentials that
    are good for ``lifetime_s``.
    """

    port: int
    username: str
    password: str = field(repr=False)
    lifetime_s: float


RelayLender = Callable[[str], RelayLoan]
"""Lends this host's relay to the member of the community whom the transport knows by that name."""


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

    async def relay_grants(self, known: Sequence[RelayGrant]) -> Sequence[RelayGrant]:
        """Wait until we are granted other relays than ``known``, and say which; renewals are news.

        The nearest come first. Every grant is renewed well before it expires, while it can be.
        """
        ...

    def relay_refused(self, grant: RelayGrant) -> None:
        """Ask for another in place of ``grant``, which its relay takes no longer: at once, but
        seldom, however often this is said.
        """
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
        lend_relay: RelayLender | None = None,
    ) -> AbstractAsyncContextManager[Transport]:
        """Run a transport while the context lasts; its tasks live in it.

        section: the backend's own part of the configuration (``[overlay]``), unread by wice.
        is_bootstrap: this node serves others: DHT server, anchor, nothing of its own to say.
        lend_relay: of a bootstrap node that relays; it is asked for each member anew.
        Raise ConfigError, with a ``where`` that begins with the section's name, or SignalingError.
        """
        ...
