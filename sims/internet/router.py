"""A site at work: its LAN, its NATs, its firewall, and its line to what is above it."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from ipaddress import IPv4Interface
from random import Random
from typing import Final, Protocol

from sims.internet.addresses import AddressPlan, AddressPool
from sims.internet.carriage import Internet, Taker
from sims.internet.connections import MidStream
from sims.internet.drops import Drop
from sims.internet.firewall import PacketFilter
from sims.internet.line import Line
from sims.internet.packet import Packet, TcpFlags, TcpHeader
from sims.internet.packet import Protocol as IpProtocol
from sims.internet.translation import MappingEntry, Nat
from sims.model.link import LineModel
from sims.model.nat import Firewall
from sims.model.scenario import Site
from sims.runtime.entropy import Entropy

MID_STREAM: Final = tuple(MidStream)
KEEPS_PORTS_SHARE: Final = 0.5
"""Of the reboots after which a NAT that keeps ports has those of the sockets that it knew free."""


class OnOutside(Protocol):
    """Takes packets as they are outside of all NATs."""

    def __call__(self, packet: Packet, *, is_outbound: bool) -> None: ...


class Router:
    """A packet goes out by ``leave`` and comes in by ``take``.

    On its way out it is looked up on the LAN, judged by the firewall, translated by the NATs from
    the innermost, and goes up the line; on its way in it does the same backwards.
    """

    def __init__(
        self,
        site: Site,
        above: "Router | None",
        internet: Internet,
        plan: AddressPlan,
        entropy: Entropy,
        ip_versions: tuple[int, ...],
    ) -> None:
        """above: whose LAN the line ends at; None is the internet itself."""
        self.site = site
        self.name = site.name
        self.nats: list[Nat] = []
        self.taps: list[Callable[[Packet], None]] = []
        self.on_outside: OnOutside | None = None
        """Told of what comes down the line or is put there, and of what goes up."""
        self._above = above
        self._internet = internet
        self._plan = plan
        self._entropy = entropy
        self._mid_stream = entropy.random("router", site.name).choice(MID_STREAM)
        self._filter = (
            None
            if site.firewall is Firewall.NONE
            else PacketFilter(site.firewall, self._mid_stream)
        )
        self._neighbours: dict[str, Taker] = {}
        self._has_sites_behind = False
        self._own_pool: AddressPool | None = None
        self._outside: IPv4Interface | None = None
        self._randoms = {
            direction: _once(partial(entropy.random, "line", f"{site.name}/{direction}"))
            for direction in ("up", "down")
        }
        self.set_line(site.line)
        if above is not None:
            above._has_sites_behind = True
        if 4 in ip_versions and site.nats:
            self._install_nats()

    # The way out

    def leave(self, packet: Packet, origin: str) -> None:
        """Take what a machine on the LAN sends, or a site whose line ends there."""
        destination = packet.destination.host
        neighbour = self._neighbours.get(destination)
        if neighbour is not None:
            if self.site.is_isolating:
                self._internet.drop(self.name, packet, Drop.ISOLATED)
            else:
                neighbour.take(packet, origin)
            return
        now_s = self._internet.clock.now_s
        is_translated = bool(self.nats) and ":" not in destination
        if self._filter is not None:
            refusal = self._filter.outbound(packet, now_s, is_translated=is_translated)
            if refusal is not None:
                self._refuse(packet, refusal, 0)
                return
        if is_translated:
            for level, nat in enumerate(self.nats):
                is_turned = destination == nat.address
                translate = nat.hairpin if is_turned else nat.outbound
                outcome = translate(packet, now_s)
                if isinstance(outcome, Drop):
                    self._refuse(packet, outcome, level)
                    return
                packet = outcome
                if is_turned:
                    self._translate_in(level, packet, origin)
                    return
        if self.on_outside is not None:
            self.on_outside(packet, is_outbound=True)
        self._internet.through(self._up, self.name, packet, origin, self._rise)

    def _refuse(self, packet: Packet, reason: Drop, level: int) -> None:
        """Drop what got out through ``level`` NATs; who sent it is told if that is the way here."""
        self._internet.drop(self.name, packet, reason)
        if reason is not Drop.RESET:
            return
        assert packet.tcp is not None
        # What who sent it expects next, or it would be taken for forged (RFC 5961 section 3.2).
        header = TcpHeader(TcpFlags.RST, packet.tcp.acknowledgement, 0, 0)
        reset = Packet(IpProtocol.TCP, packet.destination, packet.source, b"", header)
        self._translate_in(level, reset, self.name)

    def _rise(self, packet: Packet, origin: str) -> None:
        """At the upper end of the line."""
        if self._above is not None:
            self._above.leave(packet, origin)
            return
        below = self._internet.routes.get(packet.destination.host)
        if below is None:
            self._internet.drop(self.name, packet, Drop.NO_ROUTE)
        else:
            below.take(packet, origin)

    # The way in

    def take(self, packet: Packet, origin: str) -> None:
        """Send what is for an address below down the line."""
        internet = self._internet
        # With sites behind, only the NATs know whom it is for.
        if (
            internet.blocks
            and not self._has_sites_behind
            and internet.is_blocked(origin, self.name)
        ):
            internet.drop(self.name, packet, Drop.BLOCKED)
            return
        internet.through(self._down, self.name, packet, origin, self._come_down)

    def _come_down(self, packet: Packet, origin: str) -> None:
        if self.taps:
            for tap in tuple(self.taps):
                tap(packet)
        self.enter(packet, origin)

    def enter(self, packet: Packet, origin: str) -> None:
        """At the lower end of the line."""
        if self.on_outside is not None:
            self.on_outside(packet, is_outbound=False)
        is_translated = bool(self.nats) and ":" not in packet.destination.host
        if self._filter is not None:
            now_s = self._internet.clock.now_s
            refusal = self._filter.inbound(packet, now_s, is_translated=is_translated)
            if refusal is not None:
                self._internet.drop(self.name, packet, refusal)
                return
        self._translate_in(len(self.nats) if is_translated else 0, packet, origin)

    def _translate_in(self, levels: int, packet: Packet, origin: str) -> None:
        """Through the ``levels`` innermost NATs, and to whom it is for."""
        now_s = self._internet.clock.now_s
        for level in range(levels - 1, -1, -1):
            outcome = self.nats[level].inbound(packet, now_s)
            if isinstance(outcome, Drop):
                self._internet.drop(self.name, packet, outcome)
                return
            packet = outcome
        neighbour = self._neighbours.get(packet.destination.host)
        if neighbour is None:
            self._internet.drop(self.name, packet, Drop.NO_ROUTE)
        else:
            neighbour.take(packet, origin)

    # What it is made of

    def up_to_internet(self) -> "Iterator[Router]":
        """This one, and each whose LAN the line of the one before ends at."""
        router: Router | None = self
        while router is not None:
            yield router
            router = router._above

    def set_line(self, line: LineModel) -> None:
        """What is under way still arrives as the former line had it."""
        self.line = line
        self._up = None if line.up is None else Line(line.up, self._randoms["up"])
        self._down = None if line.down is None else Line(line.down, self._randoms["down"])

    @property
    def mtu_bytes(self) -> int:
        """What gets through to the internet whole, as routers tell their LAN.

        RFC 2132 section 5.1, RFC 4861 section 4.6.4; a line that is dead tells nothing.
        """
        links = [link for link in (self.line.up, self.line.down) if link is not None]
        fits = [self.site.lan.mtu_bytes, *(link.mtu_bytes for link in links)]
        if self._above is not None:
            fits.append(self._above.mtu_bytes)
        return min(fits)

    def reboot(self) -> None:
        """Lose all mappings and flows; NATs give the same ports again, or others, by the seed."""
        for level, nat in enumerate(self.nats):
            # By time, so that another reboot more or less changes nothing here.
            node = f"{self.name}/{level}/{self._internet.clock.now_s:.6f}"
            share = self._entropy.random("reboot", node).random()
            nat.reboot(keeps_ports=share < KEEPS_PORTS_SHARE)
        if self._filter is not None:
            self._filter.forget()

    def forget(self, ip_versions: Collection[int]) -> None:
        """Lose all mappings and flows of these."""
        if 4 in ip_versions:
            for nat in self.nats:
                nat.forget()
        if self._filter is not None:
            self._filter.forget(ip_versions)

    def change_outside_address(self) -> None:
        """Give the outermost NAT another one."""
        if self._outside is None:
            return
        self._withdraw_above(str(self._outside.ip))
        self._pool_above.give_back(self._outside)
        self._outside = self._pool_above.take()
        self._announce_above(str(self._outside.ip))
        self.nats[-1].address = str(self._outside.ip)

    def mappings(self) -> Iterator[MappingEntry]:
        for level, nat in enumerate(self.nats):
            yield from nat.entries(level, self._internet.clock.now_s)

    def is_transparent(self, version: int) -> bool:
        """The addresses on its LAN are those of what is above it."""
        return version == 6 or not self.site.nats

    def pool(self, *, is_for_site: bool = False) -> AddressPool:
        """IPv4 addresses for the LAN. A network is a carrier's when a site is first in it."""
        if self.is_transparent(4):
            return self._pool_above
        if self._own_pool is None:
            self._own_pool = self._plan.carrier() if is_for_site else self._plan.home()
        return self._own_pool

    def announce(self, host: str, taker: Taker) -> None:
        """Make ``host`` an address on the LAN, and above as far as nothing translates."""
        self._neighbours[host] = taker
        if self.is_transparent(6 if ":" in host else 4):
            self._announce_above(host)
        elif self.nats and self.nats[0].only_host is None:
            self.nats[0].only_host = host

    def withdraw(self, host: str) -> None:
        del self._neighbours[host]
        if self.is_transparent(6 if ":" in host else 4):
            self._withdraw_above(host)
        elif self.nats and self.nats[0].only_host == host:
            self.nats[0].only_host = next(
                (other for other in self._neighbours if ":" not in other), None
            )

    def _announce_above(self, host: str) -> None:
        if self._above is not None:
            self._above.announce(host, self)
        else:
            self._internet.routes[host] = self

    def _withdraw_above(self, host: str) -> None:
        if self._above is not None:
            self._above.withdraw(host)
        else:
            del self._internet.routes[host]

    @property
    def _pool_above(self) -> AddressPool:
        return self._plan.public if self._above is None else self._above.pool(is_for_site=True)

    def _install_nats(self) -> None:
        for level, model in enumerate(self.site.nats):
            is_outermost = level == len(self.site.nats) - 1
            pool = self._pool_above if is_outermost else self._plan.carrier()
            outside = pool.take()
            random = _once(partial(self._entropy.random, "nat", f"{self.name}/{level}"))
            nat = Nat(model, str(outside.ip), random, self._mid_stream)
            if level > 0:
                nat.only_host = self.nats[-1].address
            self.nats.append(nat)
            self._outside = outside
        assert self._outside is not None
        self._announce_above(str(self._outside.ip))


def _once(make: Callable[[], Random]) -> Callable[[], Random]:
    """One generator for all that ask, made when the first one does: many never do."""
    made: list[Random] = []

    def get() -> Random:
        if not made:
            made.append(make())
        return made[0]

    return get
