"""A NAT at work: RFC 4787 for UDP, RFC 5382 for TCP."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from sims.internet.connections import MidStream, TcpConnection, UdpFlow, follow, why_not_begin
from sims.internet.drops import Drop
from sims.internet.expiry import has_room
from sims.internet.packet import Packet, Protocol, TcpFlags
from sims.model.nat import Filtering, Mapping, NatModel, PortAssignment
from wice.datagram import Endpoint

MAPPINGS_MAX: Final = 4_096
"""Of each protocol."""
CONTACTS_MAX: Final = 4_096
"""Remote addresses, sockets or connections that one mapping keeps."""
PORTS: Final = range(1_024, 65_536)
"""What is given where the port inside is not kept (RFC 4787 REQ-3)."""

_Key = Endpoint | tuple[Endpoint, str] | tuple[Endpoint, Endpoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingEntry:
    """A mapping, for those that look from outside.

    level: which NAT of the site, 0 is the innermost. contacts: who may send to it, as far as the
    NAT keeps that.
    """

    level: int
    protocol: Protocol
    inside: Endpoint
    outside: Endpoint
    expires_at_s: float
    contacts: tuple[Endpoint | str, ...]


class _Mapping(UdpFlow):
    """As a flow, that to everybody. contacts: those to remote addresses or sockets, where the
    filtering tells them apart."""

    __slots__ = ("connections", "contacts", "inside", "key", "outside")

    def __init__(self, key: _Key, inside: Endpoint, outside: Endpoint) -> None:
        super().__init__()
        self.key = key
        self.inside = inside
        self.outside = outside
        self.contacts: dict[Endpoint | str, UdpFlow] = {}
        self.connections: dict[Endpoint, TcpConnection] = {}


class _Table:
    """The mappings of one protocol, and the ports they have."""

    def __init__(self, ports: PortAssignment, random: Callable[[], Random]) -> None:
        self._ports = ports
        self._random = random
        self._last_port: int | None = None
        self._full_until_s = 0.0
        self._moved: frozenset[Endpoint] = frozenset()
        """Sockets inside whose ports are not kept."""
        self.by_key: dict[_Key, _Mapping] = {}
        self.by_port: dict[int, _Mapping] = {}

    def find(self, key: _Key, now_s: float) -> _Mapping | None:
        mapping = self.by_key.get(key)
        return mapping if mapping is not None and mapping.expires_at_s > now_s else None

    def find_port(self, port: int, now_s: float) -> _Mapping | None:
        mapping = self.by_port.get(port)
        return mapping if mapping is not None and mapping.expires_at_s > now_s else None

    def add(self, key: _Key, inside: Endpoint, host: str, now_s: float) -> _Mapping | None:
        """Map ``inside`` to a port of ``host``; None if there is no room."""
        stale = self.by_key.get(key)
        if stale is not None:
            self._remove(stale)
        if len(self.by_key) >= MAPPINGS_MAX and not self._has_made_room(now_s):
            return None
        port = self._free_port(inside, now_s)
        mapping = _Mapping(key, inside, Endpoint(host, port))
        self.by_key[key] = self.by_port[port] = mapping
        return mapping

    def clear(self) -> None:
        self.by_key.clear()
        self.by_port.clear()
        self._full_until_s = 0.0

    def reboot(self, *, keeps_ports: bool) -> None:
        self._moved = (
            frozenset()
            if keeps_ports
            else frozenset(mapping.inside for mapping in self.by_key.values())
        )
        self._last_port = None
        self.clear()

    def _remove(self, mapping: _Mapping) -> None:
        del self.by_key[mapping.key]
        del self.by_port[mapping.outside.port]

    def _has_made_room(self, now_s: float) -> bool:
        if now_s < self._full_until_s:
            return False
        for mapping in [one for one in self.by_key.values() if one.expires_at_s <= now_s]:
            self._remove(mapping)
        if len(self.by_key) < MAPPINGS_MAX:
            return True
        self._full_until_s = min(mapping.expires_at_s for mapping in self.by_key.values())
        return False

    def _free_port(self, inside: Endpoint, now_s: float) -> int:
        keeps = self._ports is PortAssignment.PRESERVING and inside not in self._moved
        if keeps and self._frees(inside.port, now_s):
            return inside.port
        if self._ports is PortAssignment.CONTIGUOUS:
            candidates = self._next_ports()
        else:
            candidates = self._random_ports()
        return next(port for port in candidates if self._frees(port, now_s))

    def _frees(self, port: int, now_s: float) -> bool:
        holder = self.by_port.get(port)
        if holder is None:
            return True
        if holder.expires_at_s > now_s:
            return False
        self._remove(holder)
        return True

    def _random_ports(self) -> Iterator[int]:
        while True:
            yield self._random().choice(PORTS)

    def _next_ports(self) -> Iterator[int]:
        if self._last_port is None:
            self._last_port = self._random().choice(PORTS)
        while True:
            self._last_port += 1
            if self._last_port not in PORTS:
                self._last_port = PORTS.start
            yield self._last_port


class Nat:
    """One NAT between an inside and the one address it has outside.

    Packets from outside change nothing but the timers of TCP connections (RFC 4787 REQ-6: only
    outbound ones refresh a mapping), so one that comes before its hole is punched costs nobody
    his port.
    """

    def __init__(
        self,
        model: NatModel,
        address: str,
        random: Callable[[], Random],
        mid_stream: MidStream = MidStream.TAKEN_UP,
    ) -> None:
        """address: its own, outside. random: gives its generator, when a port is drawn."""
        self.model = model
        self.address = address
        self.only_host: str | None = None
        """Of a 1:1 NAT: the address inside that has the one outside to itself."""
        self._mapping = model.mapping
        self._filtering = model.filtering
        self._lifetimes_s = (min(model.lifetime_unreplied_s, model.lifetime_s), model.lifetime_s)
        self._mid_stream = mid_stream
        self._udp = _Table(model.ports, random)
        self._tcp = _Table(model.ports, random)

    def forget(self) -> None:
        """Lose all mappings."""
        self._udp.clear()
        self._tcp.clear()

    def reboot(self, *, keeps_ports: bool) -> None:
        """Lose all mappings, and begin at other ports.

        keeps_ports: a NAT that keeps the ports inside goes on to do so for sockets that it knew;
        others may have been faster to take them.
        """
        self._udp.reboot(keeps_ports=keeps_ports)
        self._tcp.reboot(keeps_ports=keeps_ports)

    def entries(self, level: int, now_s: float) -> Iterator[MappingEntry]:
        """What is mapped, in the order of its making."""
        for protocol, table in ((Protocol.UDP, self._udp), (Protocol.TCP, self._tcp)):
            for mapping in table.by_key.values():
                if mapping.expires_at_s > now_s:
                    yield MappingEntry(
                        level=level,
                        protocol=protocol,
                        inside=mapping.inside,
                        outside=mapping.outside,
                        expires_at_s=mapping.expires_at_s,
                        contacts=(*mapping.contacts, *mapping.connections),
                    )

    def outbound(self, packet: Packet, now_s: float) -> Packet | Drop:
        """Translate what comes from inside."""
        if self.model.is_one_to_one:
            if packet.source.host != self.only_host:
                return Drop.UNMAPPED
            outside = Endpoint(self.address, packet.source.port)
            return _rewritten(packet, outside, packet.destination)
        if packet.tcp is not None:
            return self._tcp_outbound(packet, packet.tcp.flags, now_s)
        source, destination = packet.source, packet.destination
        table = self._udp
        key = self._key(source, destination)
        mapping = table.find(key, now_s)
        if mapping is None:
            mapping = table.add(key, source, self.address, now_s)
            if mapping is None:
                return Drop.NAT_FULL
        flow: UdpFlow = mapping
        if self._filtering is not Filtering.ENDPOINT_INDEPENDENT:
            contacts = mapping.contacts
            contact = self._contact(destination)
            known = contacts.get(contact)
            if known is None:
                if not has_room(contacts, CONTACTS_MAX, UdpFlow.expiry_s, now_s):
                    return Drop.NAT_FULL
                known = contacts[contact] = UdpFlow()
            flow = known
        expires_at_s = flow.sent(now_s, *self._lifetimes_s)
        if expires_at_s > mapping.expires_at_s:
            mapping.expires_at_s = expires_at_s
        return _rewritten(packet, mapping.outside, destination)

    def inbound(self, packet: Packet, now_s: float) -> Packet | Drop:
        """Translate what comes from outside to the NAT's address."""
        destination = packet.destination
        if self.model.is_one_to_one:
            if self.only_host is None:
                return Drop.UNMAPPED
            inside = Endpoint(self.only_host, destination.port)
            return _rewritten(packet, packet.source, inside)
        if packet.tcp is not None:
            return self._tcp_inbound(packet, packet.tcp.flags, now_s)
        mapping = self._udp.find_port(destination.port, now_s)
        if mapping is None:
            return Drop.UNMAPPED
        flow: UdpFlow = mapping
        if self._filtering is not Filtering.ENDPOINT_INDEPENDENT:
            known = mapping.contacts.get(self._contact(packet.source))
            if known is None or known.expires_at_s <= now_s:
                return Drop.FILTERED
            flow = known
        if not flow.is_replied:
            expires_at_s = flow.replied(*self._lifetimes_s)
            if expires_at_s > mapping.expires_at_s:
                mapping.expires_at_s = expires_at_s
        return _rewritten(packet, packet.source, mapping.inside)

    def hairpin(self, packet: Packet, now_s: float) -> Packet | Drop:
        """Turn what comes from inside to the NAT's address round (RFC 4787 REQ-9)."""
        if not self.model.hairpins:
            return Drop.NO_HAIRPIN
        outside = self.outbound(packet, now_s)
        return outside if isinstance(outside, Drop) else self.inbound(outside, now_s)

    def _key(self, source: Endpoint, destination: Endpoint) -> _Key:
        if self._mapping is Mapping.ENDPOINT_INDEPENDENT:
            return source
        if self._mapping is Mapping.ADDRESS_DEPENDENT:
            return (source, destination.host)
        return (source, destination)

    def _contact(self, remote: Endpoint) -> Endpoint | str:
        return remote.host if self._filtering is Filtering.ADDRESS_DEPENDENT else remote

    def _tcp_outbound(self, packet: Packet, flags: TcpFlags, now_s: float) -> Packet | Drop:
        key = self._key(packet.source, packet.destination)
        mapping = self._tcp.find(key, now_s)
        if mapping is None:
            refusal = why_not_begin(flags, self._mid_stream, Drop.UNMAPPED)
            if refusal is not None:
                return refusal
            mapping = self._tcp.add(key, packet.source, self.address, now_s)
            if mapping is None:
                return Drop.NAT_FULL
        refusal = self._note(mapping, packet.destination, flags, is_outbound=True, now_s=now_s)
        return refusal or _rewritten(packet, mapping.outside, packet.destination)

    def _tcp_inbound(self, packet: Packet, flags: TcpFlags, now_s: float) -> Packet | Drop:
        """Silence for what is not let in: a reset would end a simultaneous open (REQ-4)."""
        mapping = self._tcp.find_port(packet.destination.port, now_s)
        if mapping is None:
            return Drop.UNMAPPED
        if not self._lets_in(mapping, packet.source, now_s):
            return Drop.FILTERED
        refusal = self._note(mapping, packet.source, flags, is_outbound=False, now_s=now_s)
        return refusal or _rewritten(packet, packet.source, mapping.inside)

    def _lets_in(self, mapping: _Mapping, remote: Endpoint, now_s: float) -> bool:
        if self._filtering is Filtering.ENDPOINT_INDEPENDENT:
            return True
        if self._filtering is Filtering.ADDRESS_DEPENDENT:
            return any(
                contact.host == remote.host and connection.expires_at_s > now_s
                for contact, connection in mapping.connections.items()
            )
        connection = mapping.connections.get(remote)
        return connection is not None and connection.expires_at_s > now_s

    def _note(
        self,
        mapping: _Mapping,
        remote: Endpoint,
        flags: TcpFlags,
        *,
        is_outbound: bool,
        now_s: float,
    ) -> Drop | None:
        """Follow the connection with ``remote``; say why not, if it cannot be."""
        connections = mapping.connections
        connection = follow(
            connections,
            remote,
            flags,
            is_outbound=is_outbound,
            mid_stream=self._mid_stream if is_outbound else MidStream.TAKEN_UP,
            now_s=now_s,
            size_max=CONTACTS_MAX,
            unknown=Drop.UNMAPPED,
            full=Drop.NAT_FULL,
        )
        if isinstance(connection, Drop):
            return connection
        if connection.expires_at_s >= mapping.expires_at_s:
            mapping.expires_at_s = connection.expires_at_s
        else:
            mapping.expires_at_s = max(one.expires_at_s for one in connections.values())
        return None


def _rewritten(packet: Packet, source: Endpoint, destination: Endpoint) -> Packet:
    return Packet(packet.protocol, source, destination, packet.payload, packet.tcp)
