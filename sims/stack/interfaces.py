"""The interfaces of a simulated host, except its tunnels, and what comes from which address."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from sims.internet.packet import Packet
from sims.runtime.clock import VirtualClock
from sims.stack.ports import WILDCARDS
from wice.platform import IPInterface, IPNetwork

LOOPBACK_MTU_BYTES: Final = 65_536
UNPLUGGED_MTU_BYTES: Final = 1_500

_LOOPBACK: Final = (ipaddress.ip_interface("127.0.0.1/8"), ipaddress.ip_interface("::1/128"))
_DEFAULT_ROUTES: Final = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}


class Attachment(Protocol):
    """Where a machine is plugged in; see ``sims.internet.network``."""

    on_change: Callable[[], None] | None

    @property
    def addresses(self) -> tuple[IPInterface, ...]: ...

    @property
    def mtu_bytes(self) -> int: ...

    def send(self, packet: Packet) -> None: ...

    def detach(self) -> None: ...


class Interface(Protocol):
    """An interface that packets leave through."""

    @property
    def name(self) -> str: ...

    @property
    def index(self) -> int: ...

    @property
    def is_up(self) -> bool: ...

    @property
    def addresses(self) -> tuple[IPInterface, ...]: ...

    @property
    def mtu_bytes(self) -> int: ...

    def networks(self) -> list[IPNetwork]:
        """What is reached through it."""
        ...

    def transmit(self, packet: Packet) -> None: ...


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach an address; source: what packets there come from, if nobody says otherwise."""

    interface: Interface
    source: str


class Loopback:
    """Gives packets back to the host, after what runs now."""

    name = "lo"
    index = 1
    is_up = True
    addresses: tuple[IPInterface, ...] = _LOOPBACK
    mtu_bytes = LOOPBACK_MTU_BYTES

    def __init__(self, clock: VirtualClock, receive: Callable[[Packet], None]) -> None:
        self._clock = clock
        self._receive = receive

    def networks(self) -> list[IPNetwork]:
        return [address.network for address in self.addresses]

    def transmit(self, packet: Packet) -> None:
        self._clock.call_at(self._clock.now_s, lambda: self._receive(packet))


class Ethernet:
    """``eth0``, plugged in somewhere or not."""

    name = "eth0"
    index = 2

    def __init__(self) -> None:
        self.attachment: Attachment | None = None

    @property
    def is_up(self) -> bool:
        return self.attachment is not None

    @property
    def addresses(self) -> tuple[IPInterface, ...]:
        return () if self.attachment is None else tuple(self.attachment.addresses)

    @property
    def mtu_bytes(self) -> int:
        return UNPLUGGED_MTU_BYTES if self.attachment is None else self.attachment.mtu_bytes

    def networks(self) -> list[IPNetwork]:
        """Its own, and all of a family that it has an address of."""
        defaults = [_DEFAULT_ROUTES[address.version] for address in self.addresses]
        return [*(address.network for address in self.addresses), *defaults]

    def transmit(self, packet: Packet) -> None:
        if self.attachment is not None:
            self.attachment.send(packet)


def loopback_source(destination: str) -> str:
    """The source of what goes to this host itself: as on Linux, the address that it goes to."""
    if destination in WILDCARDS:
        return "::1" if ":" in destination else "127.0.0.1"
    return destination


def source_from(
    interface: Interface, destination: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> str | None:
    """The address of ``interface`` that shares a network with ``destination``, or its first."""
    of_family = [one for one in interface.addresses if one.version == destination.version]
    for address in of_family:
        if destination in address.network:
            return str(address.ip)
    return str(of_family[0].ip) if of_family else None
