"""Hosts on one wire, for tests of the stack without the simulated internet."""

import ipaddress
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import trio

from sims.internet.packet import Packet
from sims.runtime.clock import VirtualClock
from sims.stack.host import Host, current_host
from sims.stack.sockets import SimulatedResolver, SimulatedSocketFactory
from wice.platform import IPInterface

NAMES = {"one.example": ("10.0.0.1", "2001:db8::1"), "two.example": ("10.0.0.2", "2001:db8::2")}


class Wire:
    """Joins hosts, with a latency and with what ``carry`` makes of each packet.

    carry: gives how late each copy of a packet comes, in seconds; none is a loss.
    """

    def __init__(self, clock: VirtualClock, latency_s: float = 0.01) -> None:
        self.clock = clock
        self.carry: Callable[[Packet], list[float]] = lambda _: [latency_s]
        self.sent: list[Packet] = []
        self.hosts: list[Host] = []
        self._plugs: list[Plug] = []

    def host(self, number: int, *, mtu_bytes: int = 1_500) -> Host:
        """Plugged in with 10.0.0.``number``/24 and 2001:db8::``number``/64."""
        host = Host(f"host-{number}", self.clock, Random(number), NAMES)
        self.hosts.append(host)
        self.plug(host, f"10.0.0.{number}/24", f"2001:db8::{number}/64", mtu_bytes=mtu_bytes)
        return host

    def plug(self, host: Host, *addresses: str, mtu_bytes: int = 1_500) -> "Plug":
        plug = Plug(self, host.receive, addresses, mtu_bytes)
        self._plugs.append(plug)
        host.plug(plug)
        return plug

    def unplug(self, plug: "Plug") -> None:
        self._plugs.remove(plug)

    def send(self, packet: Packet) -> None:
        self.sent.append(packet)
        for latency_s in self.carry(packet):
            self.clock.call_later(latency_s, lambda: self._arrive(packet))

    def _arrive(self, packet: Packet) -> None:
        for plug in self._plugs:
            if any(str(address.ip) == packet.destination.host for address in plug.addresses):
                plug.receive(packet)


class Plug:
    """An ``Attachment``."""

    def __init__(
        self,
        wire: Wire,
        receive: Callable[[Packet], None],
        addresses: tuple[str, ...],
        mtu_bytes: int,
    ) -> None:
        self.receive = receive
        self.on_change: Callable[[], None] | None = None
        self.mtu_bytes = mtu_bytes
        self._wire = wire
        self.addresses: tuple[IPInterface, ...] = ()
        self.change(*addresses)

    def change(self, *addresses: str) -> None:
        self.addresses = tuple(map(ipaddress.ip_interface, addresses))
        if self.on_change is not None:
            self.on_change()

    def send(self, packet: Packet) -> None:
        self._wire.send(packet)

    def detach(self) -> None:
        self._wire.unplug(self)


@contextmanager
def on(host: Host) -> Iterator[None]:
    """What is started within runs on ``host``."""
    token = current_host.set(host)
    try:
        yield
    finally:
        current_host.reset(token)


def run(main: Callable[[Wire], Awaitable[Any]], *, limit_s: float = 5_000) -> Any:
    """Run ``main`` in virtual time, of which it may use ``limit_s``."""
    clock = VirtualClock()

    async def limited() -> Any:
        trio.socket.set_custom_socket_factory(SimulatedSocketFactory())
        trio.socket.set_custom_hostname_resolver(SimulatedResolver())
        with trio.fail_after(limit_s):
            return await main(Wire(clock))

    return trio.run(limited, clock=clock)
