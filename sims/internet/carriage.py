"""What is between the lines of the sites: who has which address, and what is under way."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Final, Protocol

from sims.internet.drops import Drop
from sims.internet.line import Line
from sims.internet.packet import Packet, PacketEvent
from sims.runtime.clock import TICKS_S, VirtualClock, tick_at

UNDER_WAY_MAX: Final = 262_144
"""Packets under way at one time, everywhere together."""

Step = Callable[[Packet, str], None]
"""Where a packet arrives, with the site that it began at."""


class Taker(Protocol):
    """What has an address on a LAN or on the internet itself: a machine's cable, a site's line."""

    def take(self, packet: Packet, origin: str) -> None: ...


class Block:
    """No packet passes from a site of ``sources`` to one of ``destinations``, until lifted."""

    def __init__(self, sources: Collection[str], destinations: Collection[str]) -> None:
        self._sources = frozenset(sources)
        self._destinations = frozenset(destinations)
        self._in_force: list[Block] | None = None

    def impose(self, in_force: list["Block"]) -> None:
        in_force.append(self)
        self._in_force = in_force

    def lift(self) -> None:
        """Harmless when it is lifted already."""
        if self._in_force is not None:
            self._in_force.remove(self)
            self._in_force = None

    def holds(self, origin: str, site: str) -> bool:
        return origin in self._sources and site in self._destinations


class Internet:
    """Routes by address, and calls the next step of each packet when it is due."""

    def __init__(self, clock: VirtualClock, observe: Callable[[PacketEvent], None]) -> None:
        self.clock = clock
        self.observe = observe
        self.routes: dict[str, Taker] = {}
        self.blocks: list[Block] = []
        self.is_sending = False
        """A machine's ``send`` is on the stack, so that nothing may be handed to a machine."""
        self._due: dict[int, list[tuple[Step, Packet, str]]] = {}
        self._soon: list[tuple[Step, Packet, str]] = []
        self._under_way = 0

    def is_blocked(self, origin: str, site: str) -> bool:
        return origin != site and any(block.holds(origin, site) for block in self.blocks)

    def drop(self, where: str, packet: Packet, reason: Drop) -> None:
        self.observe(PacketEvent(self.clock.now_s, "dropped", where, packet, reason.value))

    def through(self, line: Line | None, where: str, packet: Packet, origin: str, to: Step) -> None:
        """Send ``packet`` through ``line``, which is dead if None, and have ``to`` take it."""
        if line is None:
            self.drop(where, packet, Drop.LINE_DEAD)
            return
        constant_s = line.constant_s
        if constant_s is not None and len(packet.payload) <= line.fits_bytes:
            if constant_s:
                self._schedule(self.clock.now_s + constant_s, where, packet, origin, to)
            else:
                to(packet, origin)
            return
        carried = line.carry(packet, self.clock.now_s)
        if isinstance(carried, Drop):
            self.drop(where, packet, carried)
            return
        for arrives_at_s, arriving in carried:
            if arrives_at_s > self.clock.now_s:
                self._schedule(arrives_at_s, where, arriving, origin, to)
            else:
                to(arriving, origin)

    def soon(self, packet: Packet, origin: str, to: Step) -> None:
        """Have ``to`` take ``packet`` at this time, once what is on the stack is done."""
        if not self._soon:
            self.clock.call_at(self.clock.now_s, self._arrive_soon)
        self._soon.append((to, packet, origin))

    def _schedule(self, at_s: float, where: str, packet: Packet, origin: str, to: Step) -> None:
        if self._under_way >= UNDER_WAY_MAX:
            self.drop(where, packet, Drop.QUEUE_FULL)
            return
        self._under_way += 1
        tick = tick_at(at_s)
        arrivals = self._due.get(tick)
        if arrivals is None:
            arrivals = self._due[tick] = []
            self.clock.call_at(tick / TICKS_S, partial(self._arrive, tick))
        arrivals.append((to, packet, origin))

    def _arrive(self, tick: int) -> None:
        arrivals = self._due.pop(tick)
        self._under_way -= len(arrivals)
        for to, packet, origin in arrivals:
            to(packet, origin)

    def _arrive_soon(self) -> None:
        arrivals, self._soon = self._soon, []
        for to, packet, origin in arrivals:
            to(packet, origin)
