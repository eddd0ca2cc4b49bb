"""A WireGuard device, whoever implements it (DESIGN D11, D14)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wice.datagram import DatagramPort, Path
from wice.keys import PresharedKey, PrivateKey, PublicKey
from wice.platform import IPNetwork


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """What a device knows of a peer beforehand: everything but its endpoint."""

    public_key: PublicKey
    allowed_ips: tuple[IPNetwork, ...]
    preshared_key: PresharedKey | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """A device's own settings. ``listen_port`` 0 means any free port."""

    private_key: PrivateKey = field(repr=False)
    listen_port: int = 0


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A snapshot of one peer.

    latest_handshake_at_s: on trio's clock, None before the first. path: where packets go now,
    which WireGuard's own roaming may have moved. received_at_s: when a packet of a session last
    authenticated, keepalives too. Handshake messages are in rx_bytes alone: they prove no session.
    """

    public_key: PublicKey
    path: Path | None
    latest_handshake_at_s: float | None
    received_at_s: float | None
    rx_bytes: int
    tx_bytes: int


class Device(Protocol):
    """One WireGuard interface. Opening and closing it is the business of who made it."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """``embedded``, later ``kernel`` and ``userspace``."""
        ...

    @property
    def port(self) -> DatagramPort: ...

    def set_peer(self, peer: PeerConfig) -> None:
        """Add a peer or replace its settings; a running session stays."""
        ...

    def remove_peer(self, public_key: PublicKey) -> None:
        """Forget a peer; unknown ones are ignored."""
        ...

    def set_path(
        self, public_key: PublicKey, path: Path | None, persistent_keepalive_s: int = 0
    ) -> None:
        """Send to the peer along ``path`` from now on; None stops sending.

        With a keepalive and no session, the handshake starts at once.
        """
        ...

    def statistics(self) -> Sequence[PeerStatus]:
        """Every peer, without blocking."""
        ...

    async def wait_changed(self) -> None:
        """Wait until a handshake completed or a peer's path roamed, at once if it was missed."""
        ...
