"""The simulated internet: sites with their lines, NATs and firewalls, and machines on them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, IPv6Network

from sims.internet.addresses import AddressPlan, host_of
from sims.internet.carriage import Block, Internet
from sims.internet.drops import Drop
from sims.internet.firewall import HTTPS_PORT
from sims.internet.line import Line
from sims.internet.packet import Packet, PacketEvent
from sims.internet.router import OnOutside, Router
from sims.internet.translation import MappingEntry
from sims.model.link import LineModel, LinkModel
from sims.model.nat import Firewall
from sims.model.scenario import Site
from sims.runtime.clock import VirtualClock
from sims.runtime.entropy import Entropy

IPInterface = IPv4Interface | IPv6Interface

_FIRST_IPV6_HOST = 0x10


@dataclass(slots=True)
class _Lease:
    """What a site's router gives a machine, again when it comes back."""

    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None
    ipv6_number: int

    @property
    def addresses(self) -> tuple[IPInterface, ...]:
        return tuple(address for address in (self.ipv4, self.ipv6) if address is not None)


class Attachment:
    """A machine's place on the LAN of a site.

    ``on_change`` is called when the addresses have become others.
    """

    def __init__(
        self,
        network: "Network",
        router: Router,
        machine: str,
        receive: Callable[[Packet], None],
        cables: tuple[Line, Line],
    ) -> None:
        """cables: to the router, and from it."""
        self.site = router.name
        self.machine = machine
        self.on_change: Callable[[], None] | None = None
        self.addresses: tuple[IPInterface, ...] = ()
        self._network = network
        self._router = router
        self._receive = receive
        self._to_router, self._from_router = cables
        self._internet = network.internet
        self._hosts: tuple[str, ...] = ()

    @property
    def mtu_bytes(self) -> int:
        return self._router.mtu_bytes

    def send(self, packet: Packet) -> None:
        """Send what the machine's network interface sends; nobody receives it before this ends."""
        internet = self._internet
        internet.observe(PacketEvent(internet.clock.now_s, "sent", self.machine, packet))
        if packet.source.host not in self._hosts:
            reason = Drop.WRONG_SOURCE if self._hosts else Drop.UNPLUGGED
            internet.drop(self.machine, packet, reason)
            return
        was_sending, internet.is_sending = internet.is_sending, True
        try:
            internet.through(self._to_router, self.machine, packet, self.site, self._router.leave)
        finally:
            internet.is_sending = was_sending

    def take(self, packet: Packet, origin: str) -> None:
        """Send what the router has for the machine through its cable."""
        internet = self._internet
        if internet.blocks and internet.is_blocked(origin, self.site):
            internet.drop(self.site, packet, Drop.BLOCKED)
            return
        internet.through(self._from_router, self.machine, packet, origin, self._arrive)

    def detach(self) -> None:
        """Nothing passes any more; harmless when it is detached already."""
        if self._hosts:
            self._network.detach(self)

    def readdress(self, addresses: tuple[IPInterface, ...]) -> None:
        """Have these addresses from now on, and none for the unplugged."""
        for host in self._hosts:
            self._router.withdraw(host)
        self.addresses = addresses
        self._hosts = tuple(str(address.ip) for address in addresses)
        for host in self._hosts:
            self._router.announce(host, self)

    def _arrive(self, packet: Packet, origin: str) -> None:
        internet = self._internet
        if internet.is_sending:
            internet.soon(packet, origin, self._arrive)
        elif packet.destination.host not in self._hosts:
            internet.drop(self.machine, packet, Drop.NO_ROUTE if self._hosts else Drop.UNPLUGGED)
        else:
            internet.observe(PacketEvent(internet.clock.now_s, "received", self.machine, packet))
            self._receive(packet)


class Tap:
    """Sees what comes down the line of a site, until removed."""

    def __init__(self, router: Router, take: Callable[[Packet], None]) -> None:
        self._router = router
        self._take: Callable[[Packet], None] | None = take
        router.taps.append(take)

    def remove(self) -> None:
        """Harmless when it is removed already."""
        if self._take is not None:
            self._router.taps.remove(self._take)
            self._take = None


class _Lan:
    """The machines of one site, with the addresses they have there."""

    def __init__(self, router: Router, plan: AddressPlan, ip_versions: tuple[int, ...]) -> None:
        self.router = router
        self.attachments: dict[str, Attachment] = {}
        self._plan = plan
        self._ip_versions = ip_versions
        self._leases: dict[str, _Lease] = {}
        self._prefix: IPv6Network | None = plan.site_prefix() if 6 in ip_versions else None

    def lease(self, machine: str) -> _Lease:
        lease = self._leases.get(machine)
        if lease is None:
            number = _FIRST_IPV6_HOST + len(self._leases)
            ipv4 = self.router.pool().take() if 4 in self._ip_versions else None
            lease = self._leases[machine] = _Lease(ipv4, self._ipv6(number), number)
        return lease

    def renumber(self, ip_versions: Collection[int]) -> list[Attachment]:
        """Give other public addresses to all machines, also to those that are away.

        Give those whose addresses have become others.
        """
        changed = []
        if self._prefix is not None and 6 in ip_versions:
            self._prefix = self._plan.site_prefix()
        is_ipv4_other = 4 in ip_versions and self.router.is_transparent(4)
        for machine, lease in self._leases.items():
            before = lease.addresses
            lease.ipv6 = self._ipv6(lease.ipv6_number)
            if lease.ipv4 is not None and is_ipv4_other:
                former, lease.ipv4 = lease.ipv4, self.router.pool().take()
                self.router.pool().give_back(former)
            attachment = self.attachments.get(machine)
            if attachment is not None and lease.addresses != before:
                attachment.readdress(lease.addresses)
                changed.append(attachment)
        return changed

    def _ipv6(self, number: int) -> IPv6Interface | None:
        return None if self._prefix is None else host_of(self._prefix, number)


