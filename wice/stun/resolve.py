"""Where the servers of a URI are: RFC 8489 section 8 for STUN, RFC 5928 for TURN, without I/O.

Addresses need no DNS. Names are looked up as NAPTR, SRV and A or AAAA; how is a ``Lookup``'s.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from wice.datagram import Endpoint
from wice.errors import NameNotResolvedError
from wice.stun.uri import (
    PORT_DEFAULT,
    SECURE_PORT_DEFAULT,
    StunURI,
    Transport,
    TurnURI,
    is_ip_literal,
)

SERVERS_MAX: Final = 16
"""Servers that one URI may lead to."""

LOOKUPS_MAX: Final = 32
"""Questions to DNS for one URI."""

RECORDS_MAX: Final = 16
"""SRV or NAPTR records of one name that are looked at, the best first."""

NAPTR_STEPS_MAX: Final = 5
"""NAPTR records that may lead to further ones (RFC 5928 section 3)."""


class Way(NamedTuple):
    """How a server is spoken to."""

    transport: Transport
    is_secure: bool

    @property
    def default_port(self) -> int:
        return SECURE_PORT_DEFAULT if self.is_secure else PORT_DEFAULT


PLAIN_UDP: Final = Way(Transport.UDP, is_secure=False)

_RELAY_TAGS: Final = {
    "turn.udp": PLAIN_UDP,
    "turn.tcp": Way(Transport.TCP, is_secure=False),
    "turn.tls": Way(Transport.TCP, is_secure=True),
    "turn.dtls": Way(Transport.UDP, is_secure=True),
}
"""Application protocols of the service RELAY (RFC 5928 section 5, RFC 7350 section 4.5)."""


class ServerAddress(NamedTuple):
    """A server that a URI led to."""

    endpoint: Endpoint
    way: Way


class ServiceRecord(NamedTuple):
    """SRV (RFC 2782). target: "" where the service is decidedly not offered."""

    priority: int
    weight: int
    port: int
    target: str


class NamingRecord(NamedTuple):
    """NAPTR (RFC 3403), without its regular expression: RFC 5928 has none."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Lookup(Protocol):
    """Asks DNS. Nothing where a name has no such records; raise NameNotResolvedError where that
    could not be learned.
    """

    async def addresses(self, name: str) -> Sequence[str]:
        """A and AAAA, in canonical text form."""
        ...

    async def services(self, name: str) -> Sequence[ServiceRecord]: ...

    async def naming(self, name: str) -> Sequence[NamingRecord]: ...


async def resolve_stun(
    uri: StunURI, lookup: Lookup, random_bytes: Callable[[int], bytes]
) -> tuple[ServerAddress, ...]:
    """The servers of ``uri``, the best first; raise NameNotResolvedError where there are none."""
    way = Way(Transport.TCP, is_secure=True) if uri.is_secure else PLAIN_UDP
    scheme = "stuns" if uri.is_secure else "stun"
    return await _Resolution(scheme, lookup, random_bytes).resolve(uri.host, uri.port, [way])


async def resolve_turn(
    uri: TurnURI,
    lookup: Lookup,
    random_bytes: Callable[[int], bytes],
    ways: Sequence[Way] = (PLAIN_UDP,),
) -> tuple[ServerAddress, ...]:
    """As ``resolve_stun``. ways: what the caller can speak, the best first."""
    usable = [
        way
        for way in ways
        if way.is_secure == uri.is_secure and uri.transport in (None, way.transport)
    ]
    if not usable:
        raise NameNotResolvedError(f"{uri}: none of the transports that are spoken here")
    scheme = "turns" if uri.is_secure else "turn"
    resolution = _Resolution(scheme, lookup, random_bytes)
    asks_naming = uri.transport is None and uri.port is None and not is_ip_literal(uri.host)
    if asks_naming and (found := await resolution.by_naming(uri.host, usable)):
        return found
    return await resolution.resolve(uri.host, uri.port, usable)


