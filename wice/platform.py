"""What a host offers besides sockets and the monotonic clock (DESIGN D3).

Sockets are ``trio.socket`` and time is ``trio.current_time()``, used directly. Everything here
has one implementation an operating system, and one in the simulator.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path as FilePath
from typing import Protocol

import trio

IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


def is_within(inner: IPNetwork, outer: IPNetwork) -> bool:
    """Whether each address of ``inner`` is one of ``outer``; never where IP versions differ."""
    return inner.prefixlen >= outer.prefixlen and inner.network_address in outer


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """An interface of the host: its addresses with their prefix lengths."""

    name: str
    index: int
    is_up: bool
    is_loopback: bool
    addresses: tuple[IPInterface, ...]


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """What the host sets on a tunnel's interface; ``routes`` go through it."""

    addresses: tuple[IPInterface, ...]
    routes: tuple[IPNetwork, ...]
    mtu_bytes: int


class Tun(Protocol):
    """A layer-3 tunnel interface: whole IP packets in and out."""

    @property
    def name(self) -> str: ...

    @property
    def index(self) -> int:
        """The interface's index, as packet info names it."""
        ...

    async def read(self) -> bytes:
        """Wait for the next packet that the host sends into the tunnel.

        Raise ``trio.ClosedResourceError`` once closed.
        """
        ...

    def write(self, packet: bytes) -> None:
        """Give the host a packet that came out of the tunnel; dropped when its queue is full."""
        ...

    def close(self) -> None: ...


class Platform(Protocol):
    """A host. Methods that change it raise the classes of ``DeviceError``."""

    def wall_time(self) -> float:
        """Seconds since 1970-01-01 UTC; may step."""
        ...

    def random_bytes(self, size_bytes: int) -> bytes:
        """Bytes fit for keys and nonces."""
        ...

    def state_directory(self, path: FilePath) -> FilePath:
        """Make ``path`` private to this user where it does not exist, and give it."""
        ...

    def interfaces(self) -> Sequence[NetworkInterface]:
        """The host's interfaces now, tunnels included."""
        ...

    def watch_network(
        self,
    ) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[None]]:
        """A channel that gets one item soon after links or addresses changed; bursts are one."""
        ...

    def open_tun(self, name: str) -> Tun:
        """Make the layer-3 interface ``name``; it goes away when closed."""
        ...

    def configure_link(self, name: str, config: LinkConfig) -> None:
        """Set addresses, MTU and routes of ``name`` to exactly ``config`` and bring it up."""
        ...