class Network:
    """All sites of one run. Those that nobody added are KeyErrors."""

    def __init__(
        self,
        clock: VirtualClock,
        entropy: Entropy,
        ip_versions: tuple[int, ...],
        observe: Callable[[PacketEvent], None],
    ) -> None:
        """observe: is told of every packet that is sent, received or dropped."""
        self.internet = Internet(clock, observe)
        self._entropy = entropy
        self._ip_versions = ip_versions
        self._plan = AddressPlan()
        self._lans: dict[str, _Lan] = {}

    def add_site(self, site: Site) -> None:
        """After the site it is behind."""
        above = None if site.behind is None else self._lans[site.behind].router
        router = Router(site, above, self.internet, self._plan, self._entropy, self._ip_versions)
        self._lans[site.name] = _Lan(router, self._plan, self._ip_versions)

    def attach(self, site: str, machine: str, receive: Callable[[Packet], None]) -> Attachment:
        """Plug a machine in; raise ValueError if it is at this site already."""
        lan = self._lans[site]
        if machine in lan.attachments:
            raise ValueError(f"{machine} is plugged in at {site} already")
        model = lan.router.site.lan
        cables = (
            self._cable(model, f"{site}/{machine}/up"),
            self._cable(model, f"{site}/{machine}/down"),
        )
        attachment = Attachment(self, lan.router, machine, receive, cables)
        lan.attachments[machine] = attachment
        attachment.readdress(lan.lease(machine).addresses)
        return attachment

    def detach(self, attachment: Attachment) -> None:
        del self._lans[attachment.site].attachments[attachment.machine]
        attachment.readdress(())

    def set_line(self, site: str, line: LineModel) -> None:
        self._lans[site].router.set_line(line)

    def line_of(self, site: str) -> LineModel:
        return self._lans[site].router.line

    def change_address(self, site: str, ip_version: int | None = None) -> None:
        """Give it other public addresses; its NATs and its firewall forget everything.

        ip_version: of this one alone.
        """
        lan = self._lans[site]
        ip_versions = self._ip_versions if ip_version is None else (ip_version,)
        lan.router.forget(ip_versions)
        if 4 in ip_versions:
            lan.router.change_outside_address()
        for attachment in lan.renumber(ip_versions):
            if attachment.on_change is not None:
                attachment.on_change()

    def reboot_nat(self, site: str) -> None:
        """Its NATs and its firewall forget everything; the addresses stay, the ports may not."""
        self._lans[site].router.reboot()

    def block(self, sources: Collection[str], destinations: Collection[str]) -> Block:
        """Let nothing pass from machines at ``sources`` to machines at ``destinations``.

        A site that is behind another is one of its own; within a site nothing is blocked.
        """
        for site in (*sources, *destinations):
            self._lans[site]
        block = Block(sources, destinations)
        block.impose(self.internet.blocks)
        return block

    def tap(self, site: str, take: Callable[[Packet], None]) -> Tap:
        """Show ``take`` what comes down the line of ``site``, as its router sees it."""
        return Tap(self._lans[site].router, take)

    def links_between(self, source: str, destination: str) -> tuple[LinkModel, ...] | None:
        """What a packet from site to site passes by way of the internet; None where it cannot."""
        if self.internet.is_blocked(source, destination):
            return None
        up = [router.line.up for router in self._lans[source].router.up_to_internet()]
        down = [router.line.down for router in self._lans[destination].router.up_to_internet()]
        links = [link for link in (*up, *reversed(down)) if link is not None]
        return tuple(links) if len(links) == len(up) + len(down) else None

    def lets_out_tcp(self, site: str, port: int) -> bool:
        """Whether its firewall, and those of the sites it is behind, let connections to it go."""
        return port == HTTPS_PORT or all(
            router.site.firewall is not Firewall.TCP_443_ONLY
            for router in self._lans[site].router.up_to_internet()
        )

    def public_addresses(self, site: str) -> tuple[str, ...]:
        """Of its NATs and of those above them, the innermost first."""
        return tuple(
            nat.address
            for router in self._lans[site].router.up_to_internet()
            for nat in router.nats
        )

    @property
    def site_names(self) -> tuple[str, ...]:
        """Those of bootstrap nodes among them, in the order in which they were added."""
        return tuple(self._lans)

    def watch_outside(self, site: str, watch: OnOutside) -> None:
        """Show ``watch`` all that passes the outer end of ``site``'s router, in both directions."""
        self._lans[site].router.on_outside = watch

    def inject(self, site: str, packet: Packet) -> None:
        """Have the router of ``site`` see a packet as if it came down the line; taps do not."""
        router = self._lans[site].router
        self.internet.soon(packet, site, router.enter)

    def mappings(self, site: str) -> tuple[MappingEntry, ...]:
        """What the NATs of ``site`` have mapped, the innermost first."""
        return tuple(self._lans[site].router.mappings())

    def _cable(self, model: LinkModel, node: str) -> Line:
        return Line(model, lambda: self._entropy.random("lan", node))