class _Resolution:
    """The lookups of one URI."""

    def __init__(self, scheme: str, lookup: Lookup, random_bytes: Callable[[int], bytes]) -> None:
        self._scheme = scheme
        self._lookup = lookup
        self._random_bytes = random_bytes
        self._lookups = 0

    async def resolve(
        self, host: str, port: int | None, ways: Sequence[Way]
    ) -> tuple[ServerAddress, ...]:
        if is_ip_literal(host):
            return tuple(
                ServerAddress(Endpoint(host, port or way.default_port), way) for way in ways
            )
        found: list[ServerAddress] = []
        has_services = False
        if port is None:
            for way in ways:
                name = f"_{self._scheme}._{way.transport}.{host}"
                records = await self._services(name)
                has_services = has_services or bool(records)
                found += await self._addresses_of(records, way)
        if not has_services:
            for way in ways:
                found += await self._addresses(host, port or way.default_port, way)
        if not found:
            raise NameNotResolvedError(f"{host}: no server of that name")
        return _bounded(found)

    async def by_naming(self, host: str, ways: Sequence[Way]) -> tuple[ServerAddress, ...]:
        """What NAPTR records lead to (RFC 5928 section 3, RFC 3958); none is no error."""
        found: list[ServerAddress] = []
        names = [host]
        for _ in range(NAPTR_STEPS_MAX):
            further: list[str] = []
            for name in names:
                for record, way in await self._naming(name, ways):
                    flags = record.flags.lower()
                    if flags == "s":
                        records = await self._services(record.replacement)
                        found += await self._addresses_of(records, way)
                    elif flags == "a":
                        port = way.default_port
                        found += await self._addresses(record.replacement, port, way)
                    elif not flags:
                        further.append(record.replacement)
            if not further:
                break
            names = list(dict.fromkeys(further))
        return _bounded(found)

    async def _naming(self, name: str, ways: Sequence[Way]) -> list[tuple[NamingRecord, Way]]:
        records = sorted(await self._lookup.naming(self._asked(name)))[:RECORDS_MAX]
        return [
            (record, way)
            for record in records
            for way in _relay_ways(record.service)
            if way in ways and record.replacement
        ]

    async def _services(self, name: str) -> list[ServiceRecord]:
        records = await self._lookup.services(self._asked(name))
        return list(_in_order(records, self._random_bytes))[:RECORDS_MAX]

    async def _addresses_of(
        self, records: Sequence[ServiceRecord], way: Way
    ) -> list[ServerAddress]:
        found: list[ServerAddress] = []
        for record in records:
            if record.target and record.port:
                found += await self._addresses(record.target, record.port, way)
        return found

    async def _addresses(self, name: str, port: int, way: Way) -> list[ServerAddress]:
        hosts = await self._lookup.addresses(self._asked(name))
        return [ServerAddress(Endpoint(host, port), way) for host in hosts]

    def _asked(self, name: str) -> str:
        self._lookups += 1
        if self._lookups > LOOKUPS_MAX:
            raise NameNotResolvedError(f"{name}: its records lead from one to the next")
        return name


def _relay_ways(service: str) -> Iterator[Way]:
    """The ways in ``RELAY:turn.udp:turn.tcp`` (RFC 3958 section 6.5); none of other services."""
    name, *tags = service.lower().split(":")
    if name == "relay":
        for tag in tags:
            if tag in _RELAY_TAGS:
                yield _RELAY_TAGS[tag]


def _in_order(
    records: Sequence[ServiceRecord], random_bytes: Callable[[int], bytes]
) -> Iterator[ServiceRecord]:
    """By priority, and within one by chance and weight (RFC 2782)."""
    left = sorted(records)
    while left:
        same = [record for record in left if record.priority == left[0].priority]
        chance = int.from_bytes(random_bytes(8), "big") % (
            sum(record.weight for record in same) + 1
        )
        for record in same:
            chance -= record.weight
            if chance <= 0:
                break
        left.remove(record)
        yield record


def _bounded(found: Sequence[ServerAddress]) -> tuple[ServerAddress, ...]:
    return tuple(dict.fromkeys(found))[:SERVERS_MAX]
