"""Endpoints, paths, and the port that WireGuard and ICE share (DESIGN D11)."""

import ipaddress
from collections.abc import Set
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

DATAGRAM_SIZE_MAX_BYTES = 65_535
"""The largest UDP payload that a port hands up or takes."""


class Endpoint(NamedTuple):
    """An IP address in its canonical text form (RFC 5952 for IPv6, no brackets) and a UDP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``192.0.2.1:51820`` or ``[2001:db8::1]:51820``; raise ValueError."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError(f"an endpoint is ADDRESS:PORT, not {text!r}")
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        if bracketed != (address.version == 6):
            raise ValueError(f"an IPv6 endpoint is [ADDRESS]:PORT, not {text!r}")
        return cls(str(address), int(port))

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Path:
    """A way to a peer, opaque to WireGuard: hand it to ``DatagramPort.send`` as it came.

    remote: where the datagrams go.
    source: the local address they leave from; None leaves the choice to the kernel. Where they
    take another way than a socket's, such as a relay, one of the ``bases`` of the port's carrier.
    """

    remote: Endpoint
    source: str | None = None


class Datagram(NamedTuple):
    """A received datagram that is not WireGuard's.

    source: who sent it. destination: the local address it came to, None when unknown; what a
    carrier brought came to one of its ``bases``.
    """

    data: bytes
    source: Endpoint
    destination: str | None


class Carrier(Protocol):
    """Carries datagrams by another way than straight to their remote, such as through relays.

    It sends and receives over the port whose ``carrier`` it is.
    """

    @property
    def bases(self) -> Set[str]:
        """The ``Path.source`` of the paths that it carries; none is a local address."""
        ...

    @property
    def servers(self) -> Set[Endpoint]:
        """Whose datagrams it is asked about before anybody else."""
        ...

    def carry(self, data: bytes, path: Path) -> None:
        """Bring ``data`` to ``path.remote``, or drop and count it, as ``DatagramPort.send``."""
        ...

    def receive(self, data: bytes, source: Endpoint) -> bool:
        """Take what one of ``servers`` sent; False where it is for others.

        What peers sent through the server goes to ``DatagramPort.hand_up``.
        """
        ...


class DatagramPort(Protocol):
    """WireGuard's UDP port, lent to ICE by the device that owns it.

    The device keeps WireGuard's own datagrams for itself; everything else comes out of
    ``receive``. Sending never blocks on the network: a datagram the host cannot send now is
    dropped, counted, and no error.
    """

    carrier: Carrier | None
    """Who carries what leaves from its ``bases``."""

    @property
    def port(self) -> int:
        """The UDP port number bound on every local address."""
        ...

    def send(self, data: bytes, path: Path) -> None: ...

    def hand_up(self, data: bytes, source: Endpoint, destination: str | None) -> None:
        """Take a datagram that came to a local address, or by the carrier to one of its bases:
        WireGuard's go to the device, all others to ``receive``.
        """
        ...

    async def receive(self) -> Datagram:
        """Wait for the next datagram; raise ``trio.ClosedResourceError`` once closed."""
        ...
